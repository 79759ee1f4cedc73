//! The GPUs of pods' ResourceClaims, for the bill.
//!
//! What is allocated to a claim does not change while a pod uses it, so each claim is read once for
//! each pod: after the pod has a node, because the scheduler allocates before. Nothing waits for
//! these reads. A claim that cannot be read has no GPU in the bill, and where the permission is
//! missing the log says so once. Pods without claims cause no request.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{
    Client,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use llm_autoscaler_api::{GpuResources, allocated_gpus};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_observe::{billing::ClaimedGpus, pod::Pod};
use tokio::sync::Notify;
use tracing::{debug, warn};

use crate::{
    backoff::Backoff,
    clock::Clock,
    kube_api::{CallError, DEADLINE, scoped_dynamic, within},
    lock::lock,
};

/// The waits before a claim is read again that is not allocated, or could not be read.
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(5));
/// The time for which the claims of a namespace are not read after a refusal.
const REFUSED: Duration = Duration::from_mins(1);
/// The time for which a claim is kept after the last request for it: longer than departed pods are.
const KEPT: Duration = Duration::from_mins(10);
/// The time between two rounds of reads.
const TICK: Duration = Duration::from_secs(1);
/// The claims of one namespace that are read in one round, so that no namespace keeps the others
/// from theirs.
const ROUND: usize = 20;

/// The ResourceClaims of pods; cheap to clone.
#[derive(Clone)]
pub(crate) struct ResourceClaims {
    client: Client,
    clock: Clock,
    gpus: GpuResources,
    state: Arc<Mutex<State>>,
    /// Notified when a claim is asked for that is not known.
    wanted: Arc<Notify>,
}

#[derive(Default)]
struct State {
    claims: HashMap<Key, Claim>,
    /// The namespaces of which the operator may not read claims, and when it tries again.
    refused: HashMap<String, Monotonic>,
}

/// A claim of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    pod_uid: Arc<str>,
    name: String,
}

struct Claim {
    /// The GPUs that are allocated to it, once that is known.
    gpus: Option<u32>,
    /// When it is read, while that is not known.
    due: Monotonic,
    backoff: Backoff,
    /// When it was asked for last.
    asked: Monotonic,
}

impl ResourceClaims {
    /// Begins with nothing known; [`watch`](Self::watch) reads what is asked for.
    pub(crate) fn new(client: Client, clock: Clock, gpus: GpuResources) -> Self {
        Self { client, clock, gpus, state: Arc::default(), wanted: Arc::default() }
    }

    /// Asks for the claims of pods, and goes on knowing those that are known.
    pub(crate) fn want<'a>(&self, pods: impl Iterator<Item = &'a Pod>, now: Monotonic) {
        let mut state = None;
        for pod in pods.filter(|pod| pod.is_scheduled && !pod.claims.is_empty()) {
            let state = state.get_or_insert_with(|| lock(&self.state));
            for name in &pod.claims {
                match state.claims.entry(Key::new(pod, name)) {
                    Entry::Occupied(mut known) => known.get_mut().asked = now,
                    Entry::Vacant(new) => {
                        new.insert(Claim { gpus: None, due: now, backoff: WAITS, asked: now });
                        self.wanted.notify_one();
                    }
                }
            }
        }
    }

    /// Returns the GPUs of the pods' claims that are known.
    pub(crate) fn gpus<'a>(&self, pods: impl Iterator<Item = &'a Pod>) -> ClaimedGpus {
        let mut found = ClaimedGpus::new();
        let mut state = None;
        for pod in pods.filter(|pod| !pod.claims.is_empty()) {
            let state = state.get_or_insert_with(|| lock(&self.state));
            let gpus =
                |name: &String| Some((name.clone(), state.claims.get(&Key::new(pod, name))?.gpus?));
            found.extend(pod.claims.iter().filter_map(gpus));
        }
        found
    }

    /// Reads the claims that are asked for, for the life of the process.
    pub(crate) async fn watch(self) {
        loop {
            let due = lock(&self.state).due(self.clock.monotonic());
            for key in due {
                let result = self.read(&key).await;
                lock(&self.state).record(&key, result, self.clock.monotonic());
            }
            if lock(&self.state).claims.is_empty() {
                self.wanted.notified().await;
            } else {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// Returns the GPUs that are allocated to a claim; `None` while nothing is.
    async fn read(&self, key: &Key) -> Result<Option<u32>, CallError> {
        let kind = GroupVersionKind::gvk("resource.k8s.io", "v1", "ResourceClaim");
        let resource = ApiResource::from_gvk_with_plural(&kind, "resourceclaims");
        let api = scoped_dynamic(&self.client, Some(&key.namespace), &resource);
        let object: DynamicObject = within(DEADLINE, api.get(&key.name)).await?;
        Ok(object.data.get("status").and_then(|status| allocated_gpus(status, &self.gpus)))
    }
}

impl Key {
    fn new(pod: &Pod, name: &str) -> Self {
        Self { namespace: pod.namespace.clone(), pod_uid: pod.uid.clone(), name: name.to_owned() }
    }
}

impl State {
    /// Forgets claims of pods that have gone, and returns those to be read now.
    fn due(&mut self, now: Monotonic) -> Vec<Key> {
        self.claims.retain(|_, claim| now.since(claim.asked) < KEPT);
        let is_due = |key: &Key, claim: &Claim| {
            let refused = self.refused.get(&key.namespace);
            claim.gpus.is_none() && claim.due <= now && refused.is_none_or(|until| *until <= now)
        };
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let due = self.claims.iter().filter(|(key, claim)| is_due(key, claim));
        let round = due.filter(|(key, _)| {
            let count = counts.entry(&key.namespace).or_default();
            *count += 1;
            *count <= ROUND
        });
        round.map(|(key, _)| key.clone()).collect()
    }

    /// Takes over what a read has told.
    fn record(&mut self, key: &Key, result: Result<Option<u32>, CallError>, now: Monotonic) {
        let Some(claim) = self.claims.get_mut(key) else { return };
        claim.due = Monotonic(now.0 + claim.backoff.next());
        let Key { namespace, name, .. } = key;
        match result {
            Ok(gpus) => {
                claim.gpus = gpus;
                self.refused.remove(namespace);
            }
            Err(error) if error.status() == Some(403) => {
                // The others of the namespace wait too, and go on at the same time.
                claim.due = now;
                let is_first = self.refused.is_empty();
                self.refused.insert(namespace.clone(), Monotonic(now.0 + REFUSED));
                if is_first {
                    warn!(
                        namespace, %error,
                        "ResourceClaims cannot be read, so the bill has no GPUs of them: grant \
                         the ClusterRole llm-autoscaler-targets-resource-claims, or set gpusPerReplica"
                    );
                }
            }
            // Claims that are gone, and API servers without them.
            Err(error) => debug!(namespace, name, %error, "reading a ResourceClaim"),
        }
    }
}

#[cfg(test)]
mod tests;
