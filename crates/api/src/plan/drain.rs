//! `spec.drain` → how scale-downs drain, and what has to be read for it.

use std::time::Duration;

use chrono::TimeDelta;
use llm_autoscaler_engines::{Engine, Kind, Measure, Recipe, Signal};

use super::metric::sum_of;
use crate::{DrainSpec, GaugeSpec};

/// Over how much time requests are looked at to say how long they take.
const LATENCIES: Duration = Duration::from_mins(5);

/// How scale-downs drain.
#[derive(Clone, Debug, PartialEq)]
pub struct DrainPlan {
    /// For how long a replica is waited for.
    pub deadline: TimeDelta,
    /// The requests of a replica, running and waiting, whichever metrics decide; `None` where the engine does not say.
    pub requests: Option<Measure>,
    /// How long requests take, where the engine says.
    pub latency: Option<Measure>,
}

/// What is to be read of an engine so that its replicas can be drained.
pub(super) fn drain(spec: &DrainSpec, engine: Engine) -> DrainPlan {
    let profile = engine.profile();
    let measure = |signal, window| {
        let recipe = profile.signal(signal)?.recipe(profile.repeat_labels);
        Some(Measure { recipe, window })
    };
    DrainPlan {
        deadline: TimeDelta::seconds(spec.deadline_seconds.max(1).into()),
        requests: spec
            .request_series
            .as_deref()
            .and_then(sum)
            .or_else(|| measure(Signal::InFlightRequests, Duration::ZERO)),
        latency: measure(Signal::RequestLatency, LATENCIES),
    }
}

/// The present sum of all these gauges.
fn sum(series: &[GaugeSpec]) -> Option<Measure> {
    let of = |gauge: &GaugeSpec| sum_of(Kind::Gauge, &gauge.name, gauge.selector.as_ref());
    let recipe = series.iter().map(of).reduce(Recipe::plus)?;
    Some(Measure { recipe, window: Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_whichever_metrics_decide() {
        let spec = DrainSpec { deadline_seconds: 60, request_series: None };
        for engine in Engine::ALL {
            let plan = drain(&spec, engine);
            assert_eq!(plan.requests.is_some(), engine != Engine::Custom, "{engine:?}");
            assert_eq!(plan.deadline, TimeDelta::seconds(60));
        }
    }

    #[test]
    fn a_spec_says_how_requests_are_counted() {
        let gauge = |name: &str| GaugeSpec { name: name.to_owned(), selector: None };
        let series = Some(vec![gauge("running"), gauge("queued")]);
        let spec = DrainSpec { deadline_seconds: 60, request_series: series };
        for engine in [Engine::Custom, Engine::Vllm] {
            let requests = drain(&spec, engine).requests.unwrap();
            assert_eq!(requests.recipe.series_name(), "running+queued");
        }
    }
}
