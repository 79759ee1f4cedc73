//! Knowledge about kinds of workloads beyond their scale subresource, as data: how to select their
//! pods, which pods are one replica, which of those expose its metrics, which replicas a smaller
//! size removes, and which other objects may drive the size.

pub mod keda;
mod other_autoscalers;
mod removal;

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use kube::core::{Expression, Selector, SelectorExt};

use crate::spec::ScaleTargetRef;

pub use other_autoscalers::{
    AUTOSCALER_KINDS, AutoscalerKind, ScalingOwner, is_same_object, scaling_owner,
    unknown_controller,
};
pub use removal::{
    CHEAPEST, DELETION_COST, IN_SERVICE, INSTANCE_DELETION_COST, ORDERED_READY, RBG_INSTANCE,
    Victims, has_modes, role_labels, role_victims, role_workload, victims,
};

/// The API group of RoleBasedGroups.
pub const RBG_GROUP: &str = "workloads.x-k8s.io";
/// The kind with roles that can be scaled.
pub const RBG_KIND: &str = "RoleBasedGroup";
/// The kind that has the scale subresource of one role.
pub const RBG_ADAPTER: &str = "RoleBasedGroupScalingAdapter";
/// The kind that makes several RoleBasedGroups of one template.
pub const RBG_SET: &str = "RoleBasedGroupSet";
/// The label that names the RoleBasedGroupSet of a RoleBasedGroup. The set undoes every change of a
/// role's size.
pub const RBG_SET_LABEL: &str = "rbg.workloads.x-k8s.io/groupset-name";

/// The API group of DisaggregatedSets. Their roles are LeaderWorkerSets.
pub const DISAGGREGATED_GROUP: &str = "disaggregatedset.x-k8s.io";
/// The kind that has the scale subresource of one role of a DisaggregatedSet.
pub const ROLE_SCALER: &str = "DisaggregatedSetRoleScaler";
/// The labels that name the DisaggregatedSet and the role of a scaler, and of its LeaderWorkerSets.
pub const DISAGGREGATED_LABELS: [&str; 2] =
    ["disaggregatedset.x-k8s.io/name", "disaggregatedset.x-k8s.io/role"];

/// The labels that name the group and the role of a pod or a RoleInstance.
const ROLE_LABELS: [&str; 2] =
    ["rbg.workloads.x-k8s.io/group-name", "rbg.workloads.x-k8s.io/role-name"];
/// The label that names the RoleInstance of a pod.
const INSTANCE_LABEL: &str = "rbg.workloads.x-k8s.io/role-instance-name";

/// Returns the selector of all pods of a role. The selector in the scale of its adapter cannot be
/// used: in many cases it is empty, or cannot be parsed.
pub fn role_selector(group: &str, role: &str) -> String {
    let [group_label, role_label] = ROLE_LABELS;
    format!("{group_label}={group},{role_label}={role}")
}

/// Returns the selector of all pods of a target, for kinds with a scale subresource that selects
/// only some of them.
pub fn pod_selector(target: &ScaleTargetRef) -> Option<String> {
    let (group, _) = target.api_version.split_once('/')?;
    let label = match (group, &*target.kind) {
        // The scale's selector finds the leaders only.
        ("leaderworkerset.x-k8s.io", "LeaderWorkerSet") => "leaderworkerset.sigs.k8s.io/name",
        // Up to v0.1.0-alpha.8, Grove fills in a selector only where it creates an HPA itself.
        ("grove.io", "PodCliqueScalingGroup") => "grove.io/podcliquescalinggroup",
        ("grove.io", "PodClique") => CLIQUE,
        // Its scale has no selector.
        ("kubeai.org", "Model") => "model",
        _ => return None,
    };
    Some(format!("{label}={}", target.name))
}

/// Drops the requirement that only leaders of LeaderWorkerSets meet from the selector of a scale,
/// unless it is the only one. Pods are counted in groups, and a group of which only the leader is
/// found would lack its workers for ever. Example:
/// `name=pd,leaderworkerset.sigs.k8s.io/worker-index=0` becomes `name=pd`.
pub fn with_workers(selector: &str) -> String {
    let is_leaders = |part: &&str| {
        let found = part.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        matches!(found, Some((WORKER_INDEX, "0" | "=0" | "= 0")))
    };
    let parts: Vec<&str> = selector.split(',').filter(|part| !is_leaders(part)).collect();
    if parts.is_empty() { selector.to_owned() } else { parts.join(",") }
}

