//! Sampling: every pod's page is read once per interval, whoever looks at it.
//!
//! A probe is a task that reads one page; its key is (pod, scheme, port, path, credentials). Autoscalers subscribe to
//! probes with the measures that they need; the shortest interval of the subscribers counts, one pass over
//! the page serves all of them, and each subscriber is woken when a fresh result is there.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use llm_autoscaler_engines::Measure;

use crate::{
    clock::Clock,
    sampling::{
        credentials::Gate,
        scrape_loop::{self, Probe, ProbeKey, Subscription},
    },
    telemetry::Telemetry,
};

/// All probes.
#[derive(Clone)]
pub struct Sampler(Arc<Shared>);

struct Shared {
    probes: Mutex<HashMap<ProbeKey, Arc<Probe>>>,
    measures: Mutex<HashSet<Arc<Measure>>>,
    loops: Arc<scrape_loop::Shared>,
    owners: AtomicU64,
}

impl Sampler {
    /// Is let in to pods by `gate`.
    pub fn new(gate: Gate, telemetry: Telemetry, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            probes: Mutex::default(),
            measures: Mutex::default(),
            loops: Arc::new(scrape_loop::Shared::new(gate, telemetry, clock)),
            owners: AtomicU64::new(0),
        }))
    }

    /// A number that no other subscriber has.
    pub fn new_owner(&self) -> u64 {
        self.0.owners.fetch_add(1, Ordering::Relaxed)
    }

    /// The one copy of a measure: equal ones are the same, so that they are found by their address.
    pub fn intern(&self, measure: &Measure) -> Arc<Measure> {
        let mut measures = self.0.measures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = measures.get(measure) {
            return known.clone();
        }
        measures.retain(|known| Arc::strong_count(known) > 1);
        let measure = Arc::new(measure.clone());
        measures.insert(measure.clone());
        measure
    }

    /// Subscribes `owner` to a page, or changes its subscription.
    pub fn subscribe(&self, owner: u64, key: &ProbeKey, subscription: Subscription) -> Arc<Probe> {
        let mut probes = self.probes();
        let probe = probes.entry(key.clone()).or_insert_with(|| Probe::new(key.clone())).clone();
        let mut state = probe.lock();
        state.subscribers.insert(owner, subscription);
        state.unite();
        if state.task.is_none() {
            let task = tokio::spawn(scrape_loop::run(self.0.loops.clone(), probe.clone()));
            state.task = Some(task.abort_handle());
        }
        drop(state);
        probe.changed.notify_one();
        probe
    }

    /// Ends the subscription of `owner` to a page; the last one ends the probe.
    pub fn unsubscribe(&self, owner: u64, key: &ProbeKey) {
        let mut probes = self.probes();
        let Some(probe) = probes.get(key).cloned() else { return };
        let mut state = probe.lock();
        state.subscribers.remove(&owner);
        state.unite();
        if state.subscribers.is_empty() {
            if let Some(task) = state.task.take() {
                task.abort();
            }
            probes.remove(key);
        }
    }

    fn probes(&self) -> MutexGuard<'_, HashMap<ProbeKey, Arc<Probe>>> {
        self.0.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
