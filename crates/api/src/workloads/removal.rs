//! The replicas that a smaller size of a target removes, and how to make its controller remove
//! others.

use std::collections::BTreeMap;

use super::{
    DISAGGREGATED_GROUP, INSTANCE_LABEL, RBG_ADAPTER, RBG_GROUP, RBG_KIND, ROLE_LABELS, ROLE_SCALER,
};
use crate::spec::ScaleTargetRef;

/// The type of the condition of pods by which they are taken out of service. It takes effect where
/// a pod has it as a readiness gate.
pub const IN_SERVICE: &str = "llmautoscaler.io/in-service";
/// The annotation of pods that orders the removals of a Deployment: the lowest cost goes first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The kind of the replicas of a RoleInstanceSet. A RoleInstance owns its pods.
pub const RBG_INSTANCE: &str = "RoleInstance";
/// The annotation of RoleInstances that orders the removals of a stateless RoleInstanceSet: the
/// lowest cost goes first.
pub const INSTANCE_DELETION_COST: &str = "controller.kubernetes.io/instance-deletion-cost";
/// The deletion cost of a pod or an instance that should be removed first. No other writer is
/// likely to use this number, so it marks the annotation as ours.
pub const CHEAPEST: &str = "-2000000000";

/// The `podManagementPolicy` of a StatefulSet or a role that creates and removes one replica after
/// the other: it removes none while one below it is not ready.
pub const ORDERED_READY: &str = "OrderedReady";

/// The annotation of a role that holds the kind of its workload; absent for a RoleInstanceSet.
const ROLE_WORKLOAD: &str = "rbg.workloads.x-k8s.io/role-workload-type";
/// The annotation of a role, and of its RoleInstanceSet, that is `Stateless` where its instances
/// have no ordinals.
const ROLE_MODE: &str = "rbg.workloads.x-k8s.io/role-instance-pattern";

const LWS_GROUP: Victims = Victims::LabelOrdinals("leaderworkerset.sigs.k8s.io/group-index");
const INSTANCES: Victims = Victims::LabelOrdinals(INSTANCE_LABEL);

/// The rule by which a controller chooses the replicas that a smaller size removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victims {
    /// The highest ordinals, which are the numbers at the end of the pods' names.
    PodOrdinals,
    /// The highest numbers at the end of a label's value, or of the pods' names where they do not
    /// have the label.
    LabelOrdinals(&'static str),
    /// The pods with the lowest deletion cost.
    DeletionCost,
    /// The RoleInstances with the lowest deletion cost.
    InstanceCost,
}

/// Returns the rule for a target's kind, where it is known. Where the kind [has modes](has_modes),
/// the annotations of its object may name [another rule](role_victims).
pub fn victims(target: &ScaleTargetRef) -> Option<Victims> {
    let (group, _) = target.api_version.split_once('/')?;
    match (group, &*target.kind) {
        ("apps", "StatefulSet") => Some(Victims::PodOrdinals),
        ("apps", "Deployment") => Some(Victims::DeletionCost),
        // Outside of a rollout a role has one LeaderWorkerSet.
        ("leaderworkerset.x-k8s.io", "LeaderWorkerSet") | (DISAGGREGATED_GROUP, ROLE_SCALER) => {
            Some(LWS_GROUP)
        }
        (RBG_GROUP, RBG_KIND | RBG_ADAPTER | "RoleInstanceSet") => Some(INSTANCES),
        _ => None,
    }
}

/// Returns whether the rule depends on the annotations of the target's object; [`role_victims`]
/// reads them.
pub fn has_modes(target: &ScaleTargetRef) -> bool {
    victims(target) == Some(INSTANCES)
}

/// Returns the rule for a role, given the annotations of the role or of its RoleInstanceSet.
pub fn role_victims(annotations: &BTreeMap<String, String>) -> Victims {
    let value = |key| annotations.get(key).map_or("", String::as_str);
    match value(ROLE_WORKLOAD).rsplit('/').next() {
        Some("StatefulSet") => Victims::PodOrdinals,
        Some("Deployment") => Victims::DeletionCost,
        Some("LeaderWorkerSet") => LWS_GROUP,
        _ if value(ROLE_MODE) == "Stateless" => Victims::InstanceCost,
        _ => INSTANCES,
    }
}

/// Returns the `apiVersion` and the kind of a role's workload, given the annotations of the role;
/// `None` if they cannot be read.
pub fn role_workload(annotations: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    let stated = annotations.get(ROLE_WORKLOAD).map(String::as_str).filter(|text| !text.is_empty());
    stated.unwrap_or("workloads.x-k8s.io/v1alpha2/RoleInstanceSet").rsplit_once('/')
}

/// Returns the selector of all instances of the role to which a pod with these labels belongs. It
/// is empty, and so selects everything, where the pod belongs to no role.
pub fn role_labels(labels: &BTreeMap<String, String>) -> String {
    let known = ROLE_LABELS.iter().filter_map(|key| Some(format!("{key}={}", labels.get(*key)?)));
    known.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_target_decides_which_replicas_go() {
        let of = |api_version: &str, kind: &str| {
            let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
            victims(&ScaleTargetRef { api_version, kind, name: "a".to_owned(), role: None })
        };
        assert_eq!(of("apps/v1", "StatefulSet"), Some(Victims::PodOrdinals));
        assert_eq!(of("apps/v1", "Deployment"), Some(Victims::DeletionCost));
        assert_eq!(of("example.com/v1", "StatefulSet"), None);
        assert_eq!(of("example.com/v1", "Fleet"), None);
    }

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_annotations_of_a_role_decide_which_replicas_go() {
        let mode = |mode| (ROLE_MODE, mode);
        let workload = |kind| (ROLE_WORKLOAD, kind);
        let table = [
            (vec![], INSTANCES),
            (vec![mode("Stateful")], INSTANCES),
            (vec![mode("Stateless")], Victims::InstanceCost),
            (
                vec![mode("Stateless"), workload("workloads.x-k8s.io/v1alpha2/RoleInstanceSet")],
                Victims::InstanceCost,
            ),
            (vec![mode("Stateless"), workload("apps/v1/StatefulSet")], Victims::PodOrdinals),
            (vec![workload("apps/v1/Deployment")], Victims::DeletionCost),
            (vec![workload("leaderworkerset.x-k8s.io/v1/LeaderWorkerSet")], LWS_GROUP),
        ];
        for (annotations, expected) in table {
            assert_eq!(role_victims(&pairs(&annotations)), expected, "{annotations:?}");
        }
    }

    #[test]
    fn instances_are_found_by_their_role() {
        let both = pairs(&[(ROLE_LABELS[0], "pd"), (ROLE_LABELS[1], "decode"), ("app", "a")]);
        assert_eq!(role_labels(&both), super::super::role_selector("pd", "decode"));
        assert_eq!(role_labels(&pairs(&[("app", "a")])), "");
    }
}
