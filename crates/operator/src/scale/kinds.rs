//! Kinds without a scale subresource, or with one that cannot be used.

use llm_autoscaler_api::{ScaleTargetRef, workloads};

/// Returns whether a target is one role of a RoleBasedGroup, named by the group or by an adapter.
pub(super) fn is_group_role(target: &ScaleTargetRef) -> bool {
    let group = target.api_version.split_once('/').map(|(group, _)| group);
    group == Some(workloads::RBG_GROUP)
        && matches!(&*target.kind, workloads::RBG_KIND | workloads::RBG_ADAPTER)
}

/// Returns whether a target can be scaled although its kind has no scale subresource.
pub(super) fn scales_without_subresource(target: &ScaleTargetRef) -> bool {
    is_group_role(target) && target.kind == workloads::RBG_KIND
}

/// Returns a reference to an object of the target's group and version.
pub(super) fn same_version(target: &ScaleTargetRef, kind: &str, name: &str) -> ScaleTargetRef {
    ScaleTargetRef {
        api_version: target.api_version.clone(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        role: None,
    }
}

/// Returns a reference to a LeaderWorkerSet.
pub(super) fn leader_worker_set(name: &str) -> ScaleTargetRef {
    ScaleTargetRef {
        api_version: "leaderworkerset.x-k8s.io/v1".to_owned(),
        kind: "LeaderWorkerSet".to_owned(),
        name: name.to_owned(),
        role: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_scaled_by_their_group_or_their_adapter() {
        // apiVersion, kind; a role of a group, scaled without a subresource
        let table = [
            ("workloads.x-k8s.io/v1alpha1", "RoleBasedGroup", true, true),
            ("workloads.x-k8s.io/v1alpha2", "RoleBasedGroup", true, true),
            ("workloads.x-k8s.io/v1alpha1", "RoleBasedGroupScalingAdapter", true, false),
            ("workloads.x-k8s.io/v1alpha1", "RoleInstanceSet", false, false),
            ("example.com/v1", "RoleBasedGroup", false, false),
            ("apps/v1", "StatefulSet", false, false),
            ("v1", "ReplicationController", false, false),
        ];
        for (api_version, kind, is_role, has_no_subresource) in table {
            let base = ScaleTargetRef {
                api_version: api_version.to_owned(),
                kind: String::new(),
                name: String::new(),
                role: None,
            };
            let target = same_version(&base, kind, "a");
            assert_eq!(is_group_role(&target), is_role, "{target:?}");
            assert_eq!(scales_without_subresource(&target), has_no_subresource, "{target:?}");
        }
    }
}
