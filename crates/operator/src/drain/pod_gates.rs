//! Puts pods in service and takes them out of it, and marks those that are to be removed first.
//!
//! A pod with the project's readiness gate is ready only while its condition is True. Whoever looks after a target says so of
//! all its pods, but for those that are being drained; of pods that nobody looks after this module does, so that nothing stays
//! out of service for want of an autoscaler. What is written is what differs from what the pod was last seen to be, and
//! a write that fails is tried again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{SubsecRound, Utc};
use k8s_openapi::api::core::v1 as core;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use llm_autoscaler_api::{workloads, managers};
use serde_json::{Value, json};
use tracing::{info, warn};

use llm_autoscaler_observe::pod::{Pod, service::Gate};
use crate::{cluster::pods::PodStore, kube_api::{DEADLINE, patch_as, within}};

/// After a failure in a namespace nothing is tried there for so long.
const RETRY: Duration = Duration::from_secs(5);
/// For how long a write need not have been seen.
const SEEN_WITHIN: Duration = Duration::from_secs(2);
/// How often pods are looked for that nobody looks after.
const SWEEP: Duration = Duration::from_secs(10);

/// Writes to pods; cheap to clone.
#[derive(Clone)]
pub struct InService(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// The UIDs of pods that are being written to.
    under_way: HashSet<String>,
    /// What was written to pods a moment ago, by UID: the watch may not know yet.
    done: HashMap<String, (Write, Instant)>,
    /// What went wrong last, by namespace.
    failures: HashMap<String, Failure>,
    /// The UIDs of the RoleInstances that were marked, and of their sets: there is no watch that would tell.
    pub(super) marked_instances: HashMap<String, String>,
}

/// What is written to a pod, or to its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Gate { open: bool },
    Mark,
    Unmark,
    UnmarkInstance,
}

/// A write to a pod that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whether the operator may not do that.
    pub is_forbidden: bool,
    /// What the API server said.
    pub text: String,
    at: Instant,
}

impl InService {
    /// Through this client.
    pub fn new(client: Client) -> Self {
        Self(Arc::new(Shared { client, state: Mutex::default() }))
    }

    /// Puts a pod in service, or takes it out of it, where it has the gate and is not so already. Returns at once; the watch of the
    /// pods tells when it is done.
    pub fn set(&self, pod: &Arc<Pod>, open: bool) {
        let is_so = match pod.service.gate {
            Gate::Absent => return,
            Gate::Unset => false,
            Gate::Open => open,
            Gate::Closed { .. } => !open,
        };
        if !is_so && !pod.replica.deleting {
            let (reason, message) = if open {
                ("InService", "requests may come")
            } else {
                ("Draining", "it is about to be removed: requests are answered, and no more come")
            };
            let condition = json!({
                "type": workloads::IN_SERVICE,
                "status": if open { "True" } else { "False" },
                "reason": reason,
                "message": message,
                "lastTransitionTime": Utc::now().trunc_subsecs(0).to_rfc3339(),
            });
            self.spawn(pod, json!({"status": {"conditions": [condition]}}), Write::Gate { open });
        }
    }

    /// Takes the mark off a pod that is not to be removed any more, and off its instance. Returns at once.
    pub fn unmark(&self, pod: &Arc<Pod>) {
        if pod.replica.deleting {
            return;
        }
        if pod.service.is_marked {
            self.spawn(pod, cost(&Value::Null), Write::Unmark);
        }
        let Some(instance) = &pod.instance else { return };
        if self.lock().marked_instances.contains_key(&instance.uid) {
            self.spawn(pod, Value::Null, Write::UnmarkInstance);
        }
    }

    /// Marks pods as those that are to be removed first.
    ///
    /// # Errors
    /// One could not be marked; the text says why.
    pub async fn mark(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let unmarked = pods.iter().filter(|pod| !pod.service.is_marked && !pod.replica.deleting);
        let marking =
            unmarked.map(|pod| self.patch(pod, cost(&json!(workloads::CHEAPEST)), Write::Mark));
        futures::future::try_join_all(marking).await.map(drop)
    }

