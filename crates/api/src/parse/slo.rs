//! `spec.slo` → the policy of the SLO mode, the measures that it needs, and the metric that stands
//! in for it.

use std::time::Duration;

use llm_autoscaler_core::{
    MetricPolicy, Profile, Settings,
    slo::{Promise, SloPolicy, SloRole},
};
use llm_autoscaler_engines::{Engine, Measure, Recipe, Signal, TargetType};

use super::{MetricConfig, SourceConfig, SpecError, metric};
use crate::{
    quantity::Quantity,
    spec::{LLMAutoscalerSpec, MetricSpec, MetricTarget, Phase, SloSpec},
};

/// The name of the metric that stands in, in the status.
const NAME: &str = "slo";
/// The time of which the attained latencies are.
const WINDOW: Duration = Duration::from_mins(1);

/// The promise of a spec, and how it is observed.
#[derive(Clone, Debug, PartialEq)]
pub struct SloConfig {
    /// The policy.
    pub policy: SloPolicy,
    /// The share of the requests that the promise is for, such as 0.99.
    pub quantile: f64,
    /// The measures of a replica's page; `None` if the engine lacks series that are needed.
    pub measures: Option<SloMeasures>,
    /// The queue of a gateway before the replicas, if a source has one.
    pub queue: Option<GatewayQueue>,
}

/// The requests that a gateway holds and no replica has.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayQueue {
    /// The place of the gateway's source.
    pub source: usize,
    /// The requests.
    pub measure: Measure,
}

impl GatewayQueue {
    /// Returns the queue of the first gateway that has one. Requests that are decoded have left it.
    fn of(sources: &[SourceConfig], role: SloRole) -> Option<Self> {
        let mut sources = sources.iter().enumerate().filter(|_| role != SloRole::Decode);
        sources.find_map(|(source, config)| {
            let recipe = config.gateway()?.profile().table.recipe(Signal::WaitingRequests)?;
            Some(Self { source, measure: Measure { recipe, window: Duration::ZERO } })
        })
    }
}

/// The measures of a replica's page by which its engine is learned. All of them but the recent ones
/// are what the page has at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SloMeasures {
    /// The running requests.
    pub running: Measure,
    /// The waiting requests.
    pub waiting: Measure,
    /// The share of the KV cache that is in use.
    pub kv_usage: Measure,
    /// The tokens that the KV cache holds.
    pub kv_capacity: Measure,
    /// The number of engines on the page.
    pub engines: Measure,
    /// The steps.
    pub steps: Measure,
    /// The prompt tokens of requests with a first token.
    pub prompt_tokens: Measure,
    /// Those of them that a prefix cache had.
    pub cached_tokens: Measure,
    /// The generated tokens.
    pub generated_tokens: Measure,
    /// The requests with a first token.
    pub first_tokens: Measure,
    /// The requests that ended.
    pub finished: Measure,
    /// The times in the queue: a histogram.
    pub queue_time: Measure,
    /// The mean time between two tokens of each request: a histogram.
    pub time_per_token: Measure,
    /// The times to the first token in the last minute.
    pub recent_first_token: Measure,
    /// The mean time between two tokens of each request of the last minute.
    pub recent_per_token: Measure,
    /// A number that only the page of a single API server has.
    pub single_server: Measure,
}

impl SloMeasures {
    /// The number of measures.
    pub const COUNT: usize = 16;

    /// Returns all measures, in the order of the fields.
    pub fn all(&self) -> [&Measure; Self::COUNT] {
        [
            &self.running,
            &self.waiting,
            &self.kv_usage,
            &self.kv_capacity,
            &self.engines,
            &self.steps,
            &self.prompt_tokens,
            &self.cached_tokens,
            &self.generated_tokens,
            &self.first_tokens,
            &self.finished,
            &self.queue_time,
            &self.time_per_token,
            &self.recent_first_token,
            &self.recent_per_token,
            &self.single_server,
        ]
    }

