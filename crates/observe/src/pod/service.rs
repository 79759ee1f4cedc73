//! The service state of a pod: its readiness gate, its readiness, and its removal.

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use llm_autoscaler_api::{time, workloads};

/// The fields of a pod that draining depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceState {
    /// The project's readiness gate.
    pub gate: Gate,
    /// True if the condition `Ready` holds, so that Services send requests to the pod.
    pub serves: bool,
    /// The `terminationGracePeriodSeconds`; 30 if unset, as in Kubernetes.
    pub termination_grace_seconds: i64,
    /// True if its deletion cost marks it as the pod to be removed first.
    pub is_marked: bool,
}

/// The project's readiness gate of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// The pod has none, so it cannot be taken out of service.
    #[default]
    Absent,
    /// The condition is not set yet, so the pod is not ready.
    Unset,
    /// The pod may be in service.
    Open,
    /// The pod is out of service.
    Closed {
        /// The time since which it is closed.
        since: DateTime<Utc>,
    },
}

impl ServiceState {
    /// Reads the state of a pod.
    pub fn of(pod: &core::Pod) -> Self {
        let spec = pod.spec.as_ref();
        let cost = pod.annotations().get(workloads::DELETION_COST);
        Self {
            gate: gate(pod),
            serves: holds(pod, "Ready"),
            termination_grace_seconds: spec
                .and_then(|spec| spec.termination_grace_period_seconds)
                .unwrap_or(30),
            is_marked: cost.is_some_and(|cost| cost == workloads::CHEAPEST),
        }
    }

    /// Returns true if the pod can be taken out of service.
    pub fn has_gate(self) -> bool {
        self.gate != Gate::Absent
    }

    /// Returns true if the pod has been taken out of service.
    pub fn is_closed(self) -> bool {
        matches!(self.gate, Gate::Closed { .. })
    }
}

/// Returns true if a pod is ready, or would be if its gate were open. A replica that the operator
/// has taken out of service still counts as ready capacity.
pub fn is_ready(pod: &core::Pod, service: ServiceState) -> bool {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let mut others = gates.filter(|gate| gate.condition_type != workloads::IN_SERVICE);
    service.serves
        || service.is_closed()
            && holds(pod, "ContainersReady")
            && others.all(|gate| holds(pod, &gate.condition_type))
}

fn gate(pod: &core::Pod) -> Gate {
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    if !gates.into_iter().any(|gate| gate.condition_type == workloads::IN_SERVICE) {
        return Gate::Absent;
    }
    match condition(pod, workloads::IN_SERVICE) {
        None => Gate::Unset,
        Some(condition) if condition.status == "True" => Gate::Open,
        Some(condition) => {
            let since = condition.last_transition_time.as_ref().map(time::from_kubernetes);
            Gate::Closed { since: since.unwrap_or_default() }
        }
    }
}

fn holds(pod: &core::Pod, type_: &str) -> bool {
    condition(pod, type_).is_some_and(|condition| condition.status == "True")
}

fn condition<'p>(pod: &'p core::Pod, type_: &str) -> Option<&'p core::PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pod::Pod;

    #[test]
    fn a_pod_out_of_service_counts_as_ready() {
        let ours = workloads::IN_SERVICE;
        // gates, conditions that hold, status of our condition; closed, serves, ready, in trouble
        let table = [
            (vec![], vec!["Ready"], None, (false, true, true, false)),
            (vec![ours], vec!["ContainersReady"], None, (false, false, false, true)),
            (
                vec![ours],
                vec!["ContainersReady", "Ready"],
                Some("True"),
                (false, true, true, false),
            ),
            (vec![ours], vec!["ContainersReady"], Some("False"), (true, false, true, false)),
            (vec![ours], vec![], Some("False"), (true, false, false, true)),
            (
                vec![ours, "other"],
                vec!["ContainersReady"],
                Some("False"),
                (true, false, false, true),
            ),
            (
                vec![ours, "other"],
                vec!["ContainersReady", "other"],
                Some("False"),
                (true, false, true, false),
            ),
        ];
        for (gates, hold, status, expected) in table {
            let gates: Vec<_> = gates.iter().map(|gate| json!({"conditionType": gate})).collect();
            let mut conditions: Vec<_> =
                hold.iter().map(|type_| json!({"type": type_, "status": "True"})).collect();
            conditions.extend(status.map(|status| json!({"type": ours, "status": status})));
            let pod: core::Pod = serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "ns", "uid": "u"},
                "spec": {"containers": [], "readinessGates": gates},
                "status": {"phase": "Running", "conditions": conditions},
            }))
            .unwrap();
            let pod = Pod::of(&pod).unwrap();
            let found = (
                pod.service.is_closed(),
                pod.service.serves,
                pod.replica.ready,
                pod.trouble.is_some(),
            );
            assert_eq!(found, expected, "{hold:?} {status:?}");
        }
    }
}
