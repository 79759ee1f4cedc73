//! The parts of a pod's status that a kubelet or a scheduler writes.

use std::net::Ipv4Addr;

use chrono::{DateTime, SecondsFormat, Utc};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

/// The state of a pod as its hollow node sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) address: Ipv4Addr,
    pub(super) started: DateTime<Utc>,
    pub(super) ready: bool,
    /// The reason why its engine does not run.
    pub(super) failure: Option<String>,
}

/// Builds a strategic merge patch of the status. Conditions merge by type, so those of other
/// writers (readiness gates) survive. The patch names the pod's UID, so it never changes a
/// successor of the same name.
pub(super) fn patch(pod: &Pod, state: &State, now: DateTime<Utc>) -> Value {
    let ready = state.ready && state.failure.is_none();
    let condition = |kind: &str, status: bool| {
        json!({
            "type": kind,
            "status": if status { "True" } else { "False" },
            "lastTransitionTime": time(now),
        })
    };
    json!({
        "metadata": {"uid": pod.uid()},
        "status": {
            "phase": "Running",
            "podIP": state.address,
            "podIPs": [{"ip": state.address}],
            "startTime": time(state.started),
            "conditions": [
                condition("Initialized", true),
                condition("ContainersReady", ready),
                condition("Ready", ready && gates_pass(pod)),
            ],
            "containerStatuses": container_statuses(pod, state, ready),
        },
    })
}

/// Builds the status that a scheduler writes for a pod that fits on no node. The API server removes
/// the condition when the pod is bound.
pub(super) fn unschedulable(pod: &Pod, now: DateTime<Utc>) -> Value {
    json!({
        "metadata": {"uid": pod.uid()},
        "status": {"conditions": [{
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            "lastTransitionTime": time(now),
        }]},
    })
}

/// Returns true if all of the pod's readiness gates are open.
pub(super) fn gates_pass(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let is_true = |kind: &str| {
        conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == kind && condition.status == "True")
    };
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
    gates.unwrap_or_default().iter().all(|gate| is_true(&gate.condition_type))
}

fn container_statuses(pod: &Pod, state: &State, ready: bool) -> Vec<Value> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let container_state = match &state.failure {
        None => json!({"running": {"startedAt": time(state.started)}}),
        Some(message) => json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}}),
    };
    let restarts = i32::from(state.failure.is_some());
    containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name,
                "image": container.image,
                "imageID": "",
                "ready": ready,
                "started": state.failure.is_none(),
                "restartCount": restarts,
                "state": container_state,
            })
        })
        .collect()
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(gate: Option<&str>) -> Pod {
        let conditions = gate.map(|status| json!([{"type": "drained", "status": status}]));
        serde_json::from_value(json!({
            "metadata": {"name": "a", "uid": "u"},
            "spec": {
                "containers": [{"name": "engine"}],
                "readinessGates": gate.map(|_| json!([{"conditionType": "drained"}])),
            },
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn ready_needs_the_engine_and_every_gate() {
        let now = DateTime::UNIX_EPOCH;
        for (gate, engine_ready, failure, expected) in [
            (None, true, None, ("True", "True")),
            (None, false, None, ("False", "False")),
            (Some("False"), true, None, ("True", "False")),
            (Some("True"), true, None, ("True", "True")),
            (Some("True"), false, None, ("False", "False")),
            (None, true, Some("gone"), ("False", "False")),
        ] {
            let state = State {
                address: Ipv4Addr::LOCALHOST,
                started: now,
                ready: engine_ready,
                failure: failure.map(str::to_owned),
            };
            let patch = patch(&pod(gate), &state, now);
            let status =
                |index: usize| patch["status"]["conditions"][index]["status"].as_str().unwrap();
            assert_eq!((status(1), status(2)), expected, "gate {gate:?}, {failure:?}");
        }
    }
}
