//! `spec.drain` → how to drain replicas, and which series to read for it.

use std::time::Duration;

use chrono::TimeDelta;
use llm_autoscaler_engines::{Absence, Engine, Kind, Measure, Program, Recipe, Signal};

use super::{SpecError, made, metric::sum_of};
use crate::spec::{AbsentSeries, DrainSpec, GaugeSpec};

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
///
/// # Errors
/// Some of the series count as 0 where they are absent, and others do not.
pub(super) fn drain(spec: &DrainSpec, engine: Engine) -> Result<DrainConfig, SpecError> {
    let recipe = |signal| made::recipe(Program::Engine(engine), signal);
    let measure = |signal, window| Some(Measure { recipe: recipe(signal)?, window });
    let own = sum(spec.request_series.as_deref().unwrap_or_default())?;
    Ok(DrainConfig {
        deadline: TimeDelta::seconds(spec.deadline_seconds.max(1).into()),
        requests: own.or_else(|| measure(Signal::InFlightRequests, Duration::ZERO)),
        latency: measure(Signal::RequestLatency, LATENCIES),
    })
}

/// Returns the current sum of gauges, if there are any.
fn sum(series: &[GaugeSpec]) -> Result<Option<Measure>, SpecError> {
    let of = |gauge: &GaugeSpec| sum_of(Kind::Gauge, &gauge.name, gauge.selector.as_ref());
    let Some(recipe) = series.iter().map(of).reduce(Recipe::plus) else { return Ok(None) };
    let is_zero = |gauge: &GaugeSpec| gauge.absent == Some(AbsentSeries::Zero);
    let recipe = if series.iter().all(is_zero) {
        recipe.with_absence(Absence::Zero)
    } else if let Some(place) = series.iter().position(is_zero) {
        let problem = "Zero is for all of the series or for none: the sum is missing where one of \
                       them is";
        return Err(SpecError::new(format!("drain.requestSeries[{place}].absent"), problem));
    } else {
        recipe
    };
    Ok(Some(Measure { recipe, window: Duration::ZERO }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_whichever_metrics_decide() {
        let spec = DrainSpec { deadline_seconds: 60, request_series: None };
        for engine in Engine::ALL {
            let config = drain(&spec, engine).unwrap();
            assert_eq!(config.requests.is_some(), engine != Engine::Custom, "{engine:?}");
            assert_eq!(config.deadline, TimeDelta::seconds(60));
        }
    }

    #[test]
    fn the_series_of_a_spec_count_the_requests() {
        let zero = Some(AbsentSeries::Zero);
        for (absent, expected) in [
            ([None, None], Ok(Absence::Unknown)),
            ([zero, zero], Ok(Absence::Zero)),
            ([zero, None], Err("drain.requestSeries[0].absent: Zero is for all")),
            ([None, zero], Err("drain.requestSeries[1].absent: Zero is for all")),
        ] {
            let gauge = |(name, absent): (&str, &Option<AbsentSeries>)| GaugeSpec {
                name: name.to_owned(),
                selector: None,
                absent: *absent,
            };
            let series = ["running", "queued"].into_iter().zip(&absent).map(gauge);
            let spec = DrainSpec { deadline_seconds: 60, request_series: Some(series.collect()) };
            for engine in [Engine::Custom, Engine::Vllm] {
                match (drain(&spec, engine), &expected) {
                    (Ok(config), Ok(absence)) => {
                        let recipe = config.requests.unwrap().recipe;
                        assert_eq!(recipe.series_name(), "running+queued");
                        assert_eq!(recipe.absence(), absence);
                    }
                    (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                    (found, _) => panic!("{absent:?}: {found:?}"),
                }
            }
        }
    }
}
