//! What is known of kinds of targets beyond their scale subresource, as data: where their pods are, and which pods are one
//! replica.

mod drivers;
mod removal;

use std::collections::BTreeMap;

use kube::core::{Expression, Selector, SelectorExt};

pub use drivers::{Parent, SCALERS, Scaler, is_same, parent};
pub use removal::{
    CHEAPEST, DELETION_COST, IN_SERVICE, INSTANCE_DELETION_COST, ORDERED, RBG_INSTANCE, Victims,
    has_modes, role_labels, role_victims, victims,
};

use crate::ScaleTargetRef;

/// The API group of RoleBasedGroups.
pub const RBG_GROUP: &str = "workloads.x-k8s.io";
/// The kind whose roles are scaled.
pub const RBG_KIND: &str = "RoleBasedGroup";
/// The kind that is the handle of one role.
pub const RBG_ADAPTER: &str = "RoleBasedGroupScalingAdapter";
/// The label by which a RoleBasedGroup belongs to a RoleBasedGroupSet, which would undo every change of a role.
pub const RBG_SET_LABEL: &str = "rbg.workloads.x-k8s.io/groupset-name";

/// The labels by which pods and instances belong to a role: of the group, and of the role.
const ROLE_LABELS: [&str; 2] =
    ["rbg.workloads.x-k8s.io/group-name", "rbg.workloads.x-k8s.io/role-name"];
/// The label by which pods belong to an instance of a role: its name.
const INSTANCE_LABEL: &str = "rbg.workloads.x-k8s.io/role-instance-name";

/// The selector of all pods of a role. What its adapter says is empty or unreadable in many cases.
pub fn role_selector(group: &str, role: &str) -> String {
    let [of_group, of_role] = ROLE_LABELS;
    format!("{of_group}={group},{of_role}={role}")
}

/// The selector of all pods of a target, for kinds whose scale subresource does not find all of them.
pub fn pod_selector(target: &ScaleTargetRef) -> Option<String> {
    let (group, _) = target.api_version.split_once('/')?;
    let label = match (group, &*target.kind) {
        // Its own selector finds the leaders only.
        ("leaderworkerset.x-k8s.io", "LeaderWorkerSet") => "leaderworkerset.sigs.k8s.io/name",
        // Grove up to v0.1.0-alpha.8 has a selector only where it makes an HPA itself.
        ("grove.io", "PodCliqueScalingGroup") => "grove.io/podcliquescalinggroup",
        ("grove.io", "PodClique") => CLIQUE,
        _ => return None,
    };
    Some(format!("{label}={}", target.name))
}

/// The label that names the PodClique of a pod.
const CLIQUE: &str = "grove.io/podclique";
/// The label that names the component of a DynamoGraphDeployment that a pod is of.
const COMPONENT: &str = "nvidia.com/dynamo-component";

/// How the pods of a target are told to be of one replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouping {
    /// Pods with the same value of this label are one replica.
    pub label: String,
    /// Which of them speak for it.
    pub leader: Leader,
    /// How many they are when they are complete.
    pub size: GroupSize,
}

/// Which pods of a replica publish its metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum Leader {
    /// All; what they say is added up.
    Everybody,
    /// Those with this value of a label, and those without that label.
    Unless(String, String),
    /// All but the workers of a Dynamo component of several nodes. Only the name of their PodClique tells which these are.
    UnlessDynamoWorker,
    /// Those that a selector selects.
    Selected(Selector),
}

/// How many pods a complete replica has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupSize {
    /// Nobody says.
    Unknown,
    /// So many.
    Fixed(usize),
    /// Each pod says, in this annotation.
    Annotation(String),
}

/// The annotations of pods that some grouping asks for.
pub const ANNOTATIONS: [&str; 1] = ["leaderworkerset.sigs.k8s.io/size"];

/// The groupings that controllers write on their pods; the first whose label a pod has is its own.
pub fn known() -> Vec<Grouping> {
    let leader = |label: &str, value: &str| Leader::Unless(label.to_owned(), value.to_owned());
    let group_by = |label: &str| Grouping {
        label: label.to_owned(),
        leader: leader("leaderworkerset.sigs.k8s.io/worker-index", "0"),
        size: GroupSize::Annotation(ANNOTATIONS[0].to_owned()),
    };
    vec![
        // By the instance and not by its index, which is wrong where several are made at once.
        Grouping {
            label: INSTANCE_LABEL.to_owned(),
            leader: leader("rbg.workloads.x-k8s.io/component-index", "0"),
            size: GroupSize::Unknown,
        },
        // By the key: several LeaderWorkerSets behind one selector, as Dynamo makes, all have a group 0.
        group_by("leaderworkerset.sigs.k8s.io/group-key"),
        group_by("leaderworkerset.sigs.k8s.io/group-index"),
        Grouping {
            label: "grove.io/podcliquescalinggroup-replica-index".to_owned(),
            leader: Leader::UnlessDynamoWorker,
            size: GroupSize::Unknown,
        },
    ]
}

