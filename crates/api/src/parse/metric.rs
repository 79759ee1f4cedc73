//! `spec.metrics` → the numbers to sample, and the targets that they are compared with.

use std::time::Duration;

use llm_autoscaler_core::{MetricKind, MetricPolicy, Milli, Target};
use llm_autoscaler_engines::{
    Absence, Engine, Kind, LabelRule, Measure, Program, Recipe, Selector, Signal, SignalDef,
    TargetType,
};

use super::{SourceConfig, SpecError, made};
use crate::{
    AbsentSeries, LabelOperator, LabelRequirement, MetricSpec, Quantity, SeriesSelector,
    SeriesSpec, SeriesType, quantity,
};

/// The window of a rate or a percentile, if the spec has none.
const WINDOW: Duration = Duration::from_mins(1);
/// The percentile of a histogram, if the spec has none.
const PERCENTILE: i32 = 90;

/// The configuration of one metric: the source of its number, and its names.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricConfig {
    /// The key in spec and status.
    pub name: String,
    /// The name in messages: the series, as in the HPA's.
    pub series: String,
    /// The name in the column TARGETS.
    pub short: String,
    /// The target as text.
    pub target: String,
    /// True if the target is of type `Value`.
    pub is_value: bool,
    /// The source of the number.
    pub asked: Asked,
    /// For each source of samples, the way in which the metric is read there: `None` if it is not,
    /// because the source's program has no such signal. Empty for a query.
    pub by_source: Vec<Option<SourceMeasure>>,
}

/// The way to read a metric from one source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceMeasure {
    /// The quantity and its window.
    pub measure: Measure,
    /// The signal's definition, if the metric is a signal.
    pub signal: Option<&'static SignalDef>,
}

impl MetricConfig {
    /// Returns the series that the metric is read from in a source, by the name under which it was
    /// found. `alternative` is as in [`Extract`](llm_autoscaler_engines::exposition::Extract).
    pub fn series_as_found(&self, source: usize, alternative: Option<(usize, usize)>) -> String {
        match (&self.asked, self.measure_at(source)) {
            (Asked::Measure { quantile, .. }, Some(measure)) => {
                with_quantile(measure.recipe.name_as_found(alternative), *quantile)
            }
            _ => self.series.clone(),
        }
    }

    /// Returns the measure by which the metric is read from a source; `None` if it is not.
    pub fn measure_at(&self, source: usize) -> Option<&Measure> {
        match (self.by_source.get(source), &self.asked) {
            (Some(read), _) => read.as_ref().map(|read| &read.measure),
            (None, Asked::Measure { measure, .. }) => Some(measure),
            (None, Asked::Query(_)) => None,
        }
    }

    /// Returns the definition of the signal that the metric is in a source.
    pub fn signal_at(&self, source: usize) -> Option<&'static SignalDef> {
        match (self.by_source.get(source), &self.asked) {
            (Some(read), _) => read.as_ref().and_then(|read| read.signal),
            (None, Asked::Measure { signal, .. }) => *signal,
            (None, Asked::Query(_)) => None,
        }
    }
}

fn with_quantile(series: String, quantile: Option<f64>) -> String {
    match quantile {
        Some(quantile) => format!("{series} p{}", (quantile * 100.0).round()),
        None => series,
    }
}

/// The source of a metric's number.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A quantity of a pod's metrics page.
    Measure {
        /// The quantity and its window.
        measure: Measure,
        /// The share of a histogram's events, 0 to 1, that must not exceed the value.
        quantile: Option<f64>,
        /// The signal's definition, if the metric is a signal.
        signal: Option<&'static SignalDef>,
    },
    /// A PromQL expression.
    Query(String),
}

