//! The load for comparisons where no trace is given: a day in four hours.

use crate::{
    arrivals::{Lengths, Load, Shape, SyntheticLoad},
    error::SimulateError,
    need::bearable_load,
    simulation::Scenario,
};

/// The mean lengths of prompts and answers, and the standard deviation of their logarithm: those of
/// `simulate` without options.
const LENGTHS: (f64, f64, f64) = (1155.0, 211.0, 0.8);
/// The length in seconds.
const LENGTH: f64 = 14_400.0;
/// The share of the upper limit that the peak needs.
const PEAK: f64 = 0.9;
/// The most replicas that the peak needs: a comparison of larger fleets takes minutes.
const MOST: f64 = 16.0;
/// The share of its time for which a replica can be busy where that cannot be measured.
const BUSY: f64 = 0.5;

/// The load in words.
pub const STANDARD_LOAD: &str = "a day in four hours, whose peak needs 90 % of the upper limit (16 \
                                 replicas at most),\nwith random lengths with the means 1155 and 211";

/// Returns a day in four hours for a fleet with this upper limit: from an eighth of the peak to the
/// peak and back. `scenario` has everything but the load.
///
/// # Errors
/// The shape cannot be built, which a test excludes.
pub fn standard_load(scenario: &Scenario, max: u32) -> Result<Load, SimulateError> {
    let (prompt, output, sigma) = LENGTHS;
    let warm_up = scenario.warm_up;
    let load = |shape: Shape| {
        let lengths = Lengths::Lognormal { prompt, output, sigma };
        Load::Synthetic(SyntheticLoad { shape, lengths, warm_up })
    };
    let sample = Scenario { load: load(Shape::constant(1.0, LENGTH)), ..scenario.clone() };
    let requests: Vec<_> = sample.load.stream(scenario.seed).take(1000).collect();
    let work = requests
        .iter()
        .map(|it| scenario.profile.work(it.prompt_tokens, it.output_tokens, scenario.cached));
    let mean = work.sum::<f64>() / requests.len().max(1) as f64;
    let busy = bearable_load(&sample).unwrap_or(BUSY);
    let peak = (PEAK * f64::from(max)).min(MOST) * busy / mean.max(1e-6);
    Ok(load(format!("day:peak={peak},length={LENGTH}").parse()?))
}
