//! What is kept of an LLMAutoscaler, so that its author takes no memory with it.

use llm_autoscaler_api::{LLMAutoscaler, PAUSED};

/// The largest size of a spec. One with eight roles, of eight metrics each, has some 25 kB.
pub(super) const LARGEST: usize = 64 << 10;
/// The memory that a text takes beside its bytes.
const PER_TEXT: usize = 32;

/// Removes the metadata that nothing depends on, and the room for more that lists have.
pub(super) fn trim(object: &mut LLMAutoscaler) {
    object.spec.metrics.shrink_to_fit();
    object.spec.sources.iter_mut().for_each(Vec::shrink_to_fit);
    if let Some(status) = &mut object.status {
        status.conditions.shrink_to_fit();
        status.targets.shrink_to_fit();
    }
    let metadata = &mut object.metadata;
    metadata.managed_fields = None;
    metadata.labels = None;
    metadata.owner_references = None;
    metadata.finalizers = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|name, _| name == PAUSED);
        for value in annotations.values_mut() {
            value.truncate(value.floor_char_boundary(63));
        }
    }
}

/// Returns true if a spec takes no more memory than one may, for its texts and for their number. A
/// spec is kept several times: as it is, compiled, and for each of its sources.
pub(super) fn fits(object: &LLMAutoscaler) -> bool {
    // A spec that cannot be written as JSON was not read from it.
    let text = serde_json::to_string(&object.spec).unwrap_or_default();
    let texts = text.matches('"').count() / 2;
    text.len() + PER_TEXT * texts <= LARGEST
}

/// Removes the parts of a spec that may be large.
pub(super) fn empty(object: &mut LLMAutoscaler) {
    let spec = &mut object.spec;
    spec.metrics = Vec::new();
    (spec.roles, spec.sources, spec.behavior, spec.drain) = (None, None, None, None);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(values: &[String]) -> LLMAutoscaler {
        let selector =
            json!({"matchExpressions": [{"key": "m", "operator": "In", "values": values}]});
        serde_json::from_value(json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": {
                "name": "a", "uid": "u", "generation": 7, "labels": {"a": "b"},
                "annotations": {PAUSED: "x".repeat(1000), "other": "y"},
                "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
                "engine": "Custom",
                "maxReplicas": 3,
                "metrics": [{
                    "series": {"name": "q", "selector": selector},
                    "target": {"type": "AverageValue", "averageValue": "5"},
                }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn of_the_metadata_only_what_is_needed_is_kept() {
        let mut object = object(&[]);
        object.spec.metrics.reserve(3);
        trim(&mut object);
        let metrics = &object.spec.metrics;
        assert_eq!(metrics.capacity(), metrics.len(), "there is no room for metrics to come");
        assert!(object.is_paused() && object.metadata.generation == Some(7));
        let kept = serde_json::to_string(&object.metadata).unwrap();
        assert!(kept.len() < 200 && kept.contains("\"uid\":\"u\""), "{kept}");
    }

    #[test]
    fn a_spec_fits_by_its_texts_and_by_their_number() {
        for (values, expected) in [
            (vec!["x".repeat(1024); 32], true),
            (vec!["x".repeat(1024); 64], false),
            (vec![String::new(); 1000], true),
            (vec![String::new(); 2000], false),
        ] {
            let mut object = object(&values);
            assert_eq!(fits(&object), expected, "{} values", values.len());
            empty(&mut object);
            assert!(fits(&object) && object.spec.metrics.is_empty());
        }
    }
}