    /// What went wrong with the last write in a namespace, if it did.
    pub fn failure(&self, namespace: &str) -> Option<Failure> {
        self.lock().failures.get(namespace).cloned()
    }

    fn spawn(&self, pod: &Arc<Pod>, patch: Value, write: Write) {
        let rests = |failure: &Failure| failure.at.elapsed() < RETRY;
        let mut state = self.lock();
        state.done.retain(|_, (_, at)| at.elapsed() < SEEN_WITHIN);
        if state.failures.get(&pod.namespace).is_some_and(rests)
            || state.done.get(&pod.uid).is_some_and(|(done, _)| *done == write)
            || !state.under_way.insert(pod.uid.clone())
        {
            return;
        }
        drop(state);
        info!(namespace = pod.namespace, pod = pod.name, ?write, "writing to the pod");
        let (writer, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move {
            let result = writer.patch(&pod, patch, write).await;
            let mut state = writer.lock();
            state.under_way.remove(&pod.uid);
            match result {
                Ok(()) => {
                    state.failures.remove(&pod.namespace);
                    state.done.insert(pod.uid.clone(), (write, Instant::now()));
                }
                Err(failure) => {
                    warn!(
                        namespace = pod.namespace,
                        pod = pod.name,
                        error = failure.text,
                        "the pod could not be put in, or taken out of, service; trying again"
                    );
                    state.failures.insert(pod.namespace.clone(), failure);
                }
            }
        });
    }

    async fn patch(&self, pod: &Pod, mut patch: Value, write: Write) -> Result<(), Failure> {
        if write == Write::UnmarkInstance {
            return self.unmark_instance(pod).await;
        }
        // With the UID, a patch never reaches another pod of the same name.
        patch["metadata"]["uid"] = json!(pod.uid);
        let api: Api<core::Pod> = Api::namespaced(self.0.client.clone(), &pod.namespace);
        let (params, patch) = (params(), Patch::Strategic(patch));
        unless_gone(if matches!(write, Write::Gate { .. }) {
            in_time(api.patch_status(&pod.name, &params, &patch)).await
        } else {
            in_time(api.patch(&pod.name, &params, &patch)).await
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn params() -> PatchParams {
    patch_as(managers::PODS)
}

/// Gives a call its time, and says what went wrong with it; the number is the HTTP status, where there is one.
pub(super) async fn in_time<T>(
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, (Option<u16>, Failure)> {
    within(DEADLINE, call).await.map_err(|error| {
        let status = error.status();
        let failure = Failure {
            is_forbidden: status == Some(403),
            text: error.to_string(),
            at: Instant::now(),
        };
        (status, failure)
    })
}

/// What is gone, or another by now, needs nothing to be done about it.
pub(super) fn unless_gone<T>(result: Result<T, (Option<u16>, Failure)>) -> Result<(), Failure> {
    match result {
        Ok(_) | Err((Some(404 | 409), _)) => Ok(()),
        Err((_, failure)) => Err(failure),
    }
}

fn cost(value: &Value) -> Value {
    json!({"metadata": {"annotations": {workloads::DELETION_COST: value}}})
}

/// Puts pods in service that nobody looks after, for ever: their autoscaler has been deleted, or never was. Who is seen twice
/// in a row is not merely being handed over.
pub async fn sweep(writer: InService, pods: PodStore) {
    let mut tick = tokio::time::interval(SWEEP);
    let mut before: HashSet<String> = HashSet::new();
    loop {
        tick.tick().await;
        if pods.problem().is_some() {
            before.clear();
            continue;
        }
        let left_out = pods.left_out();
        for pod in left_out.iter().filter(|pod| before.contains(&pod.uid)) {
            writer.set(pod, true);
        }
        before = left_out.iter().map(|pod| pod.uid.clone()).collect();
    }
}
