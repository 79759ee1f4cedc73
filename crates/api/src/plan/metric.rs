//! `spec.metrics` → what is asked for, and what it is compared with.

use std::time::Duration;

use llm_autoscaler_core::{MetricKind, MetricPolicy, Milli, Target};
use llm_autoscaler_engines::{Engine, Kind, Measure, Recipe, Signal, SignalDef};

use super::SpecError;
use crate::{
    EngineName, MetricSpec, Quantity, SeriesSelector, SeriesSpec, SeriesType, SignalName,
    TargetType, quantity,
};

/// The window of a rate or a percentile where a spec gives none.
const WINDOW: Duration = Duration::from_mins(1);
/// The percentile of a histogram where a spec gives none.
const PERCENTILE: i32 = 90;

/// How one metric is asked for and called.
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
    /// Whether the target is of type `Value`.
    pub is_value: bool,
    /// What is asked for.
    pub asked: Asked,
}

impl MetricPlan {
    /// The series that it is read from, where it is found under another of its names: `alternative` is as in
    /// [`Extract`](llm_autoscaler_engines::exposition::Extract).
    pub fn series_as_found(&self, alternative: Option<(usize, usize)>) -> String {
        match (&self.asked, alternative) {
            (Asked::Measure { measure, quantile, .. }, Some(_)) => {
                with_quantile(measure.recipe.name_as_found(alternative), *quantile)
            }
            _ => self.series.clone(),
        }
    }
}

fn with_quantile(series: String, quantile: Option<f64>) -> String {
    match quantile {
        Some(quantile) => format!("{series} p{}", (quantile * 100.0).round()),
        None => series,
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A quantity of a pod's page.
    Measure {
        /// The quantity and its window.
        measure: Measure,
        /// Which share of a histogram's events must not exceed the value: 0 to 1.
        quantile: Option<f64>,
        /// The signal that it is, where it is one.
        signal: Option<&'static SignalDef>,
    },
    /// PromQL.
    Query(String),
}

/// Understands one metric.
pub(super) fn metric(
    engine: EngineName,
    spec: &MetricSpec,
    field: &str,
) -> Result<(MetricPlan, MetricPolicy), SpecError> {
    let wrong = |name: &str, problem: String| SpecError::new(format!("{field}.{name}"), problem);
    let (short, recipe, signal) = match (spec.signal, &spec.series, &spec.query) {
        (Some(signal), None, None) => {
            let def = signal_def(engine, signal).map_err(|problem| wrong("signal", problem))?;
            let recipe = def.recipe(engine.engine().profile().repeats);
            (def.signal.info().short.to_owned(), recipe, Some(def))
        }
        (None, Some(series), None) => (series.name.clone(), recipe(series, spec.percentile), None),
        (None, None, Some(query)) => return query_metric(spec, query, field),
        _ => return Err(SpecError::new(field, "give exactly one of signal, series and query")),
    };
    let kind = recipe.kind();
    if kind != Kind::Histogram && spec.percentile.is_some() {
        let problem =
            format!("{} is a {}, which has no percentiles", recipe.series_name(), kind.name());
        return Err(wrong("percentile", problem));
    }
    let window = spec
        .window_seconds
        .map(|seconds| Duration::from_secs(u64::from(seconds.max(1).unsigned_abs())));
    let window = window.unwrap_or(if kind == Kind::Gauge { Duration::ZERO } else { WINDOW });
    let percentile = (kind == Kind::Histogram).then(|| spec.percentile.unwrap_or(PERCENTILE));
    let (target, shown) = target(spec, kind.target(), recipe.series_name(), field)?;
    let quantile = percentile.map(|percentile| f64::from(percentile) / 100.0);
    let series = with_quantile(recipe.series_name().to_owned(), quantile);
    let policy = MetricPolicy {
        kind: if quantile.is_some() { MetricKind::Pooled } else { MetricKind::PerReplica },
        target,
    };
    let asked = Asked::Measure { measure: Measure { recipe, window }, quantile, signal };
    let name = name(spec, &short);
    let is_value = quantile.is_some();
    Ok((MetricPlan { name, series, short, target: shown, is_value, asked }, policy))
}

fn query_metric(
    spec: &MetricSpec,
    query: &str,
    field: &str,
) -> Result<(MetricPlan, MetricPolicy), SpecError> {
    if spec.name.is_empty() {
        let problem = "a metric with a query needs a name: status and events call it by that";
        return Err(SpecError::new(format!("{field}.name"), problem));
    }
    let type_ = match spec.target.type_ {
        TargetType::AverageValue => llm_autoscaler_engines::TargetType::AverageValue,
        TargetType::Value => llm_autoscaler_engines::TargetType::Value,
    };
    let (target, shown) = target(spec, type_, "a query", field)?;
    let policy = MetricPolicy { kind: MetricKind::External, target };
    let name = spec.name.clone();
    let asked = Asked::Query(query.to_owned());
    let is_value = spec.target.type_ == TargetType::Value;
    Ok((
        MetricPlan {
            series: name.clone(),
            short: name.clone(),
            name,
            target: shown,
            is_value,
            asked,
        },
        policy,
    ))
}

fn signal_def(engine: EngineName, signal: SignalName) -> Result<&'static SignalDef, String> {
    let profile = engine.engine().profile();
    profile.signal(signal.signal()).ok_or_else(|| {
        let name = signal.signal().info().name;
        let others =
            Engine::ALL.iter().filter(|other| other.profile().signal(signal.signal()).is_some());
        let others: Vec<&str> = others.map(|other| other.profile().name).collect();
        format!("engine {} has no signal {name} ({} has)", profile.name, others.join(", "))
    })
}

