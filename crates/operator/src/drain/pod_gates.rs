//! Opens and closes the readiness gates of pods, and marks the pods that are to be removed first.
//!
//! A pod with the project's readiness gate is ready only while the gate's condition is True. The autoscaler of a target sets it
//! on all pods of the target but those that drain; [`sweep`](crate::drain::sweep) sets it on pods without an autoscaler, so that
//! no pod stays out of its Services for want of one. Only a difference to what the watch has shown is written, and a write that
//! fails is tried again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chrono::SubsecRound;
use k8s_openapi::api::core::v1 as core;
use kube::{Api, Client, api::Patch};
use llm_autoscaler_api::workloads;
use llm_autoscaler_core::{Monotonic, Now};
use llm_autoscaler_observe::{
    draining::GatePermission,
    pod::{Pod, service::Gate},
};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::{
    clock::Clock,
    drain::{
        pod_write::{self, Failure},
        role_instances::RoleInstances,
    },
    lock::lock,
};

/// After a failure in a namespace nothing is written there for this long.
const RETRY: Duration = Duration::from_secs(5);
/// The watch of the pods shows a write within this time.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// Writes to pods; cheap to clone.
#[derive(Clone)]
pub struct PodGates(Arc<Shared>);

struct Shared {
    client: Client,
    clock: Clock,
    instances: RoleInstances,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The UIDs of pods that are being written to.
    under_way: HashSet<String>,
    /// What was written to pods a moment ago, by UID: the watch may not show it yet.
    done: HashMap<String, (Write, Monotonic)>,
    /// The latest failure of each namespace.
    failures: HashMap<String, (Failure, Monotonic)>,
}

/// The position of a readiness gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatePosition {
    /// Services send requests to the pod, if it is ready otherwise.
    Open,
    /// Services send no requests to the pod.
    Closed,
}

/// What is written to a pod, or to its RoleInstance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Gate(GatePosition),
    Mark,
    Unmark,
    UnmarkInstance,
}

impl PodGates {
    /// Writes through this client.
    pub fn new(client: Client, clock: Clock) -> Self {
        let instances = RoleInstances::new(client.clone());
        Self(Arc::new(Shared { client, clock, instances, state: Mutex::default() }))
    }

    /// Brings the gate of a pod to a position, where the pod has the gate. Returns at once; the watch of the pods shows when it is
    /// done.
    pub fn set(&self, pod: &Arc<Pod>, position: GatePosition, now: Now) {
        let is_there = match pod.service.gate {
            Gate::Absent => return,
            Gate::Unset => false,
            Gate::Open => position == GatePosition::Open,
            Gate::Closed { .. } => position == GatePosition::Closed,
        };
        if is_there || pod.replica.deleting {
            return;
        }
        let (status, reason, message) = match position {
            GatePosition::Open => ("True", "InService", "requests may come"),
            GatePosition::Closed => (
                "False",
                "Draining",
                "it is about to be removed: requests are answered, and no more come",
            ),
        };
        let condition = json!({
            "type": workloads::IN_SERVICE,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": now.wall.trunc_subsecs(0).to_rfc3339(),
        });
        let patch = json!({"status": {"conditions": [condition]}});
        self.spawn(pod, patch, Write::Gate(position), now.monotonic);
    }

    /// Takes the mark off a pod that is not to be removed any more, and off its RoleInstance. Returns at once.
    pub fn unmark(&self, pod: &Arc<Pod>, now: Now) {
        if pod.replica.deleting {
            return;
        }
        if pod.service.is_marked {
            self.spawn(pod, deletion_cost(&Value::Null), Write::Unmark, now.monotonic);
        }
        if self.0.instances.is_marked(pod) {
            self.spawn(pod, Value::Null, Write::UnmarkInstance, now.monotonic);
        }
    }

    /// Marks pods as the first to be removed.
    ///
    /// # Errors
    /// A pod could not be marked.
    pub async fn mark(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let unmarked = pods.iter().filter(|pod| !pod.service.is_marked && !pod.replica.deleting);
        let cheapest = json!(workloads::CHEAPEST);
        let marking = unmarked.map(|pod| self.patch(pod, deletion_cost(&cheapest), Write::Mark));
        futures::future::try_join_all(marking).await.map(drop)
    }

    /// Marks the RoleInstances of pods as the first to be removed.
    ///
    /// # Errors
    /// A RoleInstance could not be marked.
    pub async fn mark_instances(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        self.0.instances.mark(pods).await
    }

    /// The latest failure in a namespace; `None` once a write has succeeded since.
    pub fn failure(&self, namespace: &str) -> Option<Failure> {
        self.lock().failures.get(namespace).map(|(failure, _)| failure.clone())
    }

    /// The permission to write gates in a namespace, as far as is known.
    pub fn permission(&self, namespace: &str) -> GatePermission {
        match self.failure(namespace) {
            Some(failure) if failure.is_forbidden => GatePermission::Denied,
            _ => GatePermission::Granted,
        }
    }

    fn spawn(&self, pod: &Arc<Pod>, patch: Value, write: Write, now: Monotonic) {
        let mut state = self.lock();
        state.done.retain(|_, (_, at)| now.since(*at) < SEEN_WITHIN);
        let failed = state.failures.get(&pod.namespace);
        if failed.is_some_and(|(_, at)| now.since(*at) < RETRY)
            || state.done.get(&pod.uid).is_some_and(|(done, _)| *done == write)
            || !state.under_way.insert(pod.uid.clone())
        {
            return;
        }
        drop(state);
        info!(namespace = pod.namespace, pod = pod.name, ?write, "writing to the pod");
        let (gates, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move {
            let result = gates.patch(&pod, patch, write).await;
            gates.record(&pod, write, result);
        });
    }

    fn record(&self, pod: &Pod, write: Write, result: Result<(), Failure>) {
        let now = self.0.clock.monotonic();
        let mut state = self.lock();
        state.under_way.remove(&pod.uid);
        match result {
            Ok(()) => {
                state.failures.remove(&pod.namespace);
                state.done.insert(pod.uid.clone(), (write, now));
            }
            Err(failure) => {
                warn!(
                    namespace = pod.namespace,
                    pod = pod.name,
                    error = failure.text,
                    "the write to the pod failed; it is tried again"
                );
                state.failures.insert(pod.namespace.clone(), (failure, now));
            }
        }
    }

    async fn patch(&self, pod: &Pod, mut patch: Value, write: Write) -> Result<(), Failure> {
        if write == Write::UnmarkInstance {
            return self.0.instances.unmark(pod).await;
        }
        // With the UID, a patch never reaches another pod of the same name.
        patch["metadata"]["uid"] = json!(pod.uid);
        let api: Api<core::Pod> = Api::namespaced(self.0.client.clone(), &pod.namespace);
        let (params, patch) = (pod_write::params(), Patch::Strategic(patch));
        if matches!(write, Write::Gate(_)) {
            pod_write::write(api.patch_status(&pod.name, &params, &patch)).await
        } else {
            pod_write::write(api.patch(&pod.name, &params, &patch)).await
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

fn deletion_cost(value: &Value) -> Value {
    json!({"metadata": {"annotations": {workloads::DELETION_COST: value}}})
}
