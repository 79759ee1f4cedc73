//! Engines that have requests and make no progress, found by their series over several steps.
//!
//! An engine is *wedged* if it has had requests for [`WEDGED_AFTER`], and in all that time neither
//! a counter of tokens, nor the number of running requests, nor the usage of the KV cache has
//! moved. So is an engine that is paused, one whose requests wait while none runs, and one whose
//! gauges are left over from requests that were aborted. The number of waiting requests does not
//! matter: clients go on sending, and give up.

use std::{collections::HashMap, sync::Arc};

use llm_autoscaler_api::{VitalMeasures, WEDGED_AFTER};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::exposition::Value;

use crate::{
    pod::{Members, Pod},
    replicas::Replicas,
    samples::{Lookup, Sample, Samples, VitalLookups},
};

/// The progress of the engines of one target's reporting pods.
///
/// Without new evidence, such as while a page does not answer, an engine that stands still goes on
/// standing still.
#[derive(Clone, Debug, Default)]
pub struct ProgressTracker {
    /// The engines that a status remembers, by the UIDs of their pods, before the first step.
    restored: Vec<(String, Standstill)>,
    /// The pods of the latest step.
    pods: Members,
    /// For each of these pods, since when its engine has requests and its gauges have stood still.
    standing: Vec<Option<Standstill>>,
    /// The latest state of each reporting pod, in the order of the pods.
    latest: Vec<Progress>,
}

/// The progress of the engine of one pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// No sample tells.
    Unknown,
    /// It has no requests.
    Idle,
    /// It has requests, and has made progress lately.
    Working,
    /// It has had requests for [`WEDGED_AFTER`] and made no progress. The number of requests is
    /// `None` if no sample has told it since a restart of the operator.
    Wedged(Option<f64>),
}

/// A time in which an engine has had requests, and its gauges have stood still.
#[derive(Clone, Copy, Debug)]
struct Standstill {
    since: Monotonic,
    /// The number of requests by the latest sample; `None` before the first one after a restart.
    requests: Option<f64>,
    /// The running requests, and the usage of the KV cache, as far as they are known.
    gauges: [Option<f64>; 2],
    is_wedged: bool,
    /// The restarts of the pod's containers when it began; `None` after a restart of the operator.
    restarts: Option<i64>,
}

/// The sample of one engine.
#[derive(Clone, Copy, Debug)]
struct Vitals {
    requests: f64,
    /// The rate of the counters of progress, and true if the whole time is known.
    progress: Option<(f64, bool)>,
    gauges: [Option<f64>; 2],
}

impl ProgressTracker {
    /// Goes on with the wedged engines that a status remembers, by the UIDs of their pods.
    pub fn restored(wedged: &[String], now: Monotonic) -> Self {
        let standstill = Standstill {
            since: now,
            requests: None,
            gauges: [None; 2],
            is_wedged: true,
            restarts: None,
        };
        let restored = wedged.iter().map(|uid| (uid.clone(), standstill)).collect();
        Self { restored, ..Self::default() }
    }

    /// Observes the engines of all reporting pods. `measures` are those of the samples' vitals;
    /// without them no engine is ever wedged.
    pub fn observe(
        &mut self,
        measures: Option<&VitalMeasures>,
        replicas: &Replicas,
        samples: &Samples,
        now: Monotonic,
    ) {
        self.latest.clear();
        let Some(measures) = measures else {
            self.restored.clear();
            self.pods = Members::default();
            return self.standing.clear();
        };
        self.follow(&replicas.reporting_pods);
        for (at, (pod, standing)) in self.pods.values().zip(&mut self.standing).enumerate() {
            let vitals = Vitals::of(samples, at, measures.at_end);
            forget_restarted(standing, pod);
            self.latest.push(observe_engine(standing, pod, vitals, now));
        }
    }

    /// Goes on with the pods of a step, and forgets all others. Usually they are those of the step
    /// before.
    fn follow(&mut self, pods: &Members) {
        if Arc::ptr_eq(&self.pods, pods) {
            return;
        }
        let former = std::mem::replace(&mut self.pods, pods.clone());
        let mut known: HashMap<&str, Standstill> = HashMap::new();
        known.extend(self.restored.iter().map(|(uid, standing)| (&**uid, *standing)));
        let standing = former.values().zip(&self.standing);
        known.extend(standing.filter_map(|(pod, standing)| Some((&*pod.uid, (*standing)?))));
        self.standing = pods.values().map(|pod| known.remove(&*pod.uid)).collect();
        self.restored.clear();
    }