/// Checks one metric of a spec and turns it into a configuration and a policy.
pub(super) fn metric(
    engine: Engine,
    sources: &[SourceConfig],
    spec: &MetricSpec,
    field: &str,
) -> Result<(MetricConfig, MetricPolicy), SpecError> {
    let (short, reads) = match (spec.signal, &spec.series, &spec.query) {
        (Some(signal), None, None) => {
            let reads = signal_reads(engine, sources, signal.0);
            (signal.0.info().short.to_owned(), reads)
        }
        (None, Some(series), None) => {
            let recipe = series_recipe(series, spec.percentile, field)?;
            let reads = sources.iter().map(|_| Some((recipe.clone(), None)));
            (series.name.clone(), reads.collect())
        }
        (None, None, Some(query)) => return query_metric(spec, query, field),
        _ => return Err(SpecError::new(field, "give exactly one of signal, series and query")),
    };
    let Some((recipe, signal)) = reads.iter().flatten().next().cloned() else {
        let name = spec.signal.map_or(Signal::WaitingRequests, |signal| signal.0);
        return Err(no_signal(engine, sources, name, field));
    };
    let kind = recipe.kind();
    if kind != Kind::Histogram && spec.percentile.is_some() {
        let problem =
            format!("{} is a {}, which has no percentiles", recipe.series_name(), kind.name());
        return Err(SpecError::new(format!("{field}.percentile"), problem));
    }
    let window = spec
        .window_seconds
        .map(|seconds| Duration::from_secs(u64::from(seconds.max(1).unsigned_abs())));
    let window = window.unwrap_or(if kind == Kind::Gauge { Duration::ZERO } else { WINDOW });
    let percentile = (kind == Kind::Histogram).then(|| spec.percentile.unwrap_or(PERCENTILE));
    let (target, shown) = target(spec, kind.target(), recipe.series_name(), field)?;
    if let Some(def) = signal {
        check_range(def.signal, target, &format!("{field}.target"))?;
    }
    let quantile = percentile.map(|percentile| f64::from(percentile) / 100.0);
    let series = with_quantile(recipe.series_name().to_owned(), quantile);
    let policy = MetricPolicy {
        kind: if quantile.is_some() { MetricKind::Pooled } else { MetricKind::PerReplica },
        target,
    };
    let asked = Asked::Measure { measure: Measure { recipe, window }, quantile, signal };
    let source = |(recipe, signal)| SourceMeasure { measure: Measure { recipe, window }, signal };
    let by_source = reads.into_iter().map(|read| read.map(source)).collect();
    let name = name(spec, &short);
    let is_value = quantile.is_some();
    Ok((MetricConfig { name, series, short, target: shown, is_value, asked, by_source }, policy))
}

