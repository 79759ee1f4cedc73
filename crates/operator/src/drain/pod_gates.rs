//! Opens and closes the readiness gates of pods, and marks the pods that are to be removed first.
//!
//! A pod with the project's readiness gate is ready only while the gate's condition is True. The
//! autoscaler of a target sets it on all pods of the target but those that drain. The
//! [sweep](crate::drain::gate_sweep) sets it on pods without an autoscaler, so that none stays out
//! of its Services for want of one. Only a difference to the watched pod is written, and a write
//! that fails is tried again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chrono::{DateTime, SubsecRound, Utc};
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
    cluster::pods::PodStore,
    drain::{
        pod_write::{self, Failure, PodWriter, Written},
        role_instances::RoleInstances,
    },
    kube_api::writes::Writes,
    lease::Leases,
    lock::lock,
    pace::{self, NamespacePace},
    supervise::Supervisor,
    telemetry::WriteKind,
};

/// After a failure in a namespace nothing is written there for this long.
const RETRY: Duration = Duration::from_secs(5);
/// A failure is remembered for this long without another one: its namespace may be gone.
const FAILURE_REMEMBERED: Duration = Duration::from_hours(1);
/// The watch of the pods shows a write within this time.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// The number of attempts at a pod that is changed meanwhile, as by its kubelet.
const ATTEMPTS: u32 = 4;
/// The wait before a further attempt, in which the watch shows the change.
const CHANGED_WAIT: Duration = Duration::from_millis(50);

/// Writes to pods; cheap to clone.
#[derive(Clone)]
pub(crate) struct PodGates(Arc<Shared>);

struct Shared {
    client: Client,
    pods: PodStore,
    writer: PodWriter,
    instances: RoleInstances,
    supervisor: Supervisor,
    /// The pace at which pods are taken out of service.
    closing: NamespacePace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The UIDs of pods that are being written to.
    under_way: HashSet<Arc<str>>,
    /// The latest writes to pods, by UID: the watch may not show them yet.
    done: HashMap<Arc<str>, RecentWrite>,
    /// The latest failure of each namespace.
    failures: HashMap<String, RecentFailure>,
}

struct RecentWrite {
    write: Write,
    at: Monotonic,
}

struct RecentFailure {
    failure: Failure,
    at: Monotonic,
}

impl State {
    /// Returns whether a write may begin now, and records that it does. It may not while another
    /// write to the pod is under way, shortly after the same write, and shortly after a failure in
    /// the namespace. A pod that has just returned to service stays there for a while, too: a load
    /// that swings makes a decision of each sample.
    fn begin(&mut self, pod: &Pod, write: Write, now: Monotonic) -> bool {
        self.done.retain(|_, done| now.since(done.at) < SEEN_WITHIN);
        let failed = self.failures.get(&pod.namespace);
        let has_failed = failed.is_some_and(|failed| now.since(failed.at) < RETRY);
        let is_closing = write == Write::Gate(GatePosition::Closed);
        let is_done = self.done.get(&pod.uid).is_some_and(|done| done.write == write || is_closing);
        !has_failed && !is_done && self.under_way.insert(pod.uid.clone())
    }

    /// Records the end of a write.
    fn end(&mut self, pod: &Pod, write: Write, result: Result<Written, Failure>, now: Monotonic) {
        self.under_way.remove(&pod.uid);
        self.failures.retain(|_, failed| now.since(failed.at) < FAILURE_REMEMBERED);
        match result {
            // A later step decides anew.
            Ok(Written::Outdated) => {}
            Ok(Written::Done) => {
                self.failures.remove(&pod.namespace);
                self.done.insert(pod.uid.clone(), RecentWrite { write, at: now });
            }
            Err(failure) => {
                let failure = RecentFailure { failure, at: now };
                self.failures.insert(pod.namespace.clone(), failure);
            }
        }
    }
}

/// The position of a readiness gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GatePosition {
    /// Services send requests to the pod, if it is ready otherwise.
    Open,
    /// Services send no requests to the pod.
    Closed,
}

/// A write to a pod, or to its RoleInstance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Gate(GatePosition),
    Mark,
    Unmark,
    UnmarkInstance,
}

impl PodGates {
    /// Writes to these pods through this client, where the Leases permit it.
    pub(crate) fn new(
        pods: PodStore,
        (client, writes, leases, supervisor): (Client, Writes, Leases, Supervisor),
    ) -> Self {
        let pod_writer = PodWriter { writes, leases };
        let instances = RoleInstances::new(client.clone(), pod_writer.clone());
        let (closing, state) = (NamespacePace::new(pace::CLOSED_GATES), Mutex::default());
        Self(Arc::new(Shared {
            client,
            pods,
            writer: pod_writer,
            instances,
            supervisor,
            closing,
            state,
        }))
    }

