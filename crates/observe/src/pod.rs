//! One pod, as far as scaling cares: a projection of a dozen fields.

pub mod instance;
pub mod service;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use llm_autoscaler_api::{Port, time, workloads};
use llm_autoscaler_core::{Phase, Replica};

use self::{instance::Instance, service::Service};

/// The pods of one selector, by name. Cheap to clone.
pub type Members = Arc<BTreeMap<String, Arc<Pod>>>;

/// What keeps a pod from serving.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// What it is.
    pub kind: TroubleKind,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// What keeps a pod from serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// A container cannot be started, or ends again and again.
    Crashing,
    /// No node has room for it.
    Unschedulable,
    /// It runs, or is about to, and is not ready.
    NotReady,
}

impl TroubleKind {
    /// After how long it is no use waiting. A new node takes a while to come; how long a start-up takes is learned.
    fn patience(self, start_up: TimeDelta) -> TimeDelta {
        match self {
            Self::Crashing => TimeDelta::zero(),
            Self::Unschedulable => TimeDelta::minutes(5),
            Self::NotReady => start_up,
        }
    }

    /// Its name in a condition.
    pub fn text(self) -> &'static str {
        match self {
            Self::Crashing => "its containers cannot start, or crash again and again",
            Self::Unschedulable => "no node has room for it",
            Self::NotReady => "it does not get ready",
        }
    }
}

/// One pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its UID: a pod that is made again under the same name is another pod.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its annotations that say of how many pods its replica is.
    pub annotations: BTreeMap<String, String>,
    /// Its address, once it has one.
    pub ip: Option<IpAddr>,
    /// The container ports that have a name.
    pub ports: Vec<(String, u16)>,
    /// What the decision sees of it, but for whether it is stuck: that takes time to say.
    pub replica: Replica,
    /// What keeps it from serving, and since when; being taken out of service does not.
    pub trouble: Option<Trouble>,
    /// Whether it has a node.
    pub placed: bool,
    /// Whether it is in service.
    pub service: Service,
    /// The RoleInstance that it is of.
    pub instance: Option<Instance>,
    /// When it was created.
    pub created: DateTime<Utc>,
}

impl Pod {
    /// The projection; `None` for a pod without name or UID, which the API server does not send.
    pub fn of(pod: &core::Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let ports = containers
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
            .collect();
        let created = pod.metadata.creation_timestamp.as_ref();
        let service = Service::of(pod);
        let ready = service::is_ready(pod, service);
        Some(Self {
            uid: pod.metadata.uid.clone()?,
            name: pod.metadata.name.clone()?,
            namespace: pod.metadata.namespace.clone()?,
            labels: pod.labels().clone(),
            annotations: annotations(pod),
            ip: status.and_then(|status| status.pod_ip.as_ref()).and_then(|ip| ip.parse().ok()),
            ports,
            replica: Replica {
                phase: phase(status.and_then(|status| status.phase.as_deref())),
                deleting: pod.metadata.deletion_timestamp.is_some(),
                ready,
                stuck: false,
            },
            trouble: if ready { None } else { trouble(pod) },
            placed: pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()),
            service,
            instance: Instance::of(pod),
            created: created.map(time::from_kubernetes).unwrap_or_default(),
        })
    }

    /// A ready pod of the namespace `ns` with the label `app`, serving on the port `http`: what simulations and tests start from.
    pub fn serving(name: &str, app: &str) -> Self {
        Self {
            uid: name.to_owned(),
            name: name.to_owned(),
            namespace: "ns".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            annotations: BTreeMap::new(),
            ip: None,
            ports: vec![("http".to_owned(), 8000)],
            replica: Replica::READY,
            trouble: None,
            placed: true,
            service: Service::default(),
            instance: None,
            created: DateTime::UNIX_EPOCH,
        }
    }

    /// What it is stuck in: it will not get ready by waiting; `patience` is for those that start.
    pub fn stuck(&self, now: DateTime<Utc>, patience: TimeDelta) -> Option<TroubleKind> {
        let Trouble { kind, since } = self.trouble.as_ref()?;
        (now - *since >= kind.patience(patience)).then_some(*kind)
    }

    /// The number of the port that a spec means.
    pub fn port(&self, port: &Port) -> Option<u16> {
        match port {
            Port::Number(number) => Some(*number),
            Port::Name(name) => {
                self.ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
            }
        }
    }

    /// The first of these ports that it has, and its number.
    pub fn first_port<'p>(&self, ports: &'p [Port]) -> Option<(&'p Port, u16)> {
        ports.iter().find_map(|port| Some((port, self.port(port)?)))
    }

    /// Whether it can be asked for its metrics.
    pub fn is_running(&self) -> bool {
        self.replica.phase == Phase::Running && !self.replica.deleting
    }
}

