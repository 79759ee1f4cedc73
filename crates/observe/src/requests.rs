//! The number and the duration of requests, for scale-downs that drain.

use std::time::Duration;

use chrono::{DateTime, Utc};
use llm_autoscaler_engines::{Buckets, exposition::Value};

use crate::{
    replicas::Replicas,
    samples::{Answer, Evidence, Lookup, Samples, SourceSamples},
};

/// The running and waiting requests of a replica, by samples beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// The number of requests.
    pub count: u64,
    /// The time of the sample; of several pods, that of the oldest sample.
    pub at: DateTime<Utc>,
}

/// Returns the requests of each replica, in the order of the replicas; `None` if they are unknown.
///
/// A replica without a running pod has no requests. If one reporting pod of a replica has no sample
/// beyond doubt, the requests of the replica are unknown. `is_measured` is false if the engine has
/// no series that counts requests.
pub fn requests(
    replicas: &Replicas,
    samples: &Samples,
    is_measured: bool,
    now: DateTime<Utc>,
) -> Vec<Option<Requests>> {
    let none = Requests { count: 0, at: now };
    let runs = replicas.list.iter().map(|group| group.pods.iter().any(|pod| pod.is_running()));
    let mut all: Vec<Option<Requests>> = runs.map(|runs| (!runs).then_some(none)).collect();
    if !is_measured {
        return all;
    }
    let mut reported = vec![0; all.len()];
    let mut sums = vec![none; all.len()];
    for (place, replica) in replicas.replica_of_reporting_pod.iter().enumerate() {
        let sample = first_sample(samples, |source| &source.requests, place, Evidence::BeyondDoubt);
        if let Some((Value::Number(number), age)) = sample {
            let sum = &mut sums[*replica];
            sum.count = sum.count.saturating_add(number.ceil().max(0.0) as u64);
            sum.at = sum.at.min(now - age);
            reported[*replica] += 1;
        }
    }
    for (place, group) in replicas.list.iter().enumerate() {
        if group.reporting_pods > 0 && reported[place] == group.reporting_pods {
            all[place] = Some(sums[place]);
        }
    }
    all
}

/// Returns the 99th percentile of the duration of requests, in seconds; `None` if too few requests
/// have been answered.
pub fn slowest_request(replicas: &Replicas, samples: &Samples) -> Option<f64> {
    let mut pool = Buckets::default();
    for place in 0..replicas.reporting_pods.len() {
        let sample = first_sample(samples, |source| &source.latency, place, Evidence::Usable);
        if let Some((Value::Buckets(buckets), _)) = sample {
            pool.add(buckets);
        }
    }
    pool.quantile_if_enough(0.99)
}

/// Returns the value of a reporting pod in the first active source that has one, and its age.
fn first_sample(
    samples: &Samples,
    lookups: fn(&SourceSamples) -> &Vec<Lookup>,
    place: usize,
    evidence: Evidence,
) -> Option<(&Value, Duration)> {
    let own = samples.sources.iter().filter(|source| source.kind.is_per_pod() && source.is_active);
    own.filter_map(|source| lookups(source).get(place)).find_map(|lookup| {
        match lookup.admitted(evidence) {
            Answer::Sample(sample) => Some((&sample.value, sample.age)),
            Answer::Pending | Answer::Missing(_) | Answer::Contradicted(_) => None,
        }
    })
}

#[cfg(test)]
mod tests;
