//! Decides about the PodMonitor of a target. Pure, so that it is tested without a cluster.

use chrono::{DateTime, Utc};
use kube::{ResourceExt, api::DynamicObject, core::Selector};
use llm_autoscaler_api::{
    LLMAutoscaler, Port,
    conditions::{ConditionType, ConditionUpdate, Reason},
    time,
};
use llm_autoscaler_observe::pod::{Members, Pod};
use serde_json::Value;

use crate::pod_monitor::cluster_pod_monitors::ClusterPodMonitor;

/// The condition about the PodMonitor.
pub(super) const CONDITION: ConditionType = ConditionType::PodMonitorReady;

/// The pods that a PodMonitor makes Prometheus scrape.
#[derive(Clone)]
pub(crate) struct MonitoredPods {
    /// The selector of the pods.
    pub selector: Selector,
    /// The pods, of the target or of its first source.
    pub pods: Members,
    /// The port of their metrics.
    pub port: Port,
    /// The path of their metrics.
    pub path: String,
}

/// The object that was read, and its version: a write that names both reaches nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ObjectVersion {
    pub(super) uid: String,
    pub(super) resource_version: Option<String>,
}

/// The object that has the name of the target's PodMonitor.
#[derive(Clone, Debug)]
pub(super) struct ExistingPodMonitor {
    pub(super) version: ObjectVersion,
    created: Option<DateTime<Utc>>,
    /// True if the autoscaler is its controller.
    is_ours: bool,
}

impl ExistingPodMonitor {
    /// Reads the metadata of an object.
    pub(super) fn of(object: &DynamicObject, owner: &LLMAutoscaler) -> Self {
        let mut references = object.owner_references().iter();
        Self {
            version: ObjectVersion {
                uid: object.uid().unwrap_or_default(),
                resource_version: object.resource_version(),
            },
            created: object.creation_timestamp().as_ref().map(time::from_kubernetes),
            is_ours: references.any(|reference| {
                reference.controller == Some(true) && Some(&reference.uid) == owner.uid().as_ref()
            }),
        }
    }
}

/// The write that makes the PodMonitor of a target as it should be: it exists if the spec asks for
/// one, no object of something else has its name, and no other PodMonitor covers the same pods.
/// Managed services of Prometheus bill by the series, so no series is to be stored twice.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PodMonitorPlan {
    /// The object is applied.
    Apply {
        /// The object.
        wanted: Value,
        /// The object that there is.
        existing: Option<ObjectVersion>,
        /// True if a PodMonitor of another namespace covers the same pods, which decides nothing.
        is_covered: bool,
    },
    /// The object is deleted, which the autoscaler has created.
    Remove {
        /// The object.
        existing: ObjectVersion,
        /// The reason why there is to be none.
        because: Unwanted,
    },
    /// Nothing is written.
    LeaveAlone(Unwanted),
}

/// The reason why the autoscaler has no PodMonitor for a target.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unwanted {
    /// The spec does not ask for one, or does not name the target any more.
    NotAskedFor,
    /// An object of its name was created by something else.
    NotOurs,
    /// Another PodMonitor covers the same pods, and precedes the autoscaler's own.
    Duplicate {
        /// The other PodMonitor, as NAMESPACE/NAME.
        of: String,
    },
}

impl PodMonitorPlan {
    /// Decides. `wanted` is the object to apply, `None` if the spec does not ask for a PodMonitor;
    /// `all` are the PodMonitors of the cluster.
    pub(super) fn new(
        wanted: Option<Value>,
        pods: &MonitoredPods,
        existing: Option<&ExistingPodMonitor>,
        all: &[ClusterPodMonitor],
    ) -> Self {
        let Some(wanted) = wanted else { return Self::without(existing, Unwanted::NotAskedFor) };
        if existing.is_some_and(|existing| !existing.is_ours) {
            return Self::LeaveAlone(Unwanted::NotOurs);
        }
        let deciding = ClusterPodMonitor::decides_about;
        if let Some(of) = duplicated(pods, existing, all, deciding) {
            return Self::without(existing, Unwanted::Duplicate { of });
        }
        let is_foreign = |monitor: &ClusterPodMonitor, pod: &Pod| {
            !monitor.is_managed && !monitor.decides_about(pod)
        };
        let is_covered = duplicated(pods, existing, all, is_foreign).is_some();
        let existing = existing.map(|existing| existing.version.clone());
        Self::Apply { wanted, existing, is_covered }
    }

