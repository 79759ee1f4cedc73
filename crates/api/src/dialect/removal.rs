//! Whom a smaller size of a target removes, and how its controller is told whom to remove.

use std::collections::BTreeMap;

use super::{INSTANCE_LABEL, RBG_ADAPTER, RBG_GROUP, RBG_KIND, ROLE_LABELS};
use crate::ScaleTargetRef;

/// The readiness gate by which pods let themselves be taken out of service: the type of their condition.
pub const IN_SERVICE: &str = "llmautoscaler.io/in-service";
/// The annotation by which a Deployment is told which pods to remove first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// The kind of the replicas of a RoleInstanceSet. They own their pods.
pub const RBG_INSTANCE: &str = "RoleInstance";
/// The annotation of RoleInstances by which a stateless RoleInstanceSet is told which of them to remove first.
pub const INSTANCE_DELETION_COST: &str = "controller.kubernetes.io/instance-deletion-cost";
/// What a pod or an instance that is to be removed first costs: a number that nobody else writes, by which it is known for ours.
pub const CHEAPEST: &str = "-2000000000";

/// The `podManagementPolicy` of a StatefulSet or a role that makes one replica after the other, and removes nobody above one that is
/// not ready.
pub const ORDERED: &str = "OrderedReady";

/// The annotation of a role that says of which kind its workload is; absent for a RoleInstanceSet.
const ROLE_WORKLOAD: &str = "rbg.workloads.x-k8s.io/role-workload-type";
/// The annotation of a role, and of its RoleInstanceSet, that says whether its instances have numbers.
const ROLE_MODE: &str = "rbg.workloads.x-k8s.io/role-instance-pattern";

const LWS_GROUP: Victims = Victims::LabelOrdinals("leaderworkerset.sigs.k8s.io/group-index");
const INSTANCES: Victims = Victims::LabelOrdinals(INSTANCE_LABEL);

/// Whom a smaller size of a target removes, and how that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victims {
    /// The highest ordinals: the numbers at the end of pods' names.
    PodOrdinals,
    /// The highest numbers at the end of a label, or of pods' names where they do not have it.
    LabelOrdinals(&'static str),
    /// The pods with the lowest deletion cost.
    DeletionCost,
    /// The RoleInstances with the lowest deletion cost.
    InstanceCost,
}

/// Whom a smaller size of a target removes, where that is known. Where the kind [has modes](has_modes), its object may say
/// otherwise.
pub fn victims(target: &ScaleTargetRef) -> Option<Victims> {
    let (group, _) = target.api_version.split_once('/')?;
    match (group, &*target.kind) {
        ("apps", "StatefulSet") => Some(Victims::PodOrdinals),
        ("apps", "Deployment") => Some(Victims::DeletionCost),
        ("leaderworkerset.x-k8s.io", "LeaderWorkerSet") => Some(LWS_GROUP),
        (RBG_GROUP, RBG_KIND | RBG_ADAPTER | "RoleInstanceSet") => Some(INSTANCES),
        _ => None,
    }
}

/// Whether it takes the object of a target to know whom a smaller size removes: [`role_victims`].
pub fn has_modes(target: &ScaleTargetRef) -> bool {
    victims(target) == Some(INSTANCES)
}

/// Whom a smaller size of a role removes, by the annotations of the role or of its RoleInstanceSet.
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

/// The selector of all instances of the role of a pod with these labels; of all there are where it is of no role.
pub fn role_labels(labels: &BTreeMap<String, String>) -> String {
    let known = ROLE_LABELS.iter().filter_map(|key| Some(format!("{key}={}", labels.get(*key)?)));
    known.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_smaller_size_removes() {
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
    fn a_role_says_what_its_workload_is() {
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
