//! The SLO mode of the core, by the pages of the pods.

use std::fmt::Write as _;

use llm_autoscaler_core::slo::{
    EngineSample, Promise as Targets, ServingState, Slo, SloHold, SloObservation, SloPolicy,
    SloReplica, SloSize,
};
use llm_autoscaler_sim::Histogram;

use super::{Autoscaler, Limits, Step, Timing, window::Window};
use crate::{
    score::Promise,
    sight::{PodSight, Reading, Sight},
};

/// The requests for each replica while the SLO mode knows no size: the default of an LLMAutoscaler.
const IN_FLIGHT: f64 = 32.0;
/// The window before a scale-down by requests, in seconds.
const WINDOW: f64 = 300.0;
/// The share of the time to first token from which a time in the queue counts as late: the rest is
/// for the prompt.
const QUEUE_SHARE: f64 = 0.75;

/// The SLO mode.
#[derive(Debug)]
pub(crate) struct SloMode {
    policy: SloPolicy,
    limits: Limits,
    /// The tokens of a KV cache, which vLLM has in `cache_config_info`.
    kv_capacity: f64,
    slo: Slo,
    observation: SloObservation,
    in_flight: Window,
}

impl SloMode {
    pub(crate) fn new(promise: Promise, limits: Limits, kv_tokens: u64) -> Self {
        let promise = Targets {
            time_to_first_token: promise.time_to_first_token,
            inter_token_latency: promise.inter_token_latency,
        };
        Self {
            policy: SloPolicy::new(promise, limits.min, limits.max),
            limits,
            kv_capacity: kv_tokens as f64,
            slo: Slo::default(),
            observation: SloObservation::default(),
            in_flight: Window::new(WINDOW),
        }
    }

    fn replica(&self, pod: &PodSight, now: f64) -> SloReplica {
        let state = match pod {
            pod if pod.is_terminating => ServingState::Terminating,
            pod if pod.is_ready => ServingState::Serving,
            pod if pod.was_ready => ServingState::Unready,
            _ => ServingState::Starting,
        };
        let sample = pod.reading.as_deref().map(|page| self.sample(page));
        SloReplica { id: pod.id, age: now - pod.created_at, state, sample }
    }

    fn sample(&self, page: &Reading) -> EngineSample {
        let Targets { time_to_first_token, inter_token_latency } = self.policy.promise;
        let queued = above(&page.metrics.request_queue_time, QUEUE_SHARE * time_to_first_token);
        let slow = above(&page.time_per_output_token, inter_token_latency);
        EngineSample {
            at: page.at,
            waiting: page.gauges.waiting as f64,
            running: page.gauges.running as f64,
            kv_tokens: Some(page.gauges.kv_usage * self.kv_capacity),
            kv_capacity: Some(self.kv_capacity),
            prompt_tokens: page.metrics.prompt_tokens as f64,
            cached_tokens: page.cached_tokens as f64,
            generated_tokens: page.metrics.generation_tokens as f64,
            first_tokens: page.metrics.time_to_first_token.count() as f64,
            finished: page.metrics.finished() as f64,
            steps: page.steps as f64,
            late: queued.zip(slow).map(|(queued, slow)| queued + slow),
        }
    }

    /// Returns the size by the requests of all replicas, as an LLMAutoscaler with defaults has it.
    fn by_requests(&mut self, sight: &Sight<'_>) -> Option<u32> {
        let in_flight = sight.serving().map(|(_, page)| page.gauges.running + page.gauges.waiting);
        let in_flight = in_flight.sum::<u64>() as f64;
        self.in_flight.push(sight.now, (in_flight / IN_FLIGHT).ceil());
        let size = self.limits.clamp(self.in_flight.max());
        let is_complete = sight.pods.iter().all(|pod| !pod.is_ready || pod.reading.is_some());
        (is_complete || size > sight.requested).then_some(size)
    }
}

/// Returns the number of values above the highest bound that is not above a limit; `None` without
/// such a bound.
fn above(histogram: &Histogram, limit: f64) -> Option<f64> {
    let within = histogram.cumulative().take_while(|(bound, _)| *bound <= limit * (1.0 + 1e-9));
    within.last().map(|(_, within)| (histogram.count() - within) as f64)
}

/// Returns the reason of a size in one line.
fn reason(size: &SloSize) -> String {
    let SloSize { needed, arrivals, trend, headroom, margins, replaced, held, .. } = size;
    let mut text = format!(
        "{needed} needed at {arrivals:.1} requests/s, trend {:.0} %, headroom {:.0} %, margins \
         {:.2} and {:.2}",
        trend * 100.0,
        headroom * 100.0,
        margins.latency,
        margins.utilization,
    );
    if *replaced > 0 {
        let _ = write!(text, ", {replaced} replaced");
    }
    if let Some(burst) = size.burst {
        let _ = write!(
            text,
            "; burst: {:.1} replicas of work, {:.1} expected, {} healthy, {} ordered",
            burst.work, burst.expected, burst.healthy, burst.ordered
        );
    }
    match held {
        Some(SloHold::Window) => text.push_str("; held by the window"),
        Some(SloHold::Samples) => text.push_str("; held for want of samples"),
        Some(SloHold::Turns) => text.push_str("; held after many turns"),
        None => {}
    }
    text
}

impl Autoscaler for SloMode {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 5.0, decide_every: 5.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let now = sight.now;
        let mut observation = std::mem::take(&mut self.observation);
        observation.replicas.clear();
        observation.replicas.extend(sight.pods.iter().map(|pod| self.replica(pod, now)));
        (observation.now, observation.requested) = (now, sight.requested);
        observation.queued = Some(sight.queued as f64);
        let plain = self.by_requests(sight);
        let (size, why) = match self.slo.step(&observation, &self.policy) {
            Ok(size) => (Some(size.replicas), reason(&size)),
            Err(error) => (plain, format!("by requests: {error:?}")),
        };
        self.observation = observation;
        Step { size, why: Some(why), ..Step::default() }
    }
}