    /// Brings the gate of a pod to a position, if the pod has the gate. Returns at once; the watch
    /// of the pods shows when it is done. A write that comes too early is made in a later step.
    pub(crate) fn set(&self, pod: &Arc<Pod>, position: GatePosition, now: Now) {
        if let Some(patch) = gate_patch(pod, position, now.wall) {
            self.spawn(pod, patch, Write::Gate(position), now.monotonic);
        }
    }

    /// Removes the mark of a pod that is not to be removed any more, and that of its RoleInstance.
    /// Returns at once.
    pub(crate) fn unmark(&self, pod: &Arc<Pod>, now: Now) {
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
    pub(crate) async fn mark(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let unmarked = pods.iter().filter(|pod| !pod.service.is_marked && !pod.replica.deleting);
        let cheapest = json!(workloads::CHEAPEST);
        let marking = unmarked.map(|pod| self.patch(pod, deletion_cost(&cheapest), Write::Mark));
        let marked = futures::future::try_join_all(marking).await?;
        if marked.contains(&Written::Outdated) {
            return Err(Failure::outdated());
        }
        Ok(())
    }

    /// Marks the RoleInstances of pods as the first to be removed.
    ///
    /// # Errors
    /// A RoleInstance could not be marked.
    pub(crate) async fn mark_instances(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        self.0.instances.mark(pods).await
    }

    /// The latest failure in a namespace; `None` once a write has succeeded since.
    pub(crate) fn failure(&self, namespace: &str) -> Option<Failure> {
        self.lock().failures.get(namespace).map(|failed| failed.failure.clone())
    }

    /// The permission to write gates in a namespace, as far as is known.
    pub(crate) fn permission(&self, namespace: &str) -> GatePermission {
        match self.failure(namespace) {
            Some(failure) if failure.is_forbidden => GatePermission::Denied,
            _ => GatePermission::Granted,
        }
    }

    fn spawn(&self, pod: &Arc<Pod>, patch: Value, write: Write, now: Monotonic) {
        if !self.lock().begin(pod, write, now) {
            return;
        }
        let is_closing = write == Write::Gate(GatePosition::Closed);
        if is_closing && !self.0.closing.try_take(&pod.namespace, now) {
            self.lock().under_way.remove(&pod.uid);
            return;
        }
        info!(namespace = pod.namespace, pod = pod.name, ?write, "writing to the pod");
        let (gates, pod) = (self.clone(), pod.clone());
        self.0.supervisor.spawn("pod", async move {
            let patch = gates.0.supervisor.attempt("pod", gates.patch(&pod, patch, write));
            let result = patch.await.unwrap_or_else(|panic| Err(Failure::internal(&panic)));
            gates.record(&pod, write, result);
        });
    }

    fn record(&self, pod: &Pod, write: Write, result: Result<Written, Failure>) {
        if let Err(failure) = &result {
            warn!(
                namespace = pod.namespace,
                pod = pod.name,
                error = failure.text,
                "the write to the pod failed; it is tried again"
            );
        }
        let now = self.0.writer.writes.now();
        self.lock().end(pod, write, result, now);
    }

    /// Patches a pod. With the UID, a patch never reaches another pod of the same name; with the
    /// version, it never undoes what another copy of the operator has written since.
    async fn patch(&self, pod: &Pod, mut patch: Value, write: Write) -> Result<Written, Failure> {
        if write == Write::UnmarkInstance {
            return self.0.instances.unmark(pod).await;
        }
        let api: Api<core::Pod> = Api::namespaced(self.0.client.clone(), &pod.namespace);
        let (params, writer, namespace) = (pod_write::params(), &self.0.writer, &pod.namespace);
        patch["metadata"]["uid"] = json!(pod.uid);
        for _ in 0..ATTEMPTS {
            let Some(version) = self.0.pods.version(pod) else { return Ok(Written::Done) };
            patch["metadata"]["resourceVersion"] = json!(version);
            let patch = Patch::Strategic(&patch);
            let written = if matches!(write, Write::Gate(_)) {
                writer
                    .write(WriteKind::Pod, namespace, api.patch_status(&pod.name, &params, &patch))
                    .await?
            } else {
                writer
                    .write(WriteKind::Pod, namespace, api.patch(&pod.name, &params, &patch))
                    .await?
            };
            if written == Written::Done {
                return Ok(written);
            }
            tokio::time::sleep(CHANGED_WAIT).await;
        }
        Ok(Written::Outdated)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

/// Returns the patch that brings the gate of a pod to a position; `None` if the pod has no gate, is
/// being deleted, or has its gate there already.
fn gate_patch(pod: &Pod, position: GatePosition, now: DateTime<Utc>) -> Option<Value> {
    let is_there = match pod.service.gate {
        Gate::Absent => return None,
        Gate::Unset => false,
        Gate::Open => position == GatePosition::Open,
        Gate::Closed { .. } => position == GatePosition::Closed,
    };
    if is_there || pod.replica.deleting {
        return None;
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
        "lastTransitionTime": now.trunc_subsecs(0).to_rfc3339(),
    });
    Some(json!({"status": {"conditions": [condition]}}))
}

fn deletion_cost(value: &Value) -> Value {
    json!({"metadata": {"annotations": {workloads::DELETION_COST: value}}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;
    use crate::{
        clock::Clock,
        kube_api::stand_in::{Answer, Received, StandIn},
    };

    fn pod(gate: Gate, deleting: bool) -> Pod {
        let mut pod = Pod::serving("a-0", "a");
        pod.service.gate = gate;
        pod.replica.deleting = deleting;
        pod
    }

    #[test]
    fn a_gate_is_written_where_it_differs() {
        use GatePosition::{Closed, Open};
        let closed = Gate::Closed { since: DateTime::UNIX_EPOCH };
        // the gate, whether the pod is being deleted, the position; the status that is written
        let table = [
            (Gate::Absent, false, Open, None),
            (Gate::Unset, false, Open, Some("True")),
            (Gate::Unset, false, Closed, Some("False")),
            (Gate::Open, false, Open, None),
            (Gate::Open, false, Closed, Some("False")),
            (closed, false, Closed, None),
            (closed, false, Open, Some("True")),
            (Gate::Open, true, Closed, None),
        ];
        for (gate, deleting, position, expected) in table {
            let patch = gate_patch(&pod(gate, deleting), position, DateTime::UNIX_EPOCH);
            let condition = patch.map(|patch| patch["status"]["conditions"][0].clone());
            let status = condition.as_ref().and_then(|condition| condition["status"].as_str());
            assert_eq!(status, expected, "{gate:?} {deleting} {position:?}");
        }
    }

    /// The kubelet has changed the pod meanwhile, or another copy of the operator has.
    #[tokio::test]
    async fn a_patch_names_the_version_that_is_known_and_is_repeated_with_the_next_one() {
        let clock = Clock::start();
        let (pods, leases) = (PodStore::new(clock), Leases::by_hand(1));
        let _following = pods.follow("ns");
        let pod = Arc::new(pod(Gate::Open, false));
        pods.apply(Pod::clone(&pod));
        pods.record_version("ns", "a-0", Some("5".to_owned()));
        let shown = pods.clone();
        let api = StandIn::start(move |request: &Received| {
            if request.body["metadata"]["resourceVersion"] != "5" {
                return Answer::Json(200, json!({"metadata": {"name": "a-0"}}));
            }
            shown.record_version("ns", "a-0", Some("6".to_owned()));
            Answer::refusal(409)
        })
        .await;
        let handles =
            (api.client.clone(), Writes::new(clock, Telemetry::default()), leases.clone());
        let (client, writes, leases) = handles;
        let supervisor = Supervisor::impatient();
        let gates = PodGates::new(pods, (client, writes, leases.clone(), supervisor));
        assert!(
            gates.mark(std::slice::from_ref(&pod)).await.is_err(),
            "another copy holds the Lease"
        );
        assert!(api.received(|_| true).is_empty());
        leases.give(0);
        gates.mark(&[pod]).await.unwrap();
        let versions: Vec<_> = api.received(|_| true);
        let versions: Vec<_> =
            versions.iter().map(|patch| &patch.body["metadata"]["resourceVersion"]).collect();
        assert_eq!(versions, ["5", "6"]);
    }

    #[test]
    fn a_write_waits_for_the_one_before_it_and_after_a_failure() {
        let at = |millis| Monotonic(Duration::from_millis(millis));
        let pod = pod(Gate::Open, false);
        let (close, open) = (Write::Gate(GatePosition::Closed), Write::Gate(GatePosition::Open));
        let mut state = State::default();
        assert!(state.begin(&pod, close, at(0)));
        assert!(!state.begin(&pod, open, at(1)), "a write is under way");
        state.end(&pod, close, Ok(Written::Done), at(10));
        assert!(!state.begin(&pod, close, at(2_009)), "the watch may not show it yet");
        assert!(state.begin(&pod, open, at(2_000)), "a pod returns to service at once");
        state.end(&pod, open, Ok(Written::Done), at(2_005));
        assert!(!state.begin(&pod, close, at(4_004)), "it has just returned to service");
        assert!(state.begin(&pod, close, at(4_005)));
        state.end(&pod, close, Ok(Written::Done), at(4_006));
        assert!(state.begin(&pod, open, at(4_009)));
        let failure = Failure { is_forbidden: true, text: "forbidden".to_owned() };
        state.end(&pod, open, Err(failure), at(4_010));
        assert!(!state.begin(&pod, open, at(9_009)));
        assert!(state.begin(&pod, open, at(9_010)));
        state.end(&pod, open, Ok(Written::Done), at(9_020));
        assert!(state.failures.is_empty());
    }
}
