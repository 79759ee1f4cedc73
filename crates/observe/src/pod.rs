//! A projection of one pod: the fields that scaling depends on.

mod claims;
mod lifetime;
mod resources;
pub mod role_instance;
pub mod service;
mod trouble;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use llm_autoscaler_api::{Port, time, workloads};
use llm_autoscaler_core::{EngineActivity, Phase, Replica};

pub use self::lifetime::Lifetime;
pub use self::trouble::{Trouble, TroubleKind};
use self::{role_instance::RoleInstance, service::ServiceState};

/// The pods of one selector, by name. A clone is cheap.
pub type Members = Arc<BTreeMap<String, Arc<Pod>>>;

/// The fields of a pod that scaling depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// The UID. A pod that is created again under the same name has another one.
    pub uid: Arc<str>,
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// The labels. Pods of one template share them, as they share the next two fields.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The annotations that hold the number of pods of its replica.
    pub annotations: BTreeMap<String, String>,
    /// The IP address, once there is one.
    pub ip: Option<IpAddr>,
    /// The named container ports.
    pub ports: Arc<[(String, u16)]>,
    /// The container ports without a name.
    pub unnamed_ports: Box<[u16]>,
    /// The state of the pod for a decision. `stuck` is always false here, because it depends on the
    /// time; see [`Self::stuck`].
    pub replica: Replica,
    /// True if the pod is or has been ready. A pod that loses its readiness later is saturated or
    /// broken; its metrics page tells which.
    pub was_ready: bool,
    /// The trouble that keeps it from serving, if there is any. A pod that has been taken out of
    /// service is in no trouble.
    pub trouble: Option<Trouble>,
    /// The number of times that its containers have been restarted.
    pub restarts: i64,
    /// True if the pod has a node.
    pub is_scheduled: bool,
    /// The state of its readiness gate, and of its removal.
    pub service: ServiceState,
    /// The RoleInstance that controls it.
    pub role_instance: Option<Box<RoleInstance>>,
    /// The creation time.
    pub created: DateTime<Utc>,
    /// The times between which it exists.
    pub lifetime: Lifetime,
    /// The extended resources that it requests, such as `nvidia.com/gpu`, and how many of each.
    pub extended_resources: Arc<[(String, u32)]>,
    /// The names of its ResourceClaims.
    pub claims: Box<[String]>,
}

