//! The difference between the schema of an installed CRD and that of this crate's types.
//!
//! Fields are compared, not versions: an operator and a CRD of different versions may have the same
//! fields, and an edited CRD has no version. Fields are named as in `kubectl explain`, with `[]`
//! behind a list or a map; a value of an enumeration follows its field after a colon.

use kube::CustomResourceExt;
use serde_json::{Map, Value};

use crate::LLMAutoscaler;

/// The fields and values that one of two schemas has, and the other one lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaDifference {
    /// Those that the installed CRD lacks. A field of the status cannot be kept then.
    pub missing: Vec<String>,
    /// Those that only the installed CRD has. The operator ignores such a field.
    pub unknown: Vec<String>,
}

impl SchemaDifference {
    /// Compares the OpenAPI document of `llmautoscaler.io/v1alpha1`, as an API server publishes it,
    /// with the types of this crate. Returns `None` if the document does not describe the kind.
    pub fn of_document(document: &Value) -> Option<Self> {
        let schemas = document["components"]["schemas"].as_object()?;
        let installed = schemas.values().find(|schema| is_of_kind(schema))?;
        let own = own_schema()?;
        let mut difference = Self::default();
        for part in ["spec", "status"] {
            let [own, installed] =
                [&own, installed].map(|schema| schema["properties"][part].clone());
            list_missing(&own, &installed, part, &mut difference.missing);
            list_missing(&installed, &own, part, &mut difference.unknown);
        }
        Some(difference)
    }

    /// Returns whether both schemas have the same fields and values.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unknown.is_empty()
    }

    /// Removes the fields that the installed CRD lacks from a status: the API server refuses a
    /// status that has one of them.
    pub fn prune_status(&self, status: &mut Value) {
        for path in &self.missing {
            if let Some(path) = path.strip_prefix("status.") {
                remove(status, path);
            }
        }
    }
}

fn is_of_kind(schema: &Value) -> bool {
    let kinds = schema["x-kubernetes-group-version-kind"].as_array();
    kinds.into_iter().flatten().any(|kind| kind["kind"] == "LLMAutoscaler")
}

/// Returns the schema of the types of this crate.
fn own_schema() -> Option<Value> {
    let version = LLMAutoscaler::crd().spec.versions.into_iter().next()?;
    serde_json::to_value(version.schema?.open_api_v3_schema?).ok()
}

/// Lists what `schema` has and `other` lacks. What is below a missing field is not listed.
fn list_missing(schema: &Value, other: &Value, path: &str, missing: &mut Vec<String>) {
    // Below such a field everything is kept.
    if other["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match &other["properties"][name] {
            Value::Null => missing.push(path),
            other => list_missing(field, other, &path, missing),
        }
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            list_missing(&schema[inner], &other[inner], &format!("{path}[]"), missing);
        }
    }
    if let (Some(values), Some(others)) = (schema["enum"].as_array(), other["enum"].as_array()) {
        let lacking = values.iter().filter(|value| !others.contains(value));
        missing.extend(lacking.filter_map(|value| Some(format!("{path}: {}", value.as_str()?))));
    }
}

/// Returns the fields of an LLMAutoscaler's spec that the schema of this crate lacks, such as a
/// misspelt one: an API server would drop them, and refuse them where fields are validated.
pub fn unknown_spec_fields(object: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Some(schema) = own_schema() {
        list_unknown(&object["spec"], &schema["properties"]["spec"], "spec", &mut unknown);
    }
    unknown
}

fn list_unknown(value: &Value, schema: &Value, path: &str, unknown: &mut Vec<String>) {
    for element in value.as_array().into_iter().flatten() {
        list_unknown(element, &schema["items"], &format!("{path}[]"), unknown);
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) if schema["properties"].is_object() => unknown.push(path),
            (Value::Null, of_all) => list_unknown(field, of_all, &path, unknown),
            (of_field, _) => list_unknown(field, of_field, &path, unknown),
        }
    }
}

/// Removes a field from every object that the path leads to.
fn remove(value: &mut Value, path: &str) {
    let (segment, rest) = match path.split_once('.') {
        Some((segment, rest)) => (segment, Some(rest)),
        None => (path, None),
    };
    let name = segment.trim_end_matches("[]");
    let Some(object) = value.as_object_mut() else { return };
    match rest {
        None => drop(object.remove(name)),
        Some(rest) if segment.ends_with("[]") => {
            each(object, name).for_each(|element| remove(element, rest));
        }
        Some(rest) => object.get_mut(name).into_iter().for_each(|field| remove(field, rest)),
    }
}