/// The label that names the PodClique of a pod.
const CLIQUE: &str = "grove.io/podclique";
/// The label that names the component of a DynamoGraphDeployment to which a pod belongs.
const COMPONENT: &str = "nvidia.com/dynamo-component";

/// A rule that groups the pods of a target into replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouping {
    /// Pods with the same value of this label are one replica.
    pub label: String,
    /// The pods of a replica that expose its metrics.
    pub reporting: ReportingPods,
    /// The number of pods of a complete replica.
    pub size: GroupSize,
}

/// The pods of a replica that expose its metrics.
#[derive(Clone, Debug, PartialEq)]
pub enum ReportingPods {
    /// All pods expose metrics, and their values are summed.
    All,
    /// Pods with this label have to have this value; pods without the label report too.
    LabelOrAbsent(String, String),
    /// All pods but the workers of a Dynamo component that spans several nodes. Only the name of a
    /// pod's PodClique shows that it is a worker.
    NotDynamoWorker,
    /// The pods that a selector selects.
    Selected(Selector),
}

/// The number of pods of a complete replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupSize {
    /// The number is not known, so a replica is taken as complete whatever its size.
    Unknown,
    /// A fixed number of pods.
    Fixed(usize),
    /// The number is in this annotation of each pod.
    Annotation(String),
    /// Each pod has the labels of a RoleInstance's component: its name, and the number of its pods,
    /// or of leaders and workers that of the whole replica.
    Components,
}

/// The label that holds the place of a leader or a worker in its RoleInstance; the leader has 0.
const COMPONENT_INDEX: &str = "rbg.workloads.x-k8s.io/component-index";
/// The label that names the component of a RoleInstance's pod.
const COMPONENT_NAME: &str = "rbg.workloads.x-k8s.io/component-name";
/// The label that holds the size of that component.
const COMPONENT_SIZE: &str = "rbg.workloads.x-k8s.io/component-size";

/// Labels or annotations.
type Pairs = BTreeMap<String, String>;

/// The annotations of pods that some [`GroupSize`] refers to; others need not be kept in memory.
pub const ANNOTATIONS: [&str; 1] = ["leaderworkerset.sigs.k8s.io/size"];

/// Returns the groupings by the labels that controllers put on their pods. The first grouping
/// with a label that a pod has applies to it.
pub fn known_groupings() -> Arc<[Grouping]> {
    // Most autoscalers have these.
    static KNOWN: LazyLock<Arc<[Grouping]>> = LazyLock::new(|| known().into());
    KNOWN.clone()
}

fn known() -> Vec<Grouping> {
    vec![
        // By the instance's name. Its index is wrong where several are created at once.
        Grouping {
            label: INSTANCE_LABEL.to_owned(),
            reporting: leader(COMPONENT_INDEX),
            size: GroupSize::Components,
        },
        // By the key. Several LeaderWorkerSets behind one selector, as Dynamo creates them, all
        // have a group with the index 0.
        leader_worker_set("leaderworkerset.sigs.k8s.io/group-key"),
        leader_worker_set("leaderworkerset.sigs.k8s.io/group-index"),
        Grouping {
            label: "grove.io/podcliquescalinggroup-replica-index".to_owned(),
            reporting: ReportingPods::NotDynamoWorker,
            size: GroupSize::Unknown,
        },
    ]
}

/// The label that holds the place of a pod in its group; the leader has 0.
const WORKER_INDEX: &str = "leaderworkerset.sigs.k8s.io/worker-index";

fn leader_worker_set(label: &str) -> Grouping {
    Grouping {
        label: label.to_owned(),
        reporting: leader(WORKER_INDEX),
        size: GroupSize::Annotation(ANNOTATIONS[0].to_owned()),
    }
}

/// Selects the pod with the index 0.
fn leader(index_label: &str) -> ReportingPods {
    ReportingPods::LabelOrAbsent(index_label.to_owned(), "0".to_owned())
}