impl Pod {
    /// Projects a pod; `None` if it has no name or UID, which the API server never sends.
    pub fn of(pod: &core::Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let (mut ports, mut unnamed_ports) = (Vec::new(), Vec::new());
        for port in containers.flat_map(|container| container.ports.iter().flatten()) {
            let Ok(number) = u16::try_from(port.container_port) else { continue };
            match &port.name {
                Some(name) => ports.push((name.clone(), number)),
                None => unnamed_ports.push(number),
            }
        }
        let created = pod.metadata.creation_timestamp.as_ref();
        let service = ServiceState::of(pod);
        let ready = service::is_ready(pod, service);
        Some(Self {
            uid: pod.metadata.uid.as_deref()?.into(),
            name: pod.metadata.name.clone()?,
            namespace: pod.metadata.namespace.clone()?,
            labels: Arc::new(pod.labels().clone()),
            annotations: annotations(pod),
            ip: status.and_then(|status| status.pod_ip.as_ref()).and_then(|ip| ip.parse().ok()),
            ports: ports.into(),
            unnamed_ports: unnamed_ports.into(),
            replica: Replica {
                phase: phase(status.and_then(|status| status.phase.as_deref())),
                deleting: pod.metadata.deletion_timestamp.is_some(),
                ready,
                stuck: false,
                activity: EngineActivity::Unknown,
            },
            was_ready: ready || lost_readiness(pod),
            trouble: if ready { None } else { trouble::trouble(pod) },
            restarts: restarts(pod),
            is_scheduled: pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()),
            service,
            role_instance: RoleInstance::of(pod).map(Box::new),
            created: created.map(time::from_kubernetes).unwrap_or_default(),
            lifetime: Lifetime::of(pod),
            extended_resources: resources::extended(pod).into(),
            claims: claims::claims(pod).into(),
        })
    }

    /// Returns a ready pod of the namespace `ns` with the label `app` and the port `http`, for
    /// simulations and tests.
    pub fn serving(name: &str, app: &str) -> Self {
        Self {
            uid: name.into(),
            name: name.to_owned(),
            namespace: "ns".to_owned(),
            labels: Arc::new(BTreeMap::from([("app".to_owned(), app.to_owned())])),
            annotations: BTreeMap::new(),
            ip: None,
            ports: [("http".to_owned(), 8000)].into(),
            unnamed_ports: Box::default(),
            replica: Replica::READY,
            was_ready: true,
            trouble: None,
            restarts: 0,
            is_scheduled: true,
            service: ServiceState::default(),
            role_instance: None,
            created: DateTime::UNIX_EPOCH,
            lifetime: Lifetime::default(),
            extended_resources: [].into(),
            claims: Box::default(),
        }
    }

    /// Shares the memory of what another pod, or an earlier version of this one, has too.
    pub fn share(&mut self, other: &Self) {
        share(&mut self.uid, &other.uid);
        share(&mut self.labels, &other.labels);
        share(&mut self.ports, &other.ports);
        share(&mut self.extended_resources, &other.extended_resources);
    }

    /// Returns the trouble in which the pod is stuck: it will not become ready by waiting.
    /// `startup_timeout` is the time that a pod may take to start.
    pub fn stuck(&self, now: DateTime<Utc>, startup_timeout: TimeDelta) -> Option<TroubleKind> {
        let Trouble { kind, since } = self.trouble.as_ref()?;
        (now - *since >= kind.timeout(startup_timeout)).then_some(*kind)
    }

    /// Returns the number of a port of the spec.
    pub fn port(&self, port: &Port) -> Option<u16> {
        match port {
            Port::Number(number) => Some(*number),
            Port::Name(name) => {
                self.ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
            }
        }
    }

    /// Returns the first of these ports that the pod has, and its number.
    pub fn first_port<'p>(&self, ports: &'p [Port]) -> Option<(&'p Port, u16)> {
        ports.iter().find_map(|port| Some((port, self.port(port)?)))
    }

    /// Returns true if its containers declare this port, by its name or its number.
    pub fn declares(&self, port: &Port) -> bool {
        let number = |wanted: &u16| {
            self.ports.iter().any(|(_, number)| number == wanted)
                || self.unnamed_ports.contains(wanted)
        };
        match port {
            Port::Name(_) => self.port(port).is_some(),
            Port::Number(wanted) => number(wanted),
        }
    }

    /// Returns true if its containers declare this port, by any name or none, and no other.
    pub fn has_only_port(&self, number: u16) -> bool {
        let named = self.ports.iter().map(|(_, number)| *number);
        let mut all = named.chain(self.unnamed_ports.iter().copied()).peekable();
        all.peek().is_some() && all.all(|declared| declared == number)
    }

    /// Returns true if the pod can be scraped.
    pub fn is_running(&self) -> bool {
        self.replica.phase == Phase::Running && !self.replica.deleting
    }
}

fn share<T: PartialEq + ?Sized>(own: &mut Arc<T>, other: &Arc<T>) {
    if **own == **other {
        own.clone_from(other);
    }
}

fn restarts(pod: &core::Pod) -> i64 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| i64::from(status.restart_count)).sum()
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

/// The time after the start of a pod within which the kubelet writes its first conditions.
const FIRST_CONDITIONS: TimeDelta = TimeDelta::seconds(10);