fn annotations(pod: &core::Pod) -> BTreeMap<String, String> {
    let all = pod.annotations();
    let wanted = workloads::ANNOTATIONS.iter().filter_map(|key| all.get_key_value(*key));
    wanted.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn phase(phase: Option<&str>) -> Phase {
    match phase {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        _ => Phase::Pending,
    }
}

/// Reasons of a waiting container that do not go away by waiting.
const HOPELESS: [&str; 7] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

fn trouble(pod: &core::Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let created =
        pod.metadata.creation_timestamp.as_ref().map(time::from_kubernetes).unwrap_or_default();
    let condition =
        |type_: &str| status.conditions.iter().flatten().find(|condition| condition.type_ == type_);
    let since = |condition: Option<&core::PodCondition>| {
        let transition = condition.and_then(|condition| condition.last_transition_time.as_ref());
        transition.map_or(created, time::from_kubernetes)
    };
    let init = status.init_container_statuses.iter().flatten();
    let hopeless = |container: &core::ContainerStatus| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        reason.is_some_and(|reason| HOPELESS.contains(&reason))
    };
    if init.chain(status.container_statuses.iter().flatten()).any(hopeless) {
        return Some(Trouble { kind: TroubleKind::Crashing, since: since(condition("Ready")) });
    }
    let scheduled = condition("PodScheduled");
    let unschedulable =
        scheduled.filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
    if unschedulable.is_some() {
        return Some(Trouble { kind: TroubleKind::Unschedulable, since: since(unschedulable) });
    }
    Some(Trouble { kind: TroubleKind::NotReady, since: since(condition("Ready")) })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pod(name: &str, app: &str) -> Pod {
        Pod::serving(name, app)
    }

    #[test]
    fn what_waiting_does_not_help_is_stuck() {
        let status = |status: serde_json::Value| -> core::Pod {
            let metadata = serde_json::json!({"name": "a", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"});
            serde_json::from_value(serde_json::json!({"metadata": metadata, "status": status}))
                .unwrap()
        };
        let condition = |type_: &str, status: &str, reason: &str, at: &str| serde_json::json!({"type": type_, "status": status, "reason": reason, "lastTransitionTime": format!("2026-01-01T00:{at}:00Z")});
        let waiting = |reason: &str| {
            serde_json::json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": reason}}}])
        };
        let unready = condition("Ready", "False", "", "10");
        let table = [
            (serde_json::json!({"conditions": [condition("Ready", "True", "", "10")]}), None),
            (
                serde_json::json!({"conditions": [unready], "containerStatuses": waiting("CrashLoopBackOff")}),
                Some((TroubleKind::Crashing, 10)),
            ),
            (
                serde_json::json!({"initContainerStatuses": waiting("ErrImagePull")}),
                Some((TroubleKind::Crashing, 0)),
            ),
            (
                serde_json::json!({"conditions": [unready], "containerStatuses": waiting("ContainerCreating")}),
                Some((TroubleKind::NotReady, 30)),
            ),
            (
                serde_json::json!({"conditions": [condition("PodScheduled", "False", "Unschedulable", "01")]}),
                Some((TroubleKind::Unschedulable, 6)),
            ),
            (
                serde_json::json!({"conditions": [condition("PodScheduled", "False", "SchedulingGated", "01")]}),
                Some((TroubleKind::NotReady, 20)),
            ),
        ];
        let patience = TimeDelta::minutes(20);
        for (value, expected) in table {
            let pod = Pod::of(&status(value.clone())).unwrap();
            let at = |minute| {
                DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc()
                    + TimeDelta::minutes(minute)
            };
            match expected {
                None => assert_eq!(pod.stuck(at(59), patience), None, "{value}"),
                Some((kind, minute)) => {
                    assert_eq!(pod.stuck(at(minute), patience), Some(kind), "{value}");
                    assert_eq!(
                        pod.stuck(at(minute) - TimeDelta::seconds(1), patience),
                        None,
                        "{value}"
                    );
                }
            }
        }
    }

    #[test]
    fn ports_by_name_and_number() {
        let pod = pod("a-0", "a");
        assert_eq!(pod.port(&Port::Name("http".to_owned())), Some(8000));
        assert_eq!(pod.port(&Port::Name("grpc".to_owned())), None);
        assert_eq!(pod.port(&Port::Number(9)), Some(9));
        let usual = ["grpc", "http"].map(|name| Port::Name(name.to_owned()));
        assert_eq!(pod.first_port(&usual), Some((&usual[1], 8000)));
    }
}
