//! `spec.drain` → how scale-downs drain, and what has to be read for it.

use std::time::Duration;

use chrono::TimeDelta;
use llm_autoscaler_engines::{Engine, Measure, Signal};

use crate::DrainSpec;

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
        let recipe = profile.signal(signal)?.recipe(profile.repeats);
        Some(Measure { recipe, window })
    };
    DrainPlan {
        deadline: TimeDelta::seconds(spec.deadline_seconds.max(1).into()),
        requests: measure(Signal::InFlightRequests, Duration::ZERO),
        latency: measure(Signal::RequestLatency, LATENCIES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_whichever_metrics_decide() {
        let spec = DrainSpec { deadline_seconds: 60 };
        for engine in Engine::ALL {
            let plan = drain(&spec, engine);
            assert_eq!(plan.requests.is_some(), engine != Engine::Custom, "{engine:?}");
            assert_eq!(plan.deadline, TimeDelta::seconds(60));
        }
    }
}
