//! Spec → plan: parse, don't validate. What the rest of the program works with has no text left to misread.

use std::time::Duration;

use chrono::TimeDelta;
use llm_autoscaler_core::{
    Amount, Behavior, MetricKind, MetricPolicy, Milli, Policy, Profile, RatePolicy, Rules, Select, Settings,
    Target, Tolerances,
};
use llm_autoscaler_engines::{Engine, Recipe, Signal};

use crate::{
    BehaviorSpec, EngineName, LLMAutoscalerSpec, MetricSpec, PolicySpec, PolicyType, Port, Quantity,
    QuantityError, RulesSpec, ScrapeSpec, SelectPolicy, SignalName, quantity,
};

/// The HPA's tolerance where a spec gives none (`--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;

/// A spec, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the decisions are made by.
    pub policy: Policy,
    /// How each metric of the policy is read and called, in the same order.
    pub metrics: Vec<MetricPlan>,
    /// How the pods are read.
    pub scrape: ScrapePlan,
}

/// How one metric is read and called.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPlan {
    /// Its key in spec and status.
    pub name: String,
    /// Its name in messages: the series, as in the HPA's.
    pub series: String,
    /// Its name in the column TARGETS.
    pub short: String,
    /// Its target as it is shown.
    pub target: String,
    /// How one number comes out of a pod's page.
    pub recipe: Recipe,
}

/// How pods are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapePlan {
    /// The container port, by name or number.
    pub port: Port,
    /// The path of the page.
    pub path: String,
    /// Whether over TLS.
    pub tls: bool,
    /// How often.
    pub interval: Duration,
    /// After how long a read is given up.
    pub timeout: Duration,
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

/// Understands a spec.
///
/// # Errors
/// Names the first field that makes no sense. The API server's own checks have refused most of them before;
/// these are for what it cannot check, and for objects that are older than a check.
pub fn plan(spec: &LLMAutoscalerSpec, profile: Profile) -> Result<Plan, SpecError> {
    if spec.min_replicas > spec.max_replicas {
        let (min, max) = (spec.min_replicas, spec.max_replicas);
        return Err(SpecError::new("minReplicas", format!("{min} is greater than maxReplicas {max}")));
    }
    let mut metrics = Vec::with_capacity(spec.metrics.len());
    let mut targets = Vec::with_capacity(spec.metrics.len());
    for (index, metric) in spec.metrics.iter().enumerate() {
        let (plan, target) = metric_plan(spec.engine, metric, &format!("metrics[{index}]"))?;
        if metrics.iter().any(|other: &MetricPlan| other.name == plan.name) {
            let problem = format!("two metrics are called {:?}: give each a name of its own", plan.name);
            return Err(SpecError::new(format!("metrics[{index}].name"), problem));
        }
        metrics.push(plan);
        targets.push(MetricPolicy { kind: MetricKind::PerReplica, target: Target::AverageValue(target) });
    }
    let policy = Policy {
        min_replicas: spec.min_replicas,
        max_replicas: spec.max_replicas,
        metrics: targets,
        tolerance: tolerances(spec.behavior.as_ref())?,
        behavior: spec.behavior.as_ref().map(behavior),
        profile,
        settings: Settings::HPA,
    };
    Ok(Plan { policy, metrics, scrape: scrape_plan(&spec.scrape()) })
}

fn metric_plan(
    engine: EngineName,
    metric: &MetricSpec,
    field: &str,
) -> Result<(MetricPlan, Milli), SpecError> {
    let (short, recipe) = match (metric.signal, &metric.series) {
        (Some(signal), None) => {
            let profile = engine.engine().profile();
            let def = profile.signal(signal.signal()).ok_or_else(|| {
                let problem = format!("engine {} has no signal {signal:?}", profile.name);
                SpecError::new(format!("{field}.signal"), problem)
            })?;
            (def.short.to_owned(), def.recipe())
        }
        (None, Some(series)) => {
            let labels = series.selector.iter().flat_map(|selector| selector.match_labels.clone());
            (series.name.clone(), Recipe::series(&series.name, labels))
        }
        _ => return Err(SpecError::new(field, "give exactly one of signal and series")),
    };
    let name = match (&*metric.name, metric.signal) {
        ("", Some(signal)) => format!("{signal:?}"),
        ("", None) => short.clone(),
        (name, _) => name.to_owned(),
    };
    let average = milli(&metric.target.average_value, &format!("{field}.target.averageValue"))?;
    if average <= Milli(0) {
        let problem = format!("{} is not greater than 0", metric.target.average_value);
        return Err(SpecError::new(format!("{field}.target.averageValue"), problem));
    }
    let target = quantity::show(average);
    let series = recipe.series_name().to_owned();
    Ok((MetricPlan { name, series, short, target, recipe }, average))
}

