//! Label selectors as fields: each says what it selects.

use schemars::{Schema, SchemaGenerator, json_schema};

/// `podSelector` of a source.
pub(super) fn other_pods(_: &mut SchemaGenerator) -> Schema {
    label_selector(
        "Other pods of this namespace that know: a gateway, a Dynamo frontend. What they say is added up, and is the total of the \
         target. If absent, the target's own pods are read, each for itself.",
    )
}

/// `leaderSelector` of a replica's pods.
pub(super) fn leaders(_: &mut SchemaGenerator) -> Schema {
    label_selector(
        "The pods of a replica that publish its metrics. If absent, all do, and what they say is added up.",
    )
}

/// The API server's own schema of a label selector, with bounds.
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
                "additionalProperties": {"type": "string"},
            },
            "matchExpressions": {
                "type": "array",
                "description": "Further conditions on labels.",
                "maxItems": 16,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "description": "One condition.",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"type": "string", "description": "The label."},
                        "operator": {
                            "type": "string",
                            "description": "In, NotIn, Exists or DoesNotExist.",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "type": "array",
                            "description": "The values for In and NotIn.",
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string"},
                        },
                    },
                },
            },
        },
    })
}