impl Grouping {
    /// Returns whether a pod with these labels exposes the metrics of its replica.
    pub fn reports(&self, labels: &BTreeMap<String, String>) -> bool {
        match &self.reporting {
            ReportingPods::All => true,
            ReportingPods::LabelOrAbsent(label, value) => {
                labels.get(label).is_none_or(|found| found == value)
            }
            ReportingPods::NotDynamoWorker => !is_dynamo_worker(labels),
            ReportingPods::Selected(selector) => selector.matches(labels),
        }
    }

    /// Returns the components that replicas of a target have, by the labels of its pods: their
    /// names and sizes.
    pub fn components<'a>(
        &self,
        pods: impl Iterator<Item = &'a Pairs>,
    ) -> BTreeMap<&'a str, usize> {
        let pods = pods.filter(|labels| {
            self.size == GroupSize::Components && !labels.contains_key(COMPONENT_INDEX)
        });
        pods.filter_map(|labels| Some((&**labels.get(COMPONENT_NAME)?, stated(labels)?))).collect()
    }

    /// Returns the number of pods of a complete replica, given the labels and the annotations of
    /// those that it has, and the [components](Self::components) of all replicas: a component of
    /// which it has no pod is missing as well.
    pub fn size<'a>(
        &self,
        mut pods: impl Iterator<Item = (&'a Pairs, &'a Pairs)>,
        components: &BTreeMap<&str, usize>,
    ) -> Option<usize> {
        match &self.size {
            GroupSize::Unknown => None,
            GroupSize::Fixed(size) => Some(*size),
            GroupSize::Annotation(key) => {
                pods.find_map(|(_, annotations)| annotations.get(key)?.parse().ok())
            }
            GroupSize::Components => {
                let pods: Vec<&Pairs> = pods.map(|(labels, _)| labels).collect();
                let whole = pods.iter().filter(|labels| labels.contains_key(COMPONENT_INDEX));
                if let Some(size) = whole.filter_map(|labels| stated(labels)).max() {
                    return Some(size);
                }
                let own = self.components(pods.into_iter());
                let sizes = components.iter().map(|(name, size)| *own.get(name).unwrap_or(size));
                Some(sizes.sum()).filter(|size| *size > 0)
            }
        }
    }

    /// Returns the selector that, added to that of the target, selects only the reporting pods.
    /// `labels` are those of any pod of the target.
    pub fn reporting_selector(&self, labels: &BTreeMap<String, String>) -> Selector {
        match &self.reporting {
            ReportingPods::LabelOrAbsent(label, value) if labels.contains_key(label) => {
                Expression::Equal(label.clone(), value.clone()).into()
            }
            // The name of a clique contains the number of its replica, so no selector excludes the
            // workers.
            ReportingPods::All
            | ReportingPods::LabelOrAbsent(..)
            | ReportingPods::NotDynamoWorker => Selector::default(),
            ReportingPods::Selected(selector) => selector.clone(),
        }
    }
}

/// Returns the size that the labels of a RoleInstance's pod state.
fn stated(labels: &Pairs) -> Option<usize> {
    labels.get(COMPONENT_SIZE)?.parse().ok()
}

