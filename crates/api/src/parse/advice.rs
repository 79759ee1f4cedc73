//! Hints about a spec, or about what its pods expose, although nothing is wrong with it.

use llm_autoscaler_core::{Milli, Policy, Target};
use llm_autoscaler_engines::{
    Engine, GatewayProfile, Kind, Recipe, Signal, SignalDef, UnfitSeries,
};

use super::{Asked, MetricConfig, SourceConfig, metric::likely_share};
use crate::conditions::Reason;

/// A hint about a spec that can be carried out, for the condition `Advisory`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Advice {
    /// The reason of the condition.
    pub reason: Reason,
    /// A sentence for people.
    pub text: String,
}

/// Returns the hints about a set of metrics.
pub(super) fn advice(metrics: &[MetricConfig]) -> Vec<Advice> {
    let all = |which: fn(&Asked) -> bool| metrics.iter().all(|metric| which(&metric.asked));
    let mut advice = Vec::new();
    if all(is_queue) {
        let text = "an empty queue asks for the minimum, so a target that is scaled by its queue \
                    alone swings between minimum and maximum; add InFlightRequests, which keeps \
                    what the running requests need";
        advice.push(Advice { reason: Reason::QueueOnly, text: text.to_owned() });
    }
    if all(is_latency) {
        let text = "without requests there are no latencies to measure, and the size stays as it \
                    is: add a metric that is known without load, such as InFlightRequests";
        advice.push(Advice { reason: Reason::LatencyOnly, text: text.to_owned() });
    }
    advice
}

/// Returns the hints about targets that a share cannot exceed.
pub(super) fn of_shares(metrics: &[MetricConfig], policy: &Policy) -> Vec<Advice> {
    let targets = policy.metrics.iter().map(|metric| metric.target);
    let hints = metrics.iter().zip(targets).filter_map(|(metric, target)| {
        let (Target::AverageValue(wanted) | Target::Value(wanted)) = target else { return None };
        let Asked::Measure { signal, measure, .. } = &metric.asked else { return None };
        match signal {
            Some(def) => of_signal(metric, def.signal.info().highest?, wanted, policy.tolerance.up),
            None => of_series(metric, &measure.recipe, wanted),
        }
    });
    let hint = |text| Advice { reason: Reason::TargetOutOfReach, text };
    hints.map(hint).collect()
}

/// Returns the hint about a signal that never exceeds its target by more than the tolerance.
fn of_signal(metric: &MetricConfig, highest: u32, wanted: Milli, tolerance: f64) -> Option<String> {
    let highest_target = f64::from(highest) / (1.0 + tolerance);
    if (wanted.0 as f64) / 1000.0 < highest_target {
        return None;
    }
    // Rounded down, so that the number in the text is good enough.
    let (percent, below) = (tolerance * 100.0, (highest_target * 100.0).floor() / 100.0);
    Some(format!(
        "{} is at most {highest}, and never exceeds its target of {} by more than the tolerance of \
         {percent:.0} %, so it never grows the target: choose one below {below}",
        metric.name, metric.target
    ))
}

/// Returns the hint about a series that is known as a share, and has a target that no share has.
/// Several of them are added up, so a target a little above 1 can be meant.
fn of_series(metric: &MetricConfig, recipe: &Recipe, wanted: Milli) -> Option<String> {
    let signals = Engine::ALL.iter().flat_map(|engine| engine.profile().signals);
    let mut shares = signals.filter_map(|def| Some((def, def.signal.info().highest?)));
    let is_read = |def: &SignalDef| {
        let mut names = def.terms.iter().flat_map(|term| term.0);
        // A quotient of two series is a share, and its parts are none.
        names.any(|name| name.series == recipe.series_name() && name.over.is_none())
    };
    let (def, highest) = shares.find(|(def, _)| is_read(def))?;
    (wanted > Milli::whole(highest.into())).then(|| {
        format!(
            "{} is a {}, and its target is {}{}",
            recipe.series_name(),
            def.signal.info().unit,
            metric.target,
            likely_share(wanted, highest)
        )
    })
}