fn milli(quantity: &Quantity, field: &str) -> Result<Milli, SpecError> {
    quantity.milli().map_err(|error| SpecError::new(field, error.to_string()))
}

fn tolerances(behavior: Option<&BehaviorSpec>) -> Result<Tolerances, SpecError> {
    let of = |rules: Option<&RulesSpec>, direction: &str| match rules
        .and_then(|rules| rules.tolerance.as_ref())
    {
        None => Ok(TOLERANCE),
        Some(text) => {
            let field = format!("behavior.{direction}.tolerance");
            let wrong = |error: QuantityError| SpecError::new(&field, error.to_string());
            let value = text.tolerance().map_err(wrong)?;
            if value < 0.0 { Err(SpecError::new(&field, format!("{text} is negative"))) } else { Ok(value) }
        }
    };
    Ok(Tolerances {
        down: of(behavior.and_then(|b| b.scale_down.as_ref()), "scaleDown")?,
        up: of(behavior.and_then(|b| b.scale_up.as_ref()), "scaleUp")?,
    })
}

fn behavior(spec: &BehaviorSpec) -> Behavior {
    let window = Settings::HPA.downscale_stabilization;
    Behavior {
        scale_up: rules(spec.scale_up.as_ref(), Rules::default_scale_up()),
        scale_down: rules(spec.scale_down.as_ref(), Rules::default_scale_down(window)),
    }
}

/// What is given replaces the default field by field, a list of policies as a whole.
fn rules(spec: Option<&RulesSpec>, default: Rules) -> Rules {
    let Some(RulesSpec { stabilization_window_seconds, select_policy, policies, tolerance: _ }) = spec else {
        return default;
    };
    Rules {
        window: stabilization_window_seconds.map_or(default.window, seconds),
        select: select_policy.map_or(default.select, |select| match select {
            SelectPolicy::Max => Select::Max,
            SelectPolicy::Min => Select::Min,
            SelectPolicy::Disabled => Select::Disabled,
        }),
        policies: policies.as_ref().map_or(default.policies, |list| list.iter().map(rate_policy).collect()),
    }
}

fn rate_policy(spec: &PolicySpec) -> RatePolicy {
    let amount = match spec.type_ {
        PolicyType::Pods => Amount::Replicas(spec.value),
        PolicyType::Percent => Amount::Percent(spec.value),
    };
    RatePolicy { amount, period: seconds(spec.period_seconds) }
}

fn seconds(seconds: i32) -> TimeDelta {
    TimeDelta::seconds(seconds.into())
}

fn scrape_plan(spec: &ScrapeSpec) -> ScrapePlan {
    let positive = |seconds: i32| Duration::from_secs(u64::from(seconds.max(1).unsigned_abs()));
    ScrapePlan {
        port: spec.port.clone(),
        path: spec.path.clone(),
        tls: spec.scheme == crate::Scheme::HTTPS,
        interval: positive(spec.interval_seconds),
        timeout: positive(spec.timeout_seconds),
    }
}

impl EngineName {
    /// The engine's knowledge.
    pub fn engine(self) -> Engine {
        match self {
            Self::VLLM => Engine::Vllm,
            Self::Custom => Engine::Custom,
        }
    }
}

impl SignalName {
    /// The signal in the engines' terms.
    pub fn signal(self) -> Signal {
        match self {
            Self::WaitingRequests => Signal::WaitingRequests,
            Self::RunningRequests => Signal::RunningRequests,
            Self::InFlightRequests => Signal::InFlightRequests,
            Self::KVCacheUsage => Signal::KvCacheUsage,
        }
    }
}
