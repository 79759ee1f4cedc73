//! `spec.drain` → how to drain replicas, and which series to read for it.

use std::time::Duration;

use chrono::TimeDelta;
use llm_autoscaler_engines::{Engine, Kind, Measure, Recipe, Signal};

use super::metric::sum_of;
use crate::spec::{DrainSpec, GaugeSpec};

/// The window over which the latency of requests is measured.
const LATENCIES: Duration = Duration::from_mins(5);

/// The way to drain replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct DrainConfig {
    /// The longest time to wait for the requests of a replica.
    pub deadline: TimeDelta,
    /// The running and waiting requests of a replica, whichever metrics decide; `None` if the
    /// engine does not expose them.
    pub requests: Option<Measure>,
    /// The latency of requests, if the engine exposes it.
    pub latency: Option<Measure>,
}

/// Returns how to drain replicas, and which series of the engine to read for it.
pub(super) fn drain(spec: &DrainSpec, engine: Engine) -> DrainConfig {
    let profile = engine.profile();
    let measure = |signal, window| Some(Measure { recipe: profile.recipe(signal)?, window });
    DrainConfig {
        deadline: TimeDelta::seconds(spec.deadline_seconds.max(1).into()),
        requests: spec
            .request_series
            .as_deref()
            .and_then(sum)
            .or_else(|| measure(Signal::InFlightRequests, Duration::ZERO)),
        latency: measure(Signal::RequestLatency, LATENCIES),
    }
}

/// Returns the current sum of gauges.
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
            let config = drain(&spec, engine);
            assert_eq!(config.requests.is_some(), engine != Engine::Custom, "{engine:?}");
            assert_eq!(config.deadline, TimeDelta::seconds(60));
        }
    }

    #[test]
    fn the_series_of_a_spec_count_the_requests() {
        let gauge = |name: &str| GaugeSpec { name: name.to_owned(), selector: None };
        let series = Some(vec![gauge("running"), gauge("queued")]);
        let spec = DrainSpec { deadline_seconds: 60, request_series: series };
        for engine in [Engine::Custom, Engine::Vllm] {
            let requests = drain(&spec, engine).requests.unwrap();
            assert_eq!(requests.recipe.series_name(), "running+queued");
        }
    }
}