/// Returns the elements of a list or a map.
fn each<'a>(
    object: &'a mut Map<String, Value>,
    name: &str,
) -> Box<dyn Iterator<Item = &'a mut Value> + 'a> {
    match object.get_mut(name) {
        Some(Value::Array(elements)) => Box::new(elements.iter_mut()),
        Some(Value::Object(elements)) => Box::new(elements.values_mut()),
        _ => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the document of an API server, with the schema of this crate as `change` leaves it.
    fn document(change: impl FnOnce(&mut Value)) -> Value {
        let mut schema = own_schema().unwrap();
        change(&mut schema["properties"]);
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": "llmautoscaler.io", "kind": "LLMAutoscaler", "version": "v1alpha1"}]);
        let list = json!({"x-kubernetes-group-version-kind": [{"kind": "LLMAutoscalerList"}]});
        json!({"components": {"schemas": {"a.LLMAutoscalerList": list, "b": schema}}})
    }

    fn difference(change: impl FnOnce(&mut Value)) -> SchemaDifference {
        SchemaDifference::of_document(&document(change)).unwrap()
    }

    #[test]
    fn the_same_schema_has_no_difference() {
        assert_eq!(difference(|_| {}), SchemaDifference::default());
        assert!(SchemaDifference::of_document(&json!({"components": {"schemas": {}}})).is_none());
    }

    #[test]
    fn differences_are_named_by_the_path_of_their_fields() {
        // the path of an object in the schema, the field or value, as it is named
        let table = [
            ("/spec/properties", "drain", "spec.drain"),
            ("/spec/properties/sources/items/properties", "scrape", "spec.sources[].scrape"),
            ("/status/properties/targets/items/properties", "history", "status.targets[].history"),
        ];
        for (pointer, name, expected) in table {
            let found = difference(|schema| {
                let object = schema.pointer_mut(pointer).unwrap();
                object.as_object_mut().unwrap().remove(name).unwrap();
            });
            assert_eq!(found.missing, [expected]);
            assert_eq!(found.unknown, [""; 0], "{expected}");
            let found = difference(|schema| {
                schema.pointer_mut(pointer).unwrap()["fromTheFuture"] = json!({"type": "string"});
            });
            let expected = expected.replace(name, "fromTheFuture");
            assert_eq!((found.missing, found.unknown), (Vec::new(), vec![expected]));
        }
        let engines = "/spec/properties/engine/enum";
        let found = difference(|schema| *schema.pointer_mut(engines).unwrap() = json!(["VLLM"]));
        assert!(found.missing.contains(&"spec.engine: SGLang".to_owned()), "{found:?}");
        assert_eq!(found.unknown, [""; 0]);
    }

    #[test]
    fn fields_that_the_schema_lacks_are_found_wherever_they_are() {
        let table = [
            (json!({"minReplicas": 1, "metrics": [{"signal": "WaitingRequests"}]}), vec![]),
            (json!({"maxReplica": 8}), vec!["spec.maxReplica"]),
            (
                json!({"metrics": [{"signal": "WaitingRequests"}, {"target": {"averagevalue": "1"}}]}),
                vec!["spec.metrics[].target.averagevalue"],
            ),
            (
                json!({"behavior": {"scaleDown": {"stabilizationWindow": 1}}, "behaviour": {}}),
                vec!["spec.behavior.scaleDown.stabilizationWindow", "spec.behaviour"],
            ),
            // Labels may have any name.
            (
                json!({"sources": [{"scrape": {"podSelector": {"matchLabels": {"a/b": "x"}}}}]}),
                vec![],
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(unknown_spec_fields(&json!({"spec": spec})), expected);
        }
    }

    #[test]
    fn what_is_kept_unseen_is_not_missing() {
        let found = difference(|schema| {
            let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            schema["status"] = open;
        });
        assert_eq!(found.missing, [""; 0]);
    }

    #[test]
    fn a_status_loses_what_the_crd_lacks_and_nothing_else() {
        let mut status = json!({
            "summary": "waiting 1/5",
            "reference": "StatefulSet/a",
            "targets": [
                {"name": "a", "history": {"format": 1}, "decision": {"raw": 1, "applied": 2}},
                {"name": "b"},
            ],
        });
        let missing = [
            "status.summary",
            "status.targets[].history",
            "status.targets[].decision.raw",
            "status.lastWakeTime",
            "spec.reference",
            "status.metrics[].name",
        ];
        let missing = missing.map(str::to_owned).to_vec();
        SchemaDifference { missing, unknown: Vec::new() }.prune_status(&mut status);
        let expected = json!({
            "reference": "StatefulSet/a",
            "targets": [{"name": "a", "decision": {"applied": 2}}, {"name": "b"}],
        });
        assert_eq!(status, expected);
    }
}
