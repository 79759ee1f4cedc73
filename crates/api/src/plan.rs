//! Spec → plan: parse, don't validate. What the rest of the program works with has no text left to misread.

mod advice;
mod behavior;
mod drain;
mod metric;
mod replica;
mod role;
mod source;

use chrono::TimeDelta;
use llm_autoscaler_core::{Fallback, Policy, Profile, Settings, ToZero};
use llm_autoscaler_engines::Engine;

pub use advice::Advice;
pub use drain::DrainPlan;
pub use metric::{Asked, MetricPlan};
pub use role::{Plans, RolePlan, plans};
pub use source::{Access, PrometheusPlan, ScrapePlan, SourcePlan};

use crate::{FallbackSpec, LLMAutoscalerSpec, ScaleTargetRef, ScaleToZeroSpec, dialect::Grouping};

/// A spec of one target, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is scaled.
    pub target: ScaleTargetRef,
    /// What the decisions are made by.
    pub policy: Policy,
    /// How each metric of the policy is asked for and called, in the same order.
    pub metrics: Vec<MetricPlan>,
    /// Where samples come from, in the order of failover.
    pub sources: Vec<SourcePlan>,
    /// The engine that runs in the target's pods.
    pub engine: Engine,
    /// Which pods are one replica: the first of these whose label a pod has; a pod with none of them is one by itself.
    pub groupings: Vec<Grouping>,
    /// For how long a size that somebody else sets is left as it is.
    pub respect: TimeDelta,
    /// How scale-downs drain, where they do.
    pub drain: Option<DrainPlan>,
    /// What a person should know about this spec although nothing is wrong with it.
    pub advice: Vec<Advice>,
}

/// A spec that means nothing, in a field that the API server cannot check.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field}: {problem}")]
pub struct SpecError {
    /// The field's path below `spec`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl SpecError {
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Understands a spec that has one target; [`plans`] is for any.
///
/// # Errors
/// Names the first field that makes no sense. The API server's own checks have refused most of them before;
/// these are for what it cannot check, and for objects that are older than a check.
pub fn plan(spec: &LLMAutoscalerSpec, profile: Profile) -> Result<Plan, SpecError> {
    if spec.min_replicas > spec.max_replicas {
        let (min, max) = (spec.min_replicas, spec.max_replicas);
        return Err(SpecError::new(
            "minReplicas",
            format!("{min} is greater than maxReplicas {max}"),
        ));
    }
    if (spec.min_replicas == 0) != spec.scale_to_zero.is_some() {
        let problem = "minReplicas 0 needs it, and it needs minReplicas 0";
        return Err(SpecError::new("scaleToZero", problem));
    }
    let Some(target) = spec.scale_target_ref.clone() else {
        return Err(SpecError::new("scaleTargetRef", "name the object that is scaled"));
    };
    let mut metrics = Vec::with_capacity(spec.metrics.len());
    let mut targets = Vec::with_capacity(spec.metrics.len());
    for (index, metric) in spec.metrics.iter().enumerate() {
        let (plan, target) = metric::metric(spec.engine.0, metric, &format!("metrics[{index}]"))?;
        if metrics.iter().any(|other: &MetricPlan| other.name == plan.name) {
            let problem =
                format!("two metrics are called {:?}: give each a name of its own", plan.name);
            return Err(SpecError::new(format!("metrics[{index}].name"), problem));
        }
        metrics.push(plan);
        targets.push(target);
    }
    let sources = source::sources(spec)?;
    let asks_prometheus = sources.iter().any(|source| matches!(source, SourcePlan::Prometheus(_)));
    if let Some(index) = metrics.iter().position(|metric| matches!(metric.asked, Asked::Query(_)))
        && !asks_prometheus
    {
        let problem =
            format!("metrics[{index}] is a query, which needs a prometheus among the sources");
        return Err(SpecError::new("sources", problem));
    }
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
    if spec.scale_to_zero.is_some() {
        advice.extend(advice::of_zero(&metrics, &sources));
    }
    let groupings = replica::groupings(spec.replica_pods.as_ref())?;
    let respect = spec.manual_changes.as_ref().map_or(0, |changes| changes.respect_seconds);
    let respect = TimeDelta::seconds(respect.into());
    let engine = spec.engine.0;
    let drain = spec.drain.as_ref().map(|drain| drain::drain(drain, engine));
    Ok(Plan { target, policy, metrics, sources, engine, groupings, respect, drain, advice })
}

fn to_zero(spec: &ScaleToZeroSpec) -> ToZero {
    ToZero { after: TimeDelta::seconds(spec.after_seconds.into()) }
}

fn fallback(spec: &FallbackSpec) -> Fallback {
    Fallback { after: TimeDelta::seconds(spec.after_seconds.into()), replicas: spec.replicas }
}
