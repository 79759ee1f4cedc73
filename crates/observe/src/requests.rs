//! The requests of each replica, and how long requests take: the input of a scale-down that drains.

use std::time::Duration;

use chrono::{DateTime, Utc};
use llm_autoscaler_engines::{Buckets, exposition::Value};

use crate::{
    replicas::Replicas,
    samples::{Answer, Evidence, Lookup, Samples, SourceSamples},
};

/// The requests of a replica, running and waiting, by samples beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// The number of requests.
    pub count: u64,
    /// When the sample was taken; of several pods the oldest.
    pub at: DateTime<Utc>,
}

/// Returns the requests of each replica, in their order; `None` where they are not known. A replica without a running pod has none.
///
/// `is_measured` is false where the engine has no series that counts requests.
pub fn requests(
    replicas: &Replicas,
    samples: &Samples,
    is_measured: bool,
    now: DateTime<Utc>,
) -> Vec<Option<Requests>> {
    let nothing = Requests { count: 0, at: now };
    let is_idle = |running: bool| (!running).then_some(nothing);
    let running = replicas.list.iter().map(|group| group.pods.iter().any(|pod| pod.is_running()));
    let mut all: Vec<Option<Requests>> = running.map(is_idle).collect();
    if !is_measured {
        return all;
    }
    let mut reported = vec![0; all.len()];
    let mut sums = vec![nothing; all.len()];
    for (place, replica) in replicas.of_speaker.iter().enumerate() {
        let sample = first(samples, |source| &source.requests, place, Evidence::BeyondDoubt);
        if let Some((Value::Number(number), age)) = sample {
            let sum = &mut sums[*replica];
            sum.count = sum.count.saturating_add(number.ceil().max(0.0) as u64);
            sum.at = sum.at.min(now - age);
            reported[*replica] += 1;
        }
    }
    for (place, group) in replicas.list.iter().enumerate() {
        if group.speakers > 0 && reported[place] == group.speakers {
            all[place] = Some(sums[place]);
        }
    }
    all
}

/// Returns the seconds in which 99 of 100 requests are answered; `None` where too few requests have been seen to tell.
pub fn slowest_request(replicas: &Replicas, samples: &Samples) -> Option<f64> {
    let mut pool = Buckets::default();
    for place in 0..replicas.speakers.len() {
        let sample = first(samples, |source| &source.latency, place, Evidence::Usable);
        if let Some((Value::Buckets(buckets), _)) = sample {
            pool.add(buckets);
        }
    }
    pool.quantile_if_enough(0.99)
}

/// The value of a reporting pod in the first active source that has one, and its age.
fn first<'a>(
    samples: &'a Samples,
    lookups: fn(&SourceSamples) -> &Vec<Lookup>,
    place: usize,
    evidence: Evidence,
) -> Option<(&'a Value, Duration)> {
    let own = samples.sources.iter().filter(|source| source.kind.is_per_pod() && source.is_active);
    own.filter_map(|source| lookups(source).get(place)).find_map(|lookup| {
        match lookup.admitted(evidence) {
            Answer::Sample(sample) => Some((&sample.value, sample.age)),
            Answer::Pending | Answer::Missing(_) => None,
        }
    })
}
