//! The annotation that pauses an autoscaler. It is an annotation and not a field, so that applying
//! the manifest from a repository does not remove it.

use kube::ResourceExt;

use crate::spec::LLMAutoscaler;

/// The annotation of an `LLMAutoscaler` that pauses it. With any value but `false`, the operator
/// does not write to the target.
pub const PAUSED: &str = "llmautoscaler.io/paused";

impl LLMAutoscaler {
    /// Returns whether the operator must not write to the target. Values such as `yes` and the
    /// empty text count as well, because they are meant as `true`.
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