    /// Returns the progress of the reporting pod at a place.
    pub fn of(&self, at: usize) -> Progress {
        self.latest.get(at).copied().unwrap_or(Progress::Unknown)
    }

    /// Returns the UIDs of the pods with wedged engines, sorted, as a status remembers them.
    pub fn wedged(&self) -> Vec<String> {
        let is_wedged = |standing: &Option<Standstill>| standing.is_some_and(|it| it.is_wedged);
        let observed = self.pods.values().zip(&self.standing);
        let observed = observed.filter(|(_, standing)| is_wedged(standing));
        let observed = observed.map(|(pod, _)| &*pod.uid);
        let restored = self.restored.iter().map(|(uid, _)| &**uid);
        let mut uids: Vec<String> = restored.chain(observed).map(str::to_owned).collect();
        uids.sort_unstable();
        uids
    }
}

/// Forgets an engine with a process that has been restarted.
fn forget_restarted(standing: &mut Option<Standstill>, pod: &Pod) {
    let Some(known) = standing else { return };
    if *known.restarts.get_or_insert(pod.restarts) != pod.restarts {
        *standing = None;
    }
}

fn observe_engine(
    standing: &mut Option<Standstill>,
    pod: &Pod,
    vitals: Option<Vitals>,
    now: Monotonic,
) -> Progress {
    let is_wedged = standing.is_some_and(|standing| standing.is_wedged);
    match vitals {
        None => {}
        // Clients that give up are no progress, so a wedged engine stays wedged.
        Some(Vitals { requests, .. }) if requests <= 0.0 && !is_wedged => {
            *standing = None;
            return Progress::Idle;
        }
        Some(vitals) => {
            let begun = || Standstill::begun(&vitals, pod.restarts, now);
            standing.get_or_insert_with(begun).observe(&vitals, now);
        }
    }
    match standing {
        None => Progress::Unknown,
        Some(standing) if standing.is_wedged => Progress::Wedged(standing.requests),
        Some(_) => Progress::Working,
    }
}

impl Standstill {
    fn begun(vitals: &Vitals, restarts: i64, now: Monotonic) -> Self {
        let Vitals { requests, gauges, .. } = *vitals;
        let (requests, restarts) = (Some(requests), Some(restarts));
        Self { since: now, requests, gauges, is_wedged: false, restarts }
    }

    /// Takes a sample. A gauge that moves begins the time anew; a verdict is ended by a token only.
    fn observe(&mut self, vitals: &Vitals, now: Monotonic) {
        let has_moved = |(before, now): (&Option<f64>, &Option<f64>)| {
            before.zip(*now).is_some_and(|(before, now)| before.total_cmp(&now).is_ne())
        };
        if self.gauges.iter().zip(&vitals.gauges).any(has_moved) {
            self.since = now;
        }
        self.requests = Some(vitals.requests);
        for (known, latest) in self.gauges.iter_mut().zip(vitals.gauges) {
            *known = latest.or(*known);
        }
        self.is_wedged = match vitals.progress {
            Some((rate, _)) if rate > 0.0 => false,
            Some((_, true)) => self.is_wedged || now.since(self.since) >= WEDGED_AFTER,
            Some((_, false)) | None => self.is_wedged,
        };
    }
}

impl Vitals {
    /// Returns the sample of the reporting pod at a place, by the first active source that has its
    /// requests. `None` without one, and for an engine of which it cannot be told.
    fn of(samples: &Samples, at: usize, at_end: bool) -> Option<Self> {
        let sources = samples.sources.iter().filter(|source| source.kind.is_per_pod());
        let mut vitals = sources.map(|source| &source.vitals);
        let (requests, VitalLookups { progress, gauges, .. }) =
            vitals.find_map(|vitals| Some((number(&vitals.requests, at)?.0, vitals)))?;
        let gauges = gauges.each_ref().map(|gauge| number(gauge, at).map(|(number, _)| number));
        let is_told = match progress.get(at) {
            Some(Lookup::Sample(_) | Lookup::Pending { .. }) => !at_end || gauges[1].is_some(),
            _ => false,
        };
        (is_told || requests == 0.0).then(|| Self {
            requests,
            progress: number(progress, at),
            gauges,
        })
    }
}

/// Returns the number of the pod at a place, and true if it is beyond doubt.
fn number(lookups: &[Lookup], at: usize) -> Option<(f64, bool)> {
    match lookups.get(at)? {
        Lookup::Sample(sample @ Sample { value: Value::Number(number), .. }) => {
            Some((*number, sample.is_certain()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
