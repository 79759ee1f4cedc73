//! The pages of the replicas as the SLO mode takes them.

use std::time::Duration;

use llm_autoscaler_api::{SloConfig, SloMeasures};
use llm_autoscaler_core::{
    Monotonic,
    slo::{EngineSample, SloPolicy, SloRole},
};
use llm_autoscaler_engines::{Buckets, Measure, exposition::Value};

use super::{Attained, PromiseTarget};
use crate::{
    replicas::Replicas,
    samples::{Lookup, Sample, Samples, SourceKind},
};

/// The share of the time to first token from which a time in the queue counts as late: the rest is
/// for the prompt.
pub(super) const QUEUE_SHARE: f64 = 0.75;

/// The latest page of a replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Page {
    /// The numbers of the page, of one of its engines in the mean.
    pub(super) sample: EngineSample,
    /// The engines that the page is of: more than one with data parallelism within the pod. Each
    /// has a batch and steps of its own, and requests are spread over them.
    pub(super) engines: u32,
}

/// The pages of all replicas.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    /// The page of each replica, in their order; `None` where there is none in full. A replica of
    /// which several pods report has none.
    pub(super) list: Vec<Option<Page>>,
    /// A pod with a page that lacks a series, and the series.
    pub(super) missing: Option<(String, String)>,
    /// A pod with a page of several API servers.
    pub(super) several_servers: Option<String>,
    /// A target that no bucket of any page can measure, and the shortest one that they can. Where
    /// some pages can, the others are of another version, as in a rollout.
    pub(super) not_measurable: Option<(PromiseTarget, f64)>,
    /// The times that were attained.
    pub(super) attained: Attained,
}

/// The answers about one pod.
struct PodAnswers<'a> {
    measures: [&'a Measure; SloMeasures::COUNT],
    lookups: &'a [Vec<Lookup>],
    at: usize,
}

impl Pages {
    /// Reads the answers of the first source of the target's own pages.
    pub(super) fn read(
        config: &SloConfig,
        measures: &SloMeasures,
        replicas: &Replicas,
        samples: &Samples,
        now: Monotonic,
    ) -> Self {
        let mut pages = Self { list: vec![None; replicas.list.len()], ..Self::default() };
        let own = |kind: &SourceKind| matches!(kind, SourceKind::OwnPods);
        let source = samples.sources.iter().find(|it| it.is_active && own(&it.kind));
        let Some(lookups) = source.map(|source| &source.slo[..]).filter(|it| !it.is_empty()) else {
            return pages;
        };
        let mut recent = [Buckets::default(), Buckets::default()];
        let mut is_measured = false;
        let pods = replicas.reporting_pods.values().zip(&replicas.replica_of_reporting_pod);
        for (at, (pod, replica)) in pods.enumerate() {
            let answers = PodAnswers { measures: measures.all(), lookups, at };
            answers.add_recent(&mut recent);
            match answers.page(&config.policy, now) {
                Ok(page) if page.has_several_servers => {
                    pages.several_servers = Some(pod.name.clone());
                }
                Ok(page) if replicas.list[*replica].reporting_pods == 1 => {
                    pages.not_measurable = pages.not_measurable.or(page.not_measurable);
                    is_measured |= page.not_measurable.is_none();
                    pages.list[*replica] = Some(page.page);
                }
                Err(Some(series)) => pages.missing = Some((pod.name.clone(), series)),
                Ok(_) | Err(None) => {}
            }
        }
        pages.not_measurable = pages.not_measurable.filter(|_| !is_measured);
        let [first_token, per_token] = recent.map(|it| it.quantile_if_enough(config.quantile));
        // What the users get is what the role that does it has.
        let role = config.policy.role;
        pages.attained = Attained {
            time_to_first_token: first_token.filter(|_| role != SloRole::Decode),
            inter_token_latency: per_token.filter(|_| role != SloRole::Prefill),
        };
        pages
    }
}

/// Returns the requests that a gateway holds and no replica has; `None` if a promise counts none,
/// and if one of the gateway's pods has no sample beyond doubt.
pub(super) fn queued(samples: &Samples) -> Option<f64> {
    let source = samples.sources.iter().find(|it| it.is_active && !it.queued.is_empty())?;
    let number = |lookup: &Lookup| match lookup {
        Lookup::Sample(Sample { value: Value::Number(number), doubt: None, .. }) => Some(*number),
        _ => None,
    };
    source.queued.iter().map(number).sum()
}

