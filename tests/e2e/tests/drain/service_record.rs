//! Follows pods from their first request to their removal.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{Config, watcher},
    },
};
use tokio::task::AbortHandle;

use crate::gated::GATE;

/// The stages of a pod's life, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Starting,
    InService,
    Draining,
    Removed,
}

/// The pods of a namespace that have the readiness gate.
#[derive(Default)]
struct Record {
    lives: HashMap<String, Life>,
    faults: Vec<String>,
}

/// Records what happens to the pods of a namespace.
pub(crate) struct ServiceRecord {
    record: Arc<Mutex<Record>>,
    watch: AbortHandle,
}

impl Drop for ServiceRecord {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl ServiceRecord {
    /// Begins to record.
    pub(crate) fn begin(pods: Api<Pod>) -> Self {
        let record = Arc::new(Mutex::default());
        let watch = tokio::spawn(follow(pods, record.clone())).abort_handle();
        Self { record, watch }
    }

    /// Returns the UIDs of the pods that are out of service and not removed yet.
    pub(crate) fn draining(&self) -> Vec<String> {
        let record = lock(&self.record);
        let draining = record.lives.iter().filter(|(_, life)| **life == Life::Draining);
        draining.map(|(uid, _)| uid.clone()).collect()
    }

    /// Returns the number of pods that were drained and removed.
    pub(crate) fn removed(&self) -> usize {
        lock(&self.record).lives.values().filter(|life| **life == Life::Removed).count()
    }

    /// Returns what was not to happen: pods that went back to service, or that were removed without
    /// a drain.
    pub(crate) fn faults(&self) -> Vec<String> {
        lock(&self.record).faults.clone()
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(pods: Api<Pod>, record: Arc<Mutex<Record>>) {
    let mut events = watcher(pods, Config::default()).default_backoff().applied_objects().boxed();
    while let Some(event) = events.next().await {
        let Ok(pod) = event else { continue }; // the watcher recovers on its own
        lock(&record).take(&pod);
    }
}

impl Record {
    /// Takes over the state of a pod.
    fn take(&mut self, pod: &Pod) {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        let last = self.lives.get(&uid).copied().unwrap_or(Life::Starting);
        let life = life(pod);
        let fault = match (last, life) {
            (Life::Draining, Life::InService) => "went back to service",
            (Life::InService, Life::Starting) => "lost its gate",
            (Life::Starting | Life::InService, Life::Removed) => "was removed without a drain",
            _ => "",
        };
        if !fault.is_empty() {
            self.faults.push(format!("{name} {fault}"));
        }
        // A gate that is closed before it was ever open belongs to a pod that starts.
        let is_starting = last == Life::Starting && life == Life::Draining;
        self.lives.insert(uid, if is_starting { Life::Starting } else { life });
    }
}

fn life(pod: &Pod) -> Life {
    if pod.metadata.deletion_timestamp.is_some() {
        return Life::Removed;
    }
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let gate = conditions.into_iter().flatten().find(|condition| condition.type_ == GATE);
    match gate.map(|gate| gate.status.as_str()) {
        Some("True") => Life::InService,
        Some(_) => Life::Draining,
        None => Life::Starting,
    }
}
