//! Spec → configuration: parse, don't validate. After this, no text of the spec is left to misread.

mod access;
mod advice;
mod behavior;
mod drain;
mod made;
mod metric;
mod replica;
mod role;
mod safety;
mod slo;
mod source;
mod vitals;

use std::sync::{Arc, LazyLock};

use chrono::TimeDelta;
use llm_autoscaler_core::{
    Fallback, MetricPolicy, Mode, Policy, Profile, Settings, ToZero, slo::SloRole,
};
use llm_autoscaler_engines::{Engine, Measure};

pub use access::{Access, DataKind, ValueRef};
pub use advice::Advice;
pub use drain::DrainConfig;
pub use metric::{Asked, MetricConfig, SourceMeasure};
pub use role::{ParsedRole, ParsedSpec, parse_spec};
pub use slo::{GatewayQueue, SloConfig, SloMeasures};
pub use source::{PrometheusConfig, ScrapeConfig, SourceConfig};
pub use vitals::{VitalMeasures, WEDGED_AFTER};

use crate::{
    spec::{
        FallbackSpec, LLMAutoscalerSpec, PodMonitorSpec, ScaleTargetRef, ScaleToZeroSpec,
        ScrapeSpec,
    },
    workloads::Grouping,
};

/// A parsed spec of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetConfig {
    /// The object to scale.
    pub target: ScaleTargetRef,
    /// The choice whether decisions are carried out.
    pub mode: Mode,
    /// The policy that decides.
    pub policy: Policy,
    /// The way to read and name each metric of the policy, in the same order.
    pub metrics: Vec<MetricConfig>,
    /// The sources of samples, in the order of failover.
    pub sources: Vec<SourceConfig>,
    /// The engine that runs in the target's pods.
    pub engine: Engine,
    /// The rules that group pods into replicas. The first one with a label that the pod has
    /// applies. A pod with none of the labels is a replica by itself.
    pub groupings: Arc<[Grouping]>,
    /// The time for which a size that another writer sets is left as it is.
    pub respect: TimeDelta,
    /// The way to drain replicas, if the spec asks for it.
    pub drain: Option<DrainConfig>,
    /// The numbers of the engine's processes that are awake, and that sleep, if it exposes them.
    /// Absent under a profile that does not ask.
    pub sleep: Option<Arc<[Measure; 2]>>,
    /// The numbers that tell if the engine makes progress, if it exposes them. Absent under a
    /// profile that does not ask.
    pub vitals: Option<Arc<VitalMeasures>>,
    /// The promise to the users, if the spec has one. The first metric stands in for it then.
    pub slo: Option<Box<SloConfig>>,
    /// The number of GPUs of one replica, if the spec has it.
    pub gpus_per_replica: Option<u32>,
    /// The target's PodMonitor. That of specs that say nothing of it is one.
    pub pod_monitor: Arc<PodMonitorConfig>,
    /// Hints about the spec, although it can be carried out.
    pub advice: Vec<Advice>,
}

impl TargetConfig {
    /// Returns true if a source is the first of the spec, or the first that has one of the metrics,
    /// or has the queue of a promise. Such a source is always sampled.
    pub fn is_first_source(&self, source: usize) -> bool {
        let first = |metric: &MetricConfig| metric.by_source.iter().position(Option::is_some);
        source == 0
            || self.metrics.iter().any(|metric| first(metric) == Some(source))
            || self.queue_at(source).is_some()
    }

    /// Returns the requests that the gateway of a source holds, if the promise counts them.
    pub fn queue_at(&self, source: usize) -> Option<&Measure> {
        let queue = self.slo.as_ref()?.queue.as_ref()?;
        (queue.source == source).then_some(&queue.measure)
    }

    /// Returns the configuration that reads one quantity of the target's own pods from the same
    /// sources, and nothing of what a decision needs. Sources about other pods do not have it.
    #[must_use]
    pub fn reading(&self, measure: &Measure) -> Self {
        let read = || SourceMeasure { measure: measure.clone(), signal: None };
        let is_of_pods =
            |source: &SourceConfig| !source.is_of_other_pods() && source.gateway().is_none();
        let series = measure.recipe.series_name().to_owned();
        let metric = MetricConfig {
            name: series.clone(),
            short: series.clone(),
            series,
            target: String::new(),
            is_value: false,
            asked: Asked::Measure { measure: measure.clone(), quantile: None, signal: None },
            by_source: self.sources.iter().map(|it| is_of_pods(it).then(read)).collect(),
        };
        let (metrics, advice) = (vec![metric], Vec::new());
        Self { metrics, drain: None, sleep: None, vitals: None, advice, ..self.clone() }
    }
}

/// The PodMonitor of one target, as the spec asks for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodMonitorConfig {
    /// Its mode, labels and interval.
    pub spec: PodMonitorSpec,
    /// The first scrape source: its path, scheme, credentials and pods are the PodMonitor's.
    pub scrape: ScrapeSpec,
}

impl PodMonitorConfig {
    fn shared(self) -> Arc<Self> {
        static USUAL: LazyLock<Arc<PodMonitorConfig>> = LazyLock::new(Arc::default);
        if self == **USUAL { USUAL.clone() } else { Arc::new(self) }
    }
}

/// A spec that cannot be carried out, because of one field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct SpecError {
    /// The field's path below `spec`.
    pub field: String,
    /// The problem of the field, and what to do.
    pub problem: String,
}