/// Returns true if a pod that is not ready has been ready. The kubelet writes the first `Ready`
/// condition, which is `False`, when the pod starts; a later transition to `False` is the loss of
/// the readiness that was there before.
fn lost_readiness(pod: &core::Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let transition = ready.and_then(|condition| condition.last_transition_time.as_ref());
    match (transition, &status.start_time) {
        (Some(transition), Some(start)) => {
            time::from_kubernetes(transition) - time::from_kubernetes(start) > FIRST_CONDITIONS
        }
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn pod(name: &str, app: &str) -> Pod {
        Pod::serving(name, app)
    }

    #[test]
    fn a_pod_is_stuck_after_the_time_of_its_trouble() {
        let status = |status: serde_json::Value| -> core::Pod {
            let metadata = serde_json::json!({
                "name": "a", "namespace": "ns", "uid": "u",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            });
            serde_json::from_value(serde_json::json!({"metadata": metadata, "status": status}))
                .unwrap()
        };
        let condition = |type_: &str, status: &str, reason: &str, at: &str| {
            serde_json::json!({
                "type": type_, "status": status, "reason": reason,
                "lastTransitionTime": format!("2026-01-01T00:{at}:00Z"),
            })
        };
        let waiting = |reason: &str| {
            serde_json::json!([{
                "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": reason}},
            }])
        };
        let unready = condition("Ready", "False", "", "10");
        let table = [
            (serde_json::json!({"conditions": [condition("Ready", "True", "", "10")]}), None),
            (
                serde_json::json!({
                    "conditions": [unready], "containerStatuses": waiting("CrashLoopBackOff"),
                }),
                Some((TroubleKind::Crashing, 10)),
            ),
            (
                serde_json::json!({"initContainerStatuses": waiting("ErrImagePull")}),
                Some((TroubleKind::Crashing, 0)),
            ),
            (
                serde_json::json!({
                    "conditions": [unready], "containerStatuses": waiting("ContainerCreating"),
                }),
                Some((TroubleKind::NotReady, 30)),
            ),
            (
                serde_json::json!({
                    "conditions": [condition("PodScheduled", "False", "Unschedulable", "01")],
                }),
                Some((TroubleKind::Unschedulable, 6)),
            ),
            (
                serde_json::json!({
                    "conditions": [condition("PodScheduled", "False", "SchedulingGated", "01")],
                }),
                Some((TroubleKind::NotReady, 20)),
            ),
        ];
        let startup_timeout = TimeDelta::minutes(20);
        for (value, expected) in table {
            let pod = Pod::of(&status(value.clone())).unwrap();
            let at = |minute| {
                DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc()
                    + TimeDelta::minutes(minute)
            };
            match expected {
                None => assert_eq!(pod.stuck(at(59), startup_timeout), None, "{value}"),
                Some((kind, minute)) => {
                    assert_eq!(pod.stuck(at(minute), startup_timeout), Some(kind), "{value}");
                    assert_eq!(
                        pod.stuck(at(minute) - TimeDelta::seconds(1), startup_timeout),
                        None,
                        "{value}"
                    );
                }
            }
        }
    }

    #[test]
    fn ports_are_found_by_name_and_by_number() {
        let pod = pod("a-0", "a");
        assert_eq!(pod.port(&Port::Name("http".to_owned())), Some(8000));
        assert_eq!(pod.port(&Port::Name("grpc".to_owned())), None);
        assert_eq!(pod.port(&Port::Number(9)), Some(9));
        let usual = ["grpc", "http"].map(|name| Port::Name(name.to_owned()));
        assert_eq!(pod.first_port(&usual), Some((&usual[1], 8000)));
    }

    #[test]
    fn a_port_is_declared_by_its_name_or_its_number() {
        let pod = Pod { unnamed_ports: Box::new([9000]), ..pod("a-0", "a") };
        let name = |name: &str| Port::Name(name.to_owned());
        for (port, expected) in [
            (name("http"), true),
            (name("grpc"), false),
            (Port::Number(8000), true),
            (Port::Number(9000), true),
            // `port` returns the number of any pod, because a container need not declare it.
            (Port::Number(9001), false),
        ] {
            assert_eq!(pod.declares(&port), expected, "{port}");
        }
    }

    #[test]
    fn the_only_port_of_a_pod_may_be_unnamed() {
        let only = |ports: &[(&str, u16)], unnamed: &[u16]| {
            let ports = ports.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
            Pod { ports, unnamed_ports: unnamed.into(), ..pod("a", "a") }.has_only_port(8000)
        };
        assert!(only(&[], &[8000]) && only(&[("api", 8000)], &[]) && only(&[], &[8000, 8000]));
        assert!(!only(&[], &[]) && !only(&[], &[8000, 9000]) && !only(&[("api", 9000)], &[8000]));
    }
}