/// Returns the hints about series that look like a measure of load and are none.
pub(super) fn of_unfit_series(metrics: &[MetricConfig]) -> Vec<Advice> {
    let hint = |metric: &MetricConfig| {
        let Asked::Measure { measure, signal: None, .. } = &metric.asked else { return None };
        let (gateway, unfit) = GatewayProfile::of_unfit(measure.recipe.series_name())?;
        let UnfitSeries { series, why, instead } = unfit;
        let (instead, name) = (instead.info().name, gateway.table.name);
        let text = format!(
            "{}: {series} {why}; read the signal {instead} from a source with gateway: {name}",
            metric.name
        );
        Some(Advice { reason: Reason::UnfitSeries, text })
    };
    metrics.iter().filter_map(hint).collect()
}

/// The way in which a metric brings a target back from zero replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// It does not: it is unknown at zero, or a request changes nothing about it.
    Never,
    /// A gauge of a program that may hold requests while there is no replica, or refuse them.
    IfHeld,
    /// A request changes it.
    Yes,
}

/// Returns a hint if a target at zero replicas is not woken by its metrics, or may not be.
pub(super) fn of_zero(metrics: &[MetricConfig], sources: &[SourceConfig]) -> Option<Advice> {
    let wakes = |metric: &MetricConfig| wake(metric, sources);
    match metrics.iter().map(wakes).max()? {
        Wake::Yes => None,
        Wake::IfHeld => {
            let held = metrics.iter().filter(|metric| wakes(metric) == Wake::IfHeld);
            let names: Vec<&str> = held.map(|metric| &*metric.name).collect();
            let text = format!(
                "at zero replicas {} brings a replica back only if its gauge counts requests that \
                 are held while there is none; smg, sglang-router, vllm-router, LiteLLM and \
                 Dynamo's frontend refuse them at once, and their gauges stay at 0: add a counter \
                 of requests, such as ArrivalRate of a source with gateway, or a rate in a query",
                names.join(", ")
            );
            Some(Advice { reason: Reason::OnlyHeldRequestsWake, text })
        }
        Wake::Never => {
            let text = "at zero replicas no request changes a metric of this spec, so only a wake \
                        call brings a replica back (POST /wake/NAMESPACE/NAME on the operator's \
                        wake port); a counter of requests does so by itself: ArrivalRate of a source \
                        with gateway, a counter as a series of a source with podSelector, or a \
                        query of a rate";
            Some(Advice { reason: Reason::OnlyCallsWake, text: text.to_owned() })
        }
    }
}

/// Returns the best way in which a metric brings a target back, among all sources.
fn wake(metric: &MetricConfig, sources: &[SourceConfig]) -> Wake {
    let measure = match &metric.asked {
        Asked::Query(query) => return wake_by_query(query),
        Asked::Measure { measure, .. } => measure,
    };
    let others = sources.iter().enumerate().filter(|(_, source)| source.is_of_other_pods());
    let others = others.filter(|(place, _)| metric.measure_at(*place).is_some());
    let ways = others.map(|(place, source)| {
        let holds = source.gateway().map(|gateway| gateway.profile().holds_requests);
        match (measure.recipe.kind(), metric.signal_at(place).map(|def| def.signal)) {
            (Kind::Counter, None | Some(Signal::ArrivalRate)) => Wake::Yes,
            (Kind::Gauge, _) if holds == Some(true) => Wake::Yes,
            (Kind::Gauge, None) if holds.is_none() => Wake::IfHeld,
            // Latencies and rates of answers need answers, and an engine at zero has no page.
            (Kind::Gauge | Kind::Counter | Kind::Histogram, _) => Wake::Never,
        }
    });
    ways.max().unwrap_or(Wake::Never)
}

/// Returns the way of a PromQL expression: one with a function of counters counts requests.
fn wake_by_query(query: &str) -> Wake {
    // `irate(` ends like the first, and MetricsQL has several functions that begin like the second.
    const COUNTS: [&str; 4] = ["rate(", "increase", "changes(", "delta("];
    let counts = COUNTS.iter().any(|function| query.contains(function));
    if counts { Wake::Yes } else { Wake::IfHeld }
}

fn is_queue(asked: &Asked) -> bool {
    const QUEUES: [&str; 3] = ["num_requests_waiting", "num_queue_reqs", "queue_size"];
    let Asked::Measure { signal, measure, .. } = asked else { return false };
    match signal {
        Some(def) => def.signal == Signal::WaitingRequests,
        None => QUEUES.iter().any(|name| measure.recipe.series_name().ends_with(name)),
    }
}

fn is_latency(asked: &Asked) -> bool {
    matches!(asked, Asked::Measure { quantile: Some(_), .. })
}