impl SpecError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Parses a spec that has one target; [`parse_spec`] parses any.
///
/// # Errors
/// Names the first field that cannot be carried out. The API server refuses most of them before;
/// what is left is what CEL cannot express, and objects that are older than a check.
pub fn parse_target(spec: &LLMAutoscalerSpec, profile: Profile) -> Result<TargetConfig, SpecError> {
    parse_part(spec, SloRole::Both, profile)
}

/// Parses a spec that has one target, which does a part of each request.
fn parse_part(
    spec: &LLMAutoscalerSpec,
    part: SloRole,
    profile: Profile,
) -> Result<TargetConfig, SpecError> {
    if spec.min_replicas > spec.max_replicas {
        let (min, max) = (spec.min_replicas, spec.max_replicas);
        return Err(SpecError::new(
            "minReplicas",
            format!("{min} is greater than maxReplicas {max}: lower it, or raise maxReplicas"),
        ));
    }
    if (spec.min_replicas == 0) != spec.scale_to_zero.is_some() {
        let problem =
            "it requires minReplicas 0, and minReplicas 0 requires it: set both or neither";
        return Err(SpecError::new("scaleToZero", problem));
    }
    let Some(target) = spec.scale_target_ref.clone() else {
        return Err(SpecError::new("scaleTargetRef", "it is missing: name the object to scale"));
    };
    safety::check_target(&target)?;
    let sources = source::sources(spec)?;
    let (metrics, targets) = metrics(spec, &sources)?;
    check_queries(&metrics, &sources)?;
    let slo = spec.slo.as_ref().map(|slo| slo::slo(slo, part, spec, &sources, profile));
    let slo = slo.transpose()?.map(Box::new);
    let policy = Policy {
        min_replicas: spec.min_replicas,
        max_replicas: spec.max_replicas,
        metrics: targets,
        tolerance: behavior::tolerances(spec.behavior.as_ref())?,
        behavior: spec.behavior.as_ref().map(behavior::behavior),
        to_zero: spec.scale_to_zero.as_ref().map(to_zero),
        fallback: spec.fallback.as_ref().map(fallback),
        profile,
        settings: Settings::HPA,
    };
    let mut advice = advice::advice(&metrics);
    advice.extend(advice::of_shares(&metrics, &policy));
    advice.extend(advice::of_unfit_series(&metrics));
    if spec.scale_to_zero.is_some() {
        advice.extend(advice::of_zero(&metrics, &sources));
    }
    let groupings = replica::groupings(spec.replica_pods.as_ref())?;
    let respect = spec.manual_changes.as_ref().map_or(0, |changes| changes.respect_seconds);
    let respect = TimeDelta::seconds(respect.into());
    let engine = spec.engine.0;
    let drain = spec.drain.as_ref().map(|drain| drain::drain(drain, engine)).transpose()?;
    let pod_monitor = PodMonitorConfig {
        spec: spec.pod_monitor.clone().unwrap_or_default(),
        scrape: spec.scrape(),
    };
    let pod_monitor = pod_monitor.shared();
    Ok(TargetConfig {
        target,
        mode: spec.mode.core(),
        policy,
        metrics,
        sources,
        engine,
        groupings,
        respect,
        drain,
        sleep: vitals::sleep(engine, profile),
        vitals: vitals::vitals(engine, profile),
        slo,
        gpus_per_replica: spec.gpus_per_replica.and_then(|gpus| u32::try_from(gpus).ok()),
        pod_monitor,
        advice,
    })
}

/// Parses the metrics: how to read each, and what the policy compares it with.
fn metrics(
    spec: &LLMAutoscalerSpec,
    sources: &[SourceConfig],
) -> Result<(Vec<MetricConfig>, Vec<MetricPolicy>), SpecError> {
    let count = spec.metrics.len() + usize::from(spec.slo.is_some());
    let mut metrics: Vec<MetricConfig> = Vec::with_capacity(count);
    let mut targets = Vec::with_capacity(count);
    if let Some(slo) = &spec.slo {
        let (config, target) = slo::stand_in(slo, spec.engine.0, sources)?;
        metrics.push(config);
        targets.push(target);
    }
    for (index, metric) in spec.metrics.iter().enumerate() {
        let (config, target) =
            metric::metric(spec.engine.0, sources, metric, &format!("metrics[{index}]"))?;
        if metrics.iter().any(|other| other.name == config.name) {
            let problem =
                format!("two metrics are called {:?}: give each a different name", config.name);
            return Err(SpecError::new(format!("metrics[{index}].name"), problem));
        }
        metrics.push(config);
        targets.push(target);
    }
    Ok((metrics, targets))
}

/// Checks that there is a Prometheus server for every query.
fn check_queries(metrics: &[MetricConfig], sources: &[SourceConfig]) -> Result<(), SpecError> {
    if sources.iter().any(|source| matches!(source, SourceConfig::Prometheus(_))) {
        return Ok(());
    }
    let query = metrics.iter().position(|metric| matches!(metric.asked, Asked::Query(_)));
    query.map_or(Ok(()), |index| {
        let problem =
            format!("metrics[{index}] is a query: add a source with prometheus to answer it");
        Err(SpecError::new("sources", problem))
    })
}

fn to_zero(spec: &ScaleToZeroSpec) -> ToZero {
    ToZero { after: TimeDelta::seconds(spec.after_seconds.into()) }
}

fn fallback(spec: &FallbackSpec) -> Fallback {
    Fallback { after: TimeDelta::seconds(spec.after_seconds.into()), replicas: spec.replicas }
}