/// A page with what is remarkable about it.
struct ReadPage {
    page: Page,
    /// True if several API servers count each step.
    has_several_servers: bool,
    not_measurable: Option<(PromiseTarget, f64)>,
}

impl PodAnswers<'_> {
    fn sample(&self, measure: usize) -> Option<&Sample> {
        match self.lookups.get(measure)?.get(self.at)? {
            Lookup::Sample(sample) => Some(sample),
            _ => None,
        }
    }

    /// Returns a number and its age. Fails with the name of the series if the page lacks it, and
    /// without one if there is no page.
    fn number(&self, measure: usize) -> Result<(f64, Duration), Option<String>> {
        match self.sample(measure) {
            Some(Sample { value: Value::Number(number), age, .. }) => Ok((*number, *age)),
            _ => Err(self.lacking(measure)),
        }
    }

    fn buckets(&self, measure: usize) -> Result<&Buckets, Option<String>> {
        match self.sample(measure) {
            Some(Sample { value: Value::Buckets(buckets), .. }) => Ok(buckets),
            _ => Err(self.lacking(measure)),
        }
    }

    /// Returns the name of a series that the page answers without.
    fn lacking(&self, measure: usize) -> Option<String> {
        let lookup = self.lookups.get(measure)?.get(self.at)?;
        let is_lacking = matches!(
            lookup,
            Lookup::NoNumber(_)
                | Lookup::NoSeries
                | Lookup::Contradicted(_)
                | Lookup::OtherEngine { .. }
        );
        is_lacking.then(|| self.measures[measure].recipe.series_name().to_owned())
    }

    fn page(&self, policy: &SloPolicy, now: Monotonic) -> Result<ReadPage, Option<String>> {
        // The numbers are those of `SloMeasures::all`.
        let (running, age) = self.number(0)?;
        let number = |measure| self.number(measure).map(|(number, _)| number);
        let (waiting, kv_usage, kv_capacity) = (number(1)?, number(2)?, number(3)?);
        let queue_time = self.buckets(11)?;
        let per_token = self.buckets(12)?;
        let (promise, role) = (&policy.promise, policy.role);
        let queue = QUEUE_SHARE * promise.time_to_first_token;
        let late = above(queue_time, queue).zip(above(per_token, promise.inter_token_latency));
        let shortest = |target, buckets: &Buckets, limit: f64, share: f64| {
            let first = buckets.first_bound().filter(|first| *first > limit * (1.0 + 1e-9));
            first.map(|first| (target, first / share))
        };
        let not_measurable =
            shortest(PromiseTarget::TimeToFirstToken, queue_time, queue, QUEUE_SHARE).or_else(
                || {
                    let limit = promise.inter_token_latency;
                    shortest(PromiseTarget::InterTokenLatency, per_token, limit, 1.0)
                        .filter(|_| role != SloRole::Prefill)
                },
            );
        let engines = number(4).unwrap_or(1.0).round().max(1.0);
        let each = |number: f64| number / engines;
        let kv_capacity = each(kv_capacity);
        let sample = EngineSample {
            at: now.0.saturating_sub(age).as_secs_f64(),
            waiting: each(waiting),
            running: each(running),
            kv_tokens: Some(kv_usage * kv_capacity),
            kv_capacity: Some(kv_capacity),
            steps: each(number(5)?),
            prompt_tokens: each(number(6)?),
            cached_tokens: each(number(7).unwrap_or_default()),
            generated_tokens: each(number(8)?),
            first_tokens: each(number(9)?),
            finished: each(number(10)?),
            late: late.map(|(queued, slow)| each(queued + slow)),
        };
        let page = Page { sample, engines: engines as u32 };
        Ok(ReadPage { page, has_several_servers: number(15).is_err(), not_measurable })
    }

    /// Adds the events of the last minute.
    fn add_recent(&self, recent: &mut [Buckets; 2]) {
        for (sum, measure) in recent.iter_mut().zip([13, 14]) {
            if let Ok(buckets) = self.buckets(measure) {
                sum.add(buckets);
            }
        }
    }
}

/// Returns the number of events above the highest bound that is not above a limit; `None` without
/// such a bound.
fn above(buckets: &Buckets, limit: f64) -> Option<f64> {
    let bounds = buckets.bounds().iter().zip(buckets.counts());
    let within = bounds.take_while(|(bound, _)| **bound <= limit * (1.0 + 1e-9)).last();
    within.map(|(_, within)| buckets.events() - within)
}
