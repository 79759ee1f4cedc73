//! The pods of a target between steps: as a case gives them, and as the plan's drains change them.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use llm_autoscaler_core::{EngineActivity, Phase, Replica};
use llm_autoscaler_observe::{
    pod::{
        Members, Pod, Trouble, TroubleKind,
        service::{Gate, ServiceState},
    },
    replicas::ReplicaPods,
};

use super::case::{GateCase, PhaseCase, PodCase, TroubleName};

/// The namespace of all pods.
pub(super) const NAMESPACE: &str = "default";

/// Pods by name.
#[derive(Debug, Default)]
pub(super) struct Pods(BTreeMap<String, PodState>);

/// A pod, with its times as moments.
#[derive(Debug)]
struct PodState {
    case: PodCase,
    gate: Gate,
    created: DateTime<Utc>,
    /// The time since which the pod is not ready.
    trouble_since: DateTime<Utc>,
}

impl Pods {
    /// Returns the pods of a case at the time of its step.
    pub(super) fn new(pods: &[PodCase], now: DateTime<Utc>) -> Self {
        Self(pods.iter().map(|pod| (pod.name.clone(), PodState::new(pod, now))).collect())
    }

    /// Returns the pods as the operator would have them from its watch.
    pub(super) fn members(&self) -> Members {
        let pods = self.0.iter().map(|(name, pod)| (name.clone(), Arc::new(pod.pod())));
        Arc::new(pods.collect())
    }

    /// Opens the gates that have not been written yet, as the operator does for new pods.
    pub(super) fn open_new(&mut self) {
        let new = self.0.values_mut().filter(|pod| pod.gate == Gate::Unset);
        new.for_each(|pod| pod.gate = Gate::Open);
    }

    /// Takes the pods of a replica out of their Services.
    pub(super) fn close(&mut self, replica: &ReplicaPods, now: DateTime<Utc>) {
        self.set(replica, |gate| match gate {
            Gate::Unset | Gate::Open => Gate::Closed { since: now },
            Gate::Absent | Gate::Closed { .. } => gate,
        });
    }

    /// Returns the pods of a replica to their Services.
    pub(super) fn open(&mut self, replica: &ReplicaPods) {
        self.set(replica, |gate| match gate {
            Gate::Unset | Gate::Closed { .. } => Gate::Open,
            Gate::Absent | Gate::Open => gate,
        });
    }

    fn set(&mut self, replica: &ReplicaPods, change: impl Fn(Gate) -> Gate) {
        for pod in &replica.pods {
            if let Some(pod) = self.0.get_mut(&pod.name) {
                pod.gate = change(pod.gate);
            }
        }
    }
}

impl PodState {
    fn new(case: &PodCase, now: DateTime<Utc>) -> Self {
        let created = now - case.age_seconds.delta();
        Self {
            gate: match case.gate {
                GateCase::Absent => Gate::Absent,
                GateCase::Unset => Gate::Unset,
                GateCase::Open => Gate::Open,
                GateCase::Closed => Gate::Closed { since: now - case.closed_for_seconds.delta() },
            },
            created,
            trouble_since: case.trouble.map_or(created, |it| now - it.for_seconds.delta()),
            case: case.clone(),
        }
    }

    fn pod(&self) -> Pod {
        let Self { case, gate, created, trouble_since } = self;
        // A pod that is taken out of service is as good a replica as before; a gate that nothing
        // has written yet keeps it from being ready.
        let ready = case.ready && case.phase == PhaseCase::Running && *gate != Gate::Unset;
        let kind = match case.trouble.map(|trouble| trouble.kind) {
            Some(TroubleName::Crashing) => TroubleKind::Crashing,
            Some(TroubleName::Unschedulable) => TroubleKind::Unschedulable,
            Some(TroubleName::NotReady) | None => TroubleKind::NotReady,
        };
        let trouble = Trouble { kind, since: *trouble_since };
        Pod {
            uid: case.uid.as_ref().unwrap_or(&case.name).as_str().into(),
            namespace: NAMESPACE.to_owned(),
            labels: Arc::new(case.labels.clone()),
            annotations: case.annotations.clone(),
            ports: [].into(),
            replica: Replica {
                phase: match case.phase {
                    PhaseCase::Pending => Phase::Pending,
                    PhaseCase::Running => Phase::Running,
                    PhaseCase::Succeeded => Phase::Succeeded,
                    PhaseCase::Failed => Phase::Failed,
                    PhaseCase::Unknown => Phase::Unknown,
                },
                deleting: case.deleting,
                ready,
                stuck: false,
                activity: EngineActivity::Unknown,
            },
            was_ready: ready || case.was_ready,
            trouble: (!ready).then_some(trouble),
            restarts: case.restarts,
            is_scheduled: case.has_node.unwrap_or(case.phase != PhaseCase::Pending),
            service: ServiceState {
                gate: *gate,
                serves: ready && !matches!(gate, Gate::Closed { .. }),
                termination_grace_seconds: case.grace_seconds,
                is_marked: false,
            },
            created: *created,
            ..Pod::serving(&case.name, "")
        }
    }
}