    /// Removes the autoscaler's own PodMonitor, if there is one.
    pub(super) fn without(existing: Option<&ExistingPodMonitor>, because: Unwanted) -> Self {
        match existing {
            Some(ExistingPodMonitor { version, is_ours: true, .. }) => {
                Self::Remove { existing: version.clone(), because }
            }
            _ => Self::LeaveAlone(because),
        }
    }
}

impl Unwanted {
    /// Returns the condition that reports the reason; `None` if the spec asks for no PodMonitor.
    /// `name` is the name of the autoscaler's PodMonitor.
    pub(super) fn condition(&self, name: &str) -> Option<ConditionUpdate> {
        let (reason, message) = match self {
            Self::NotAskedFor => return None,
            Self::NotOurs => (
                Reason::NotOurs,
                format!("the PodMonitor {name} was not made by this autoscaler and is left alone"),
            ),
            Self::Duplicate { of } => (
                Reason::AlreadyMonitored,
                format!(
                    "the PodMonitor {of} covers these pods already; a second one would make \
                     Prometheus store every series twice"
                ),
            ),
        };
        Some(ConditionUpdate::no(CONDITION, reason, message))
    }
}

/// Returns another PodMonitor that covers one of these pods, precedes the autoscaler's own, and has
/// this relation to the pod.
fn duplicated(
    pods: &MonitoredPods,
    existing: Option<&ExistingPodMonitor>,
    all: &[ClusterPodMonitor],
    is_related: impl Fn(&ClusterPodMonitor, &Pod) -> bool,
) -> Option<String> {
    let uid = existing.map(|existing| existing.version.uid.as_str());
    let created = existing.and_then(|existing| existing.created);
    let other = all.iter().find(|monitor| {
        Some(monitor.uid.as_str()) != uid
            && monitor.precedes(created.zip(uid))
            && pods.pods.values().any(|pod| {
                let port = pod.port(&pods.port);
                port.is_some_and(|port| monitor.covers(pod, port, &pods.path))
                    && is_related(monitor, pod)
            })
    })?;
    Some(format!("{}/{}", other.namespace, other.name))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use serde_json::json;

    use super::*;

    fn pods() -> MonitoredPods {
        let pod = Pod::serving("a-0", "a");
        MonitoredPods {
            selector: Selector::default(),
            pods: Arc::new(BTreeMap::from([(pod.name.clone(), Arc::new(pod))])),
            port: Port::Name("http".to_owned()),
            path: "/metrics".to_owned(),
        }
    }

    /// A PodMonitor of the pods of `app`, created in this second of an hour.
    fn monitor(name: &str, app: &str, second: u32, labels: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
            "metadata": {
                "name": name, "namespace": "ns", "uid": format!("uid-of-{name}"),
                "resourceVersion": "7",
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"), "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
                    "name": "a", "uid": "owner", "controller": true,
                }],
            },
            "spec": {
                "selector": {"matchLabels": {"app": app}},
                "podMetricsEndpoints": [{"port": "http"}],
            },
        });
        serde_json::from_value(object).unwrap()
    }

    fn existing(is_ours: bool) -> ExistingPodMonitor {
        let object = monitor("a", "a", 5, &json!({}));
        let mut owner = LLMAutoscaler::new("a", serde_json::from_value(spec()).unwrap());
        owner.metadata.uid = Some(if is_ours { "owner" } else { "another" }.to_owned());
        ExistingPodMonitor::of(&object, &owner)
    }

    fn spec() -> Value {
        json!({
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "engine": "VLLM", "maxReplicas": 3, "metrics": [],
        })
    }

    #[test]
    fn a_pod_monitor_exists_if_it_is_wanted_and_covers_no_pods_twice() {
        let managed = json!({"app.kubernetes.io/managed-by": "llm-autoscaler"});
        let by_people = |app: &str| monitor("other", app, 9, &json!({}));
        let by_autoscaler = |second: u32| monitor("other", "a", second, &managed);
        let in_namespace = |namespace: &str| {
            let mut other = by_people("a");
            other.metadata.namespace = Some(namespace.to_owned());
            other.data["spec"]["namespaceSelector"] = json!({"any": true});
            other
        };
        let itself = || monitor("a", "a", 5, &managed);
        let wanted = || Some(json!({"kind": "PodMonitor"}));
        let apply_beside = |is_covered| PodMonitorPlan::Apply {
            wanted: json!({"kind": "PodMonitor"}),
            existing: None,
            is_covered,
        };
        let apply = || apply_beside(false);
        let version =
            || ObjectVersion { uid: "uid-of-a".to_owned(), resource_version: Some("7".to_owned()) };
        let remove = |because| PodMonitorPlan::Remove { existing: version(), because };
        let duplicate = || Unwanted::Duplicate { of: "ns/other".to_owned() };
        let leave = PodMonitorPlan::LeaveAlone;
        let (absent, ours, foreign) = (None, Some(existing(true)), Some(existing(false)));
        // wanted, the object of its name, other PodMonitors; the plan
        let table = [
            (None, &absent, vec![], leave(Unwanted::NotAskedFor)),
            (None, &ours, vec![], remove(Unwanted::NotAskedFor)),
            (None, &foreign, vec![], leave(Unwanted::NotAskedFor)),
            (wanted(), &absent, vec![], apply()),
            (wanted(), &ours, vec![itself()], apply()),
            (wanted(), &foreign, vec![], leave(Unwanted::NotOurs)),
            (wanted(), &foreign, vec![by_people("a")], leave(Unwanted::NotOurs)),
            // A PodMonitor that people have made precedes, however young it is.
            (wanted(), &absent, vec![by_people("a")], leave(duplicate())),
            (wanted(), &ours, vec![itself(), by_people("a")], remove(duplicate())),
            (wanted(), &ours, vec![by_people("b")], apply()),
            // Of two autoscalers' PodMonitors the older one stays.
            (wanted(), &absent, vec![by_autoscaler(4)], leave(duplicate())),
            (wanted(), &ours, vec![by_autoscaler(4)], remove(duplicate())),
            (wanted(), &ours, vec![by_autoscaler(6)], apply()),
            // A PodMonitor of another namespace decides nothing, unless that is the platform's.
            (wanted(), &ours, vec![itself(), in_namespace("tenant")], apply_beside(true)),
            (wanted(), &absent, vec![in_namespace("tenant")], apply_beside(true)),
            (
                wanted(),
                &ours,
                vec![itself(), in_namespace("monitoring")],
                remove(Unwanted::Duplicate { of: "monitoring/other".to_owned() }),
            ),
        ];
        for (row, (wanted, existing, others, mut expected)) in table.into_iter().enumerate() {
            if let PodMonitorPlan::Apply { existing: written, .. } = &mut expected {
                *written = existing.as_ref().map(|_| version());
            }
            let all = others.iter().filter_map(ClusterPodMonitor::parse);
            let all: Vec<_> =
                all.map(|monitor| monitor.trusted_if_of(&["monitoring".to_owned()])).collect();
            assert_eq!(all.len(), others.len(), "row {row}");
            let plan = PodMonitorPlan::new(wanted, &pods(), existing.as_ref(), &all);
            assert_eq!(plan, expected, "row {row}");
        }
    }

    #[test]
    fn only_a_wanted_pod_monitor_has_a_condition() {
        let reason = |unwanted: &Unwanted| unwanted.condition("a").map(|update| update.reason);
        assert_eq!(reason(&Unwanted::NotAskedFor), None);
        assert_eq!(reason(&Unwanted::NotOurs), Some(Reason::NotOurs));
        let duplicate = Unwanted::Duplicate { of: "ns/other".to_owned() };
        assert_eq!(reason(&duplicate), Some(Reason::AlreadyMonitored));
        assert!(duplicate.condition("a").unwrap().message.contains("ns/other"));
    }
}