    fn of(engine: Engine) -> Option<Self> {
        let profile = engine.profile();
        let step = profile.step.ok()?.recipes();
        let latest = |recipe| Measure { recipe, window: Duration::ZERO };
        let recent = |recipe| Measure { recipe, window: WINDOW };
        let signal = |signal| profile.recipe(signal);
        let first_token: Recipe = signal(Signal::TimeToFirstToken)?;
        Some(Self {
            running: latest(signal(Signal::RunningRequests)?),
            waiting: latest(signal(Signal::WaitingRequests)?),
            kv_usage: latest(signal(Signal::KVCacheUsage)?),
            kv_capacity: latest(step.kv_capacity),
            engines: latest(step.engines),
            steps: latest(step.steps),
            prompt_tokens: latest(step.prompt_tokens),
            cached_tokens: latest(step.cached_tokens),
            generated_tokens: latest(step.generated_tokens),
            first_tokens: latest(step.first_tokens),
            finished: latest(step.finished),
            queue_time: latest(signal(Signal::QueueTime)?),
            time_per_token: latest(step.time_per_token.clone()),
            recent_first_token: recent(first_token),
            recent_per_token: recent(step.time_per_token),
            single_server: latest(step.single_server),
        })
    }
}

/// Returns the part of each request that a phase is.
pub(super) fn role(phase: Phase) -> SloRole {
    match phase {
        Phase::Prefill => SloRole::Prefill,
        Phase::Decode => SloRole::Decode,
    }
}

/// Parses the promise, of which the target keeps the part of a role.
pub(super) fn slo(
    slo: &SloSpec,
    role: SloRole,
    spec: &LLMAutoscalerSpec,
    sources: &[SourceConfig],
    profile: Profile,
) -> Result<SloConfig, SpecError> {
    if profile == Profile::HpaExact {
        let problem = "a HorizontalPodAutoscaler has no such mode, and the operator runs with its \
                       behavior (--profile=hpa-exact): remove slo, or run the operator without it";
        return Err(SpecError::new("slo", problem));
    }
    if !sources.iter().any(SourceConfig::is_of_own_pages) {
        let problem = "slo needs the pages of the target's own pods: add a source with scrape and \
                       without podSelector";
        return Err(SpecError::new("sources", problem));
    }
    let seconds = |milliseconds: i32| f64::from(milliseconds) / 1000.0;
    let promise = Promise {
        time_to_first_token: seconds(slo.time_to_first_token_milliseconds),
        inter_token_latency: seconds(slo.inter_token_latency_milliseconds),
    };
    let (min, max) = (spec.min_replicas.unsigned_abs(), spec.max_replicas.unsigned_abs());
    let policy = SloPolicy {
        late: 1.0 - f64::from(slo.percentile) / 100.0,
        headroom: f64::from(slo.headroom_percent) / 100.0,
        role,
        stabilized: stabilized(spec),
        ..SloPolicy::new(promise, min.max(1), max)
    };
    let measures = SloMeasures::of(spec.engine.0);
    let queue = GatewayQueue::of(sources, role);
    Ok(SloConfig { policy, quantile: f64::from(slo.percentile) / 100.0, measures, queue })
}

/// Returns the part of the window before a scale-down that the decision applies by itself: that of
/// the HPA's default, or all of it where the spec has its own.
fn stabilized(spec: &LLMAutoscalerSpec) -> f64 {
    let rules = spec.behavior.as_ref().and_then(|behavior| behavior.scale_down.as_ref());
    let own = rules.and_then(|rules| rules.stabilization_window_seconds);
    let usual = Settings::HPA.downscale_stabilization.as_seconds_f64();
    if own.is_some() { f64::INFINITY } else { usual }
}

/// Returns the metric that decides while the promise cannot: running and waiting requests.
pub(super) fn stand_in(
    slo: &SloSpec,
    engine: Engine,
    sources: &[SourceConfig],
) -> Result<(MetricConfig, MetricPolicy), SpecError> {
    let spec = MetricSpec {
        name: NAME.to_owned(),
        signal: Some(Signal::InFlightRequests.into()),
        target: MetricTarget {
            type_: TargetType::AverageValue.into(),
            average_value: Some(Quantity(slo.requests_per_replica.to_string())),
            value: None,
        },
        series: None,
        query: None,
        percentile: None,
        window_seconds: None,
    };
    metric::metric(engine, sources, &spec, "slo")
}
