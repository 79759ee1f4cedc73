//! The kinds of targets of several autoscalers.

use std::collections::BTreeMap;

use kube::ResourceExt;
use llm_autoscaler_api::{LLMAutoscaler, ScaleTargetRef};

/// One target of each kind, with its namespace, by its `apiVersion` and `kind`.
pub(super) type Kinds = BTreeMap<(String, String), (String, ScaleTargetRef)>;

/// Adds the kinds of an autoscaler's targets.
pub(super) fn add_kinds(kinds: &mut Kinds, object: &LLMAutoscaler) {
    let roles = object.spec.roles.iter().flatten();
    let targets = roles.filter_map(|role| role.scale_target_ref.as_ref());
    for target in targets.chain(&object.spec.scale_target_ref) {
        let is_known = kinds
            .keys()
            .any(|(version, kind)| *version == target.api_version && *kind == target.kind);
        if !is_known {
            let key = (target.api_version.clone(), target.kind.clone());
            kinds.insert(key, (object.namespace().unwrap_or_default(), target.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reconcile::tasks::tests::object;

    #[test]
    fn each_kind_of_targets_is_there_once() {
        let mut object = object("ns", "1", 1).0.unwrap();
        let target =
            |kind: &str, name: &str| json!({"apiVersion": "apps/v1", "kind": kind, "name": name});
        object.spec.roles = serde_json::from_value(json!([
            {"name": "p", "scaleTargetRef": target("Deployment", "p")},
            {"name": "d", "scaleTargetRef": target("Deployment", "d")},
            {"name": "e", "scaleTargetRef": target("StatefulSet", "e")},
        ]))
        .unwrap();
        let mut kinds = Kinds::new();
        add_kinds(&mut kinds, &object);
        let found: Vec<_> = kinds.keys().map(|(_, kind)| &**kind).collect();
        assert_eq!(found, ["Deployment", "StatefulSet"]);
    }
}