impl Grouping {
    /// Whether a pod with these labels speaks for its replica.
    pub fn speaks(&self, labels: &BTreeMap<String, String>) -> bool {
        match &self.leader {
            Leader::Everybody => true,
            Leader::Unless(label, value) => labels.get(label).is_none_or(|found| found == value),
            Leader::UnlessDynamoWorker => !is_dynamo_worker(labels),
            Leader::Selected(selector) => selector.matches(labels),
        }
    }

    /// How many pods the replica of a pod has when it is complete.
    pub fn size(&self, annotations: &BTreeMap<String, String>) -> Option<usize> {
        match &self.size {
            GroupSize::Unknown => None,
            GroupSize::Fixed(size) => Some(*size),
            GroupSize::Annotation(key) => annotations.get(key)?.parse().ok(),
        }
    }

    /// What else has to be asked for to select only pods that speak, of pods with these labels.
    pub fn narrowed(&self, labels: &BTreeMap<String, String>) -> Selector {
        match &self.leader {
            Leader::Unless(label, value) if labels.contains_key(label) => {
                Expression::Equal(label.clone(), value.clone()).into()
            }
            // The names of cliques have the number of the replica in them, which no selector leaves out.
            Leader::Everybody | Leader::Unless(..) | Leader::UnlessDynamoWorker => {
                Selector::default()
            }
            Leader::Selected(selector) => selector.clone(),
        }
    }
}

/// Whether a pod is of the clique COMPONENT-wkr, whose pods have no page of the engine, or of one of several such cliques.
fn is_dynamo_worker(labels: &BTreeMap<String, String>) -> bool {
    let (Some(clique), Some(component)) = (labels.get(CLIQUE), labels.get(COMPONENT)) else {
        return false;
    };
    let rest =
        clique.rsplit_once(&format!("-{}-wkr", component.to_lowercase())).map(|(_, rest)| rest);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn leaders_speak_and_so_does_who_has_none() {
        let known = known();
        let rbg = &known[0];
        let instance = ("rbg.workloads.x-k8s.io/role-instance-name", "pd-decode-0");
        let component =
            |index| labels(&[instance, ("rbg.workloads.x-k8s.io/component-index", index)]);
        // labels; speaks, how a selector of those that speak is narrowed
        let table = [
            (component("0"), true, "rbg.workloads.x-k8s.io/component-index=0"),
            (component("1"), false, "rbg.workloads.x-k8s.io/component-index=0"),
            (labels(&[instance]), true, ""),
        ];
        for (labels, speaks, narrowed) in table {
            assert_eq!(rbg.speaks(&labels), speaks, "{labels:?}");
            assert_eq!(rbg.narrowed(&labels).to_string(), narrowed, "{labels:?}");
        }
    }

    #[test]
    fn workers_of_dynamo_do_not_speak() {
        let grove =
            known().into_iter().find(|grouping| grouping.label.starts_with("grove.io")).unwrap();
        // clique, component; speaks
        let table = [
            ("web-0-decode-1-decode-ldr", "Decode", true),
            ("web-0-decode-1-decode-wkr", "Decode", false),
            ("web-0-decode-1-decode-wkr-2", "Decode", false),
            ("web-0-decode-1-decode-wkrs", "Decode", true),
            ("web-0-wkr-1-wkr", "wkr", true),
        ];
        for (clique, component, speaks) in table {
            let labels = labels(&[(CLIQUE, clique), (COMPONENT, component)]);
            assert_eq!(grove.speaks(&labels), speaks, "{clique}");
            assert!(grove.narrowed(&labels).selects_all());
        }
        assert!(grove.speaks(&labels(&[(CLIQUE, "web-0-pair-1-pair-wkr")])), "of another owner");
    }

    #[test]
    fn a_group_says_how_many_it_is() {
        let lws = known().remove(1);
        assert_eq!(lws.size(&labels(&[(ANNOTATIONS[0], "8")])), Some(8));
        assert_eq!(lws.size(&labels(&[(ANNOTATIONS[0], "many")])), None);
        assert_eq!(lws.size(&labels(&[])), None);
    }

    #[test]
    fn kinds_whose_selector_does_not_find_all_pods() {
        let target = |api_version: &str, kind: &str| ScaleTargetRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "pd".to_owned(),
            role: None,
        };
        let lws = target("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet");
        assert_eq!(pod_selector(&lws).unwrap(), "leaderworkerset.sigs.k8s.io/name=pd");
        let group = target("grove.io/v1alpha1", "PodCliqueScalingGroup");
        assert_eq!(pod_selector(&group).unwrap(), "grove.io/podcliquescalinggroup=pd");
        let clique = target("grove.io/v1alpha1", "PodClique");
        assert_eq!(pod_selector(&clique).unwrap(), "grove.io/podclique=pd");
        assert_eq!(pod_selector(&target("grove.io/v1alpha1", "PodCliqueSet")), None);
        assert_eq!(pod_selector(&target("apps/v1", "StatefulSet")), None);
        assert_eq!(pod_selector(&target("v1", "LeaderWorkerSet")), None);
    }
}
