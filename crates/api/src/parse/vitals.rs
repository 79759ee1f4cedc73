//! The measures that tell if an engine works, beside the metrics of the spec.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_core::{Deviation, Profile};
use llm_autoscaler_engines::{Engine, Measure, Recipe, Signal};

use super::made::Made;

/// The time without any progress after which an engine that has requests is wedged.
///
/// A single long request is progress, so the time has to exceed only what an engine needs before
/// the first token of a request: a long prompt, or kernels that are compiled for it.
pub const WEDGED_AFTER: Duration = Duration::from_mins(5);

/// The measures of one replica that tell if its engine makes progress.
#[derive(Clone, Debug, PartialEq)]
pub struct VitalMeasures {
    /// The number of requests, running and waiting.
    pub requests: Measure,
    /// The rate of the engine's counters of progress over [`WEDGED_AFTER`]: tokens, or steps.
    pub progress: Measure,
    /// The gauges that move while it works, of those that the engine has: the running requests, and
    /// the usage of the KV cache.
    pub gauges: [Option<Measure>; 2],
    /// True if the counters grow only when a request ends, so that the usage of the KV cache is
    /// needed.
    pub at_end: bool,
}

/// Returns the measures that tell if an engine sleeps.
pub(super) fn sleep(engine: Engine, profile: Profile) -> Option<Arc<[Measure; 2]>> {
    static MADE: Made<[Measure; 2]> = Made::new();
    let is_asked = profile.has(Deviation::EngineActivity);
    let make = || Some(engine.profile().sleep?.recipes().map(latest));
    is_asked.then(|| MADE.get(engine, make))?
}

/// Returns the measures that tell if an engine makes progress.
pub(super) fn vitals(engine: Engine, profile: Profile) -> Option<Arc<VitalMeasures>> {
    static MADE: Made<VitalMeasures> = Made::new();
    let is_asked = profile.has(Deviation::EngineActivity);
    is_asked.then(|| MADE.get(engine, || vitals_of(engine)))?
}

fn vitals_of(engine: Engine) -> Option<VitalMeasures> {
    let engine = engine.profile();
    let progress = engine.progress?;
    let gauge = |signal| engine.recipe(signal).map(latest);
    Some(VitalMeasures {
        requests: gauge(Signal::InFlightRequests)?,
        progress: Measure { recipe: engine.progress_recipe()?, window: WEDGED_AFTER },
        gauges: [Signal::RunningRequests, Signal::KVCacheUsage].map(gauge),
        at_end: progress.at_end,
    })
}

fn latest(recipe: Recipe) -> Measure {
    Measure { recipe, window: Duration::ZERO }
}
