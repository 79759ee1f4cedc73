//! The schemas of label selectors in the spec. Each describes the pods that its field selects.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Returns the schema of `podSelector` of a source.
pub(super) fn other_pods(_: &mut SchemaGenerator) -> Schema {
    label_selector(
        "Pods in this namespace that report for the whole target, such as a gateway or a Dynamo \
         frontend. Their values are summed. If absent, each of the target's own pods is scraped.",
    )
}

/// Returns the schema of `leaderSelector` in `replicaPods`.
pub(super) fn leaders(_: &mut SchemaGenerator) -> Schema {
    label_selector(
        "The pods of a replica that expose its metrics. If absent, all of its pods do, and their \
         values are summed.",
    )
}

/// Returns the API server's own schema of a label selector, with limits for the lengths of its
/// lists.
fn label_selector(description: &str) -> Schema {
    json_schema!({
        "type": "object",
        "description": description,
        "nullable": true,
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that the pods must have, with these values.",
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "matchExpressions": {
                "type": "array",
                "description": "Further requirements for labels.",
                "maxItems": 16,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "description": "One requirement.",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "type": "string",
                            "description": "The label.",
                            "maxLength": 317,
                        },
                        "operator": {
                            "type": "string",
                            "description": "In, NotIn, Exists or DoesNotExist.",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "type": "array",
                            "description": "The values for In and NotIn.",
                            "maxItems": 64,
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string", "maxLength": 63},
                        },
                    },
                },
            },
        },
    })
}