/// Returns whether a pod is in the clique COMPONENT-wkr, or in one of several such cliques. Their
/// pods do not expose the engine's metrics.
fn is_dynamo_worker(labels: &BTreeMap<String, String>) -> bool {
    let (Some(clique), Some(component)) = (labels.get(CLIQUE), labels.get(COMPONENT)) else {
        return false;
    };
    let workers = format!("-{}-wkr", component.to_lowercase());
    let rest = clique.rsplit_once(&workers).map(|(_, rest)| rest);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_leader_reports_and_so_does_a_pod_without_an_index() {
        let known = known_groupings();
        let rbg = &known[0];
        let instance = ("rbg.workloads.x-k8s.io/role-instance-name", "pd-decode-0");
        let component =
            |index| labels(&[instance, ("rbg.workloads.x-k8s.io/component-index", index)]);
        // labels; reports, the selector of the reporting pods
        let table = [
            (component("0"), true, "rbg.workloads.x-k8s.io/component-index=0"),
            (component("1"), false, "rbg.workloads.x-k8s.io/component-index=0"),
            (labels(&[instance]), true, ""),
        ];
        for (labels, reports, selector) in table {
            assert_eq!(rbg.reports(&labels), reports, "{labels:?}");
            assert_eq!(rbg.reporting_selector(&labels).to_string(), selector, "{labels:?}");
        }
    }

    #[test]
    fn workers_of_dynamo_do_not_report() {
        let grove =
            known().into_iter().find(|grouping| grouping.label.starts_with("grove.io")).unwrap();
        // clique, component; reports
        let table = [
            ("web-0-decode-1-decode-ldr", "Decode", true),
            ("web-0-decode-1-decode-wkr", "Decode", false),
            ("web-0-decode-1-decode-wkr-2", "Decode", false),
            ("web-0-decode-1-decode-wkrs", "Decode", true),
            ("web-0-wkr-1-wkr", "wkr", true),
        ];
        for (clique, component, reports) in table {
            let labels = labels(&[(CLIQUE, clique), (COMPONENT, component)]);
            assert_eq!(grove.reports(&labels), reports, "{clique}");
            assert!(grove.reporting_selector(&labels).selects_all());
        }
        assert!(grove.reports(&labels(&[(CLIQUE, "web-0-pair-1-pair-wkr")])), "of another owner");
    }

    #[test]
    fn the_size_of_a_group_is_in_an_annotation() {
        let lws = known().remove(1);
        let of = |pairs: &[(&str, &str)]| {
            let annotations = labels(pairs);
            lws.size([(&BTreeMap::new(), &annotations)].into_iter(), &BTreeMap::new())
        };
        assert_eq!(of(&[(ANNOTATIONS[0], "8")]), Some(8));
        assert_eq!(of(&[(ANNOTATIONS[0], "many")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_size_of_an_instance_is_in_labels_of_its_components() {
        let rbg = known().remove(0);
        let pod = |name: &str, size: &str, index: Option<&str>| {
            let index = index.map(|index| (COMPONENT_INDEX, index));
            let component = [(COMPONENT_NAME, name), (COMPONENT_SIZE, size)];
            labels(&component.into_iter().chain(index).collect::<Vec<_>>())
        };
        let leader = || pod("leader", "4", Some("0"));
        let engine = || pod("engine", "2", None);
        let router = || pod("router", "1", None);
        // the pods of the replica, and of another one; the size
        let table = [
            // Leaders and workers state the size of the whole replica.
            (vec![leader()], vec![], Some(4)),
            (vec![leader(), pod("worker", "4", Some("1"))], vec![], Some(4)),
            // Other components state their own.
            (vec![engine()], vec![], Some(2)),
            (vec![engine(), router()], vec![], Some(3)),
            // No router has been created.
            (vec![engine(), engine()], vec![engine(), router()], Some(3)),
            (vec![pod("decode", "1", None)], vec![pod("decode", "1", None)], Some(1)),
            (vec![labels(&[])], vec![], None),
        ];
        for (own, others, expected) in table {
            let components = rbg.components(own.iter().chain(&others));
            let none = BTreeMap::new();
            let pods = own.iter().map(|labels| (labels, &none));
            assert_eq!(rbg.size(pods, &components), expected, "{own:?} {others:?}");
        }
    }

    #[test]
    fn a_selector_of_leaders_finds_their_workers_too() {
        let table = [
            ("name=pd,leaderworkerset.sigs.k8s.io/worker-index=0", "name=pd"),
            ("leaderworkerset.sigs.k8s.io/worker-index==0,name=pd", "name=pd"),
            (
                "name=pd,leaderworkerset.sigs.k8s.io/worker-index=1",
                "name=pd,leaderworkerset.sigs.k8s.io/worker-index=1",
            ),
            ("app in (a,b),role=x", "app in (a,b),role=x"),
            (
                "leaderworkerset.sigs.k8s.io/worker-index=0",
                "leaderworkerset.sigs.k8s.io/worker-index=0",
            ),
            ("", ""),
        ];
        for (selector, expected) in table {
            assert_eq!(with_workers(selector), expected, "{selector}");
        }
    }

    #[test]
    fn some_kinds_have_a_selector_that_finds_only_some_of_their_pods() {
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
        assert_eq!(pod_selector(&target("kubeai.org/v1", "Model")).unwrap(), "model=pd");
        assert_eq!(pod_selector(&target("grove.io/v1alpha1", "PodCliqueSet")), None);
        assert_eq!(pod_selector(&target("apps/v1", "StatefulSet")), None);
        assert_eq!(pod_selector(&target("v1", "LeaderWorkerSet")), None);
    }
}