fn recipe(series: &SeriesSpec, percentile: Option<i32>) -> Recipe {
    let kind = match series.type_ {
        Some(SeriesType::Counter) => Kind::Counter,
        Some(SeriesType::Histogram) => Kind::Histogram,
        None if percentile.is_some() => Kind::Histogram,
        None if series.name.ends_with("_total") => Kind::Counter,
        Some(SeriesType::Gauge) | None => Kind::Gauge,
    };
    sum_of(kind, &series.name, series.selector.as_ref())
}

/// The sum of all series of a name that a selector chooses.
pub(super) fn sum_of(kind: Kind, name: &str, selector: Option<&SeriesSelector>) -> Recipe {
    Recipe::series(
        kind,
        name,
        selector.into_iter().flat_map(|selector| selector.match_labels.clone()),
    )
}

fn name(spec: &MetricSpec, short: &str) -> String {
    match (&*spec.name, spec.signal) {
        ("", Some(signal)) => signal.signal().info().name.to_owned(),
        ("", None) => short.to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// The target, which must be of the type that makes sense; and how it is shown.
fn target(
    spec: &MetricSpec,
    type_: llm_autoscaler_engines::TargetType,
    what: &str,
    field: &str,
) -> Result<(Target, String), SpecError> {
    use llm_autoscaler_engines::TargetType as Engines;
    let given = &spec.target;
    let (value, name) = match (given.type_, type_, &given.average_value, &given.value) {
        (TargetType::AverageValue, Engines::AverageValue, Some(value), None) => {
            (value, "averageValue")
        }
        (TargetType::Value, Engines::Value, None, Some(value)) => (value, "value"),
        (given, allowed, ..) if (given == TargetType::Value) != (allowed == Engines::Value) => {
            let problem = format!("{what} takes a target of type {allowed}");
            return Err(SpecError::new(format!("{field}.target.type"), problem));
        }
        _ => {
            let problem = "give averageValue with type AverageValue, value with type Value, and not the other";
            return Err(SpecError::new(format!("{field}.target"), problem));
        }
    };
    let milli = positive(value, &format!("{field}.target.{name}"))?;
    let target = match type_ {
        Engines::AverageValue => Target::AverageValue(milli),
        Engines::Value => Target::Value(milli),
    };
    Ok((target, quantity::show(milli)))
}

/// A quantity that has to be greater than 0.
pub(super) fn positive(quantity: &Quantity, field: &str) -> Result<Milli, SpecError> {
    let milli = quantity.milli().map_err(|error| SpecError::new(field, error.to_string()))?;
    if milli <= Milli(0) {
        return Err(SpecError::new(field, format!("{quantity} is not greater than 0")));
    }
    Ok(milli)
}

impl SignalName {
    /// The signal in the engines' terms.
    pub fn signal(self) -> Signal {
        match self {
            Self::WaitingRequests => Signal::WaitingRequests,
            Self::RunningRequests => Signal::RunningRequests,
            Self::InFlightRequests => Signal::InFlightRequests,
            Self::KVCacheUsage => Signal::KvCacheUsage,
            Self::RequestRate => Signal::RequestRate,
            Self::PromptTokenRate => Signal::PromptTokenRate,
            Self::GenerationTokenRate => Signal::GenerationTokenRate,
            Self::PreemptionRate => Signal::PreemptionRate,
            Self::TimeToFirstToken => Signal::TimeToFirstToken,
            Self::InterTokenLatency => Signal::InterTokenLatency,
            Self::QueueTime => Signal::QueueTime,
            Self::RequestLatency => Signal::RequestLatency,
            Self::PrefillHandoverRequests => Signal::PrefillHandoverRequests,
            Self::DecodeHandoverRequests => Signal::DecodeHandoverRequests,
        }
    }
}