/// A quantity, and the definition of the signal that it is.
type Read = (Recipe, Option<&'static SignalDef>);

/// Returns how a signal is read from each source: by the gateway's table, or by the engine's.
fn signal_reads(engine: Engine, sources: &[SourceConfig], signal: Signal) -> Vec<Option<Read>> {
    let read = |source: &SourceConfig| {
        let program = program(engine, source);
        let def = program.profile().signal(signal)?;
        Some((made::recipe(program, signal)?, Some(def)))
    };
    sources.iter().map(read).collect()
}

/// Returns the program of which a source has the pages.
fn program(engine: Engine, source: &SourceConfig) -> Program {
    source.gateway().map_or(Program::Engine(engine), Program::Gateway)
}

fn query_metric(
    spec: &MetricSpec,
    query: &str,
    field: &str,
) -> Result<(MetricConfig, MetricPolicy), SpecError> {
    if spec.name.is_empty() {
        let problem = "a metric with a query needs a name: status and events call it by that";
        return Err(SpecError::new(format!("{field}.name"), problem));
    }
    let (target, shown) = target(spec, spec.target.type_.0, "a query", field)?;
    let policy = MetricPolicy { kind: MetricKind::External, target };
    let name = spec.name.clone();
    let asked = Asked::Query(query.to_owned());
    let is_value = spec.target.type_.0 == TargetType::Value;
    Ok((
        MetricConfig {
            series: name.clone(),
            short: name.clone(),
            name,
            target: shown,
            is_value,
            asked,
            by_source: Vec::new(),
        },
        policy,
    ))
}

/// Returns the error of a signal that no source has.
fn no_signal(engine: Engine, sources: &[SourceConfig], signal: Signal, field: &str) -> SpecError {
    let names = |programs: &mut dyn Iterator<Item = Program>| {
        let names: Vec<String> = programs
            .map(|program| match program {
                Program::Engine(engine) => format!("engine {}", engine.profile().name),
                Program::Gateway(gateway) => format!("gateway {}", gateway.profile().table.name),
            })
            .collect();
        names.join(", ")
    };
    let mut asked: Vec<Program> = Vec::new();
    for program in sources.iter().map(|source| program(engine, source)) {
        if !asked.contains(&program) {
            asked.push(program);
        }
    }
    let others = names(&mut Program::all().filter(|other| other.signal(signal).is_some()));
    let others = others.replace("engine ", "");
    let (asked, name) = (names(&mut asked.into_iter()), signal.info().name);
    let problem = format!("{asked} has no signal {name} ({others} has)");
    SpecError::new(format!("{field}.signal"), problem)
}

/// Returns the recipe of a series, with the meaning of a page without it.
fn series_recipe(
    series: &SeriesSpec,
    percentile: Option<i32>,
    field: &str,
) -> Result<Recipe, SpecError> {
    let recipe = recipe(series, percentile);
    match series.absent {
        None => Ok(recipe),
        Some(AbsentSeries::Zero) if recipe.kind() == Kind::Histogram => {
            let problem = "Zero is for gauges and counters: a histogram without events has no \
                           percentile";
            Err(SpecError::new(format!("{field}.series.absent"), problem))
        }
        Some(AbsentSeries::Zero) => Ok(recipe.with_absence(Absence::Zero)),
    }
}

fn recipe(series: &SeriesSpec, percentile: Option<i32>) -> Recipe {
    let kind = match series.type_ {
        Some(SeriesType::Gauge) => Kind::Gauge,
        Some(SeriesType::Counter) => Kind::Counter,
        Some(SeriesType::Histogram) => Kind::Histogram,
        None if percentile.is_some() => Kind::Histogram,
        None => usual_kind(series),
    };
    sum_of(kind, kind.selected_name(&series.name), series.selector.as_ref())
}

/// Returns the kind of a series without a type.
fn usual_kind(series: &SeriesSpec) -> Kind {
    let has_bound =
        series.selector.as_ref().is_some_and(|selector| selector.match_labels.contains_key("le"));
    Kind::of_name(&series.name, has_bound)
}

/// Returns the sum of all series of this name that match the selector.
pub(super) fn sum_of(kind: Kind, name: &str, selector: Option<&SeriesSelector>) -> Recipe {
    let labels = selector.into_iter().flat_map(|selector| selector.match_labels.clone());
    let rules = selector.into_iter().flat_map(|selector| &selector.match_expressions).map(rule);
    Recipe::selected(kind, Selector::new(name, labels).with_rules(rules.collect()))
}

fn rule(requirement: &LabelRequirement) -> LabelRule {
    let LabelRequirement { key, operator, values } = requirement;
    let no_value = || vec![String::new()];
    let (values, is_in) = match operator {
        LabelOperator::In => (values.clone(), true),
        LabelOperator::NotIn => (values.clone(), false),
        LabelOperator::Exists => (no_value(), false),
        LabelOperator::DoesNotExist => (no_value(), true),
    };
    LabelRule { label: key.clone(), values, is_in }
}

fn name(spec: &MetricSpec, short: &str) -> String {
    match (&*spec.name, spec.signal) {
        ("", Some(signal)) => signal.0.info().name.to_owned(),
        ("", None) => short.to_owned(),
        (name, _) => name.to_owned(),
    }
}

/// Returns the target, and its text. Fails unless its type is `allowed`, the one that makes sense
/// for `metric`.
fn target(
    spec: &MetricSpec,
    allowed: TargetType,
    metric: &str,
    field: &str,
) -> Result<(Target, String), SpecError> {
    let given = &spec.target;
    if given.type_.0 != allowed {
        let problem = format!("{metric} takes a target of type {allowed}");
        return Err(SpecError::new(format!("{field}.target.type"), problem));
    }
    let (value, name) = match (allowed, &given.average_value, &given.value) {
        (TargetType::AverageValue, Some(value), None) => (value, "averageValue"),
        (TargetType::Value, None, Some(value)) => (value, "value"),
        _ => {
            let problem = "give averageValue with type AverageValue, value with type Value, and not the other";
            return Err(SpecError::new(format!("{field}.target"), problem));
        }
    };
    let milli = positive(value, &format!("{field}.target.{name}"))?;
    let target = match allowed {
        TargetType::AverageValue => Target::AverageValue(milli),
        TargetType::Value => Target::Value(milli),
    };
    Ok((target, quantity::show(milli)))
}

/// Checks that a signal can have the value that is its target.
fn check_range(signal: Signal, target: Target, field: &str) -> Result<(), SpecError> {
    let (Target::AverageValue(wanted) | Target::Value(wanted)) = target else { return Ok(()) };
    let info = signal.info();
    let Some(highest) = info.highest.filter(|highest| wanted > Milli::whole((*highest).into()))
    else {
        return Ok(());
    };
    let name = if matches!(target, Target::Value(_)) { "value" } else { "averageValue" };
    let problem = format!(
        "{} is a {}, so it never reaches {}{}",
        info.name,
        info.unit,
        quantity::show(wanted),
        likely_share(wanted, highest)
    );
    Err(SpecError::new(format!("{field}.{name}"), problem))
}

/// Returns the hint that a share seems to be given in percent: `: 0.8 is 80 %`.
pub(super) fn likely_share(wanted: Milli, highest: u32) -> String {
    let percent = wanted.0 as f64 / 1000.0;
    if percent > 100.0 * f64::from(highest) {
        return format!("; give a share of 0 to {highest}, such as 0.8 for 80 %");
    }
    format!(": {} is {percent} %", wanted.0 as f64 / 100_000.0)
}

/// Reads a quantity that must be greater than 0.
pub(super) fn positive(quantity: &Quantity, field: &str) -> Result<Milli, SpecError> {
    let milli = quantity.milli().map_err(|error| SpecError::new(field, error.to_string()))?;
    if milli <= Milli(0) {
        return Err(SpecError::new(field, format!("{quantity} is not greater than 0")));
    }
    Ok(milli)
}
