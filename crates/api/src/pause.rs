//! The annotation that takes the operator's hands off a target. An annotation and not a field, so that what is applied from a repository
//! does not put it back.

use kube::ResourceExt;

use crate::spec::LLMAutoscaler;

/// The annotation of an `LLMAutoscaler`: with any value but `false` nothing is written to its target.
pub const PAUSED: &str = "llmautoscaler.io/paused";

impl LLMAutoscaler {
    /// Whether nothing is to be written to its target. Who writes `yes`, or nothing, means it too.
    pub fn is_paused(&self) -> bool {
        self.annotations().get(PAUSED).is_some_and(|value| !value.eq_ignore_ascii_case("false"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_value_but_false_pauses() {
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "engine": "VLLM", "maxReplicas": 3, "metrics": [],
        });
        let mut object = LLMAutoscaler::new("a", serde_json::from_value(spec).unwrap());
        assert!(!object.is_paused());
        for (value, expected) in
            [("true", true), ("", true), ("yes", true), ("false", false), ("False", false)]
        {
            object.annotations_mut().insert(PAUSED.to_owned(), value.to_owned());
            assert_eq!(object.is_paused(), expected, "{value:?}");
        }
    }
}
