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

/// Returns the reference by which an object is to be read and written, where that of a target would
/// lose fields: the conversion of a RoleBasedGroup to v1alpha1 and back resets its
/// `podManagementPolicy`, and fails for some patterns.
pub(super) fn without_loss(target: &ScaleTargetRef) -> Option<ScaleTargetRef> {
    let (group, version) = target.api_version.split_once('/')?;
    let api_version = format!("{group}/v1alpha2");
    (group == workloads::RBG_GROUP && version == "v1alpha1")
        .then(|| ScaleTargetRef { api_version, ..target.clone() })
}

/// Returns why a kind cannot be a target although it has a scale subresource.
pub(super) fn refusal(target: &ScaleTargetRef) -> Option<&'static str> {
    let group = target.api_version.split_once('/').map(|(group, _)| group);
    (group == Some(workloads::RBG_GROUP) && target.kind == workloads::RBG_SET).then_some(
        "the scale of a RoleBasedGroupSet has no selector, and its pods have no label of it, so no \
         autoscaler can measure them: scale roles of groups that are in no set",
    )
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
    fn some_references_are_read_as_others_or_refused() {
        // apiVersion, kind; the version that is used instead, refused
        let table = [
            ("workloads.x-k8s.io/v1alpha1", "RoleBasedGroup", Some("v1alpha2"), false),
            ("workloads.x-k8s.io/v1alpha2", "RoleBasedGroup", None, false),
            ("workloads.x-k8s.io/v1alpha2", "RoleBasedGroupSet", None, true),
            ("example.com/v1alpha1", "RoleBasedGroupSet", None, false),
        ];
        for (api_version, kind, instead, is_refused) in table {
            let base =
                ScaleTargetRef { api_version: api_version.to_owned(), ..leader_worker_set("a") };
            let target = same_version(&base, kind, "a");
            let found = without_loss(&target).map(|found| found.api_version);
            let expected = instead.map(|version| format!("workloads.x-k8s.io/{version}"));
            assert_eq!(found, expected, "{target:?}");
            assert_eq!(refusal(&target).is_some(), is_refused, "{target:?}");
        }
    }

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
