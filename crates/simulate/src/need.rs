//! The replicas that a load needs.

use std::sync::Arc;

use crate::{
    arrivals::{Lengths, Load, Request, Shape, SyntheticLoad, Trace},
    faults::Faults,
    policy::Fixed,
    simulation::Scenario,
    timeline::Moment,
};

/// The replicas of the runs that measure one.
const REPLICAS: u32 = 4;
/// The times of these runs, in seconds.
const LENGTH: f64 = 600.0;
const WARM_UP: f64 = 120.0;
/// The number of requests that their lengths are from.
const SAMPLE: usize = 4_000;
/// The halvings of the range of rates.
const HALVINGS: usize = 8;
/// The time over which a load is averaged, in seconds.
const WINDOW: f64 = 60.0;

/// Returns the work that one replica can take while the promise is kept, as a share of its time;
/// `None` if the promise is kept at no rate, or there is no request.
///
/// It is measured: four replicas get a constant load with the lengths of the scenario, without
/// faults, and the highest rate that keeps the promise is found by bisection.
pub fn bearable_load(scenario: &Scenario) -> Option<f64> {
    let sample = sample(scenario);
    let trace = Arc::new(Trace::of(&sample)?);
    let work =
        |it: &Request| scenario.profile.work(it.prompt_tokens, it.output_tokens, scenario.cached);
    let mean = sample.iter().map(work).sum::<f64>() / sample.len() as f64;
    let is_kept = |load: f64| {
        let rate = load * f64::from(REPLICAS) / mean;
        let constant = Scenario {
            load: Load::Synthetic(SyntheticLoad {
                shape: Shape::constant(rate, LENGTH),
                lengths: Lengths::Trace(Arc::clone(&trace)),
                warm_up: WARM_UP,
            }),
            warm_up: WARM_UP,
            faults: Faults::default(),
            gpu_limit: None,
            replicas: REPLICAS,
            ..scenario.clone()
        };
        constant.run(&mut Fixed(REPLICAS), &mut |_| ()).promise_kept
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if is_kept(middle) { low = middle } else { high = middle }
    }
    (low > 0.0).then_some(low)
}

/// Returns every so-many-th request, so that at most as many as the sample are left.
fn sample(scenario: &Scenario) -> Vec<Request> {
    let (mut kept, mut every) = (Vec::new(), 1);
    for (index, request) in scenario.load.stream(scenario.seed).enumerate() {
        if index % every == 0 {
            kept.push(request);
        }
        if kept.len() > SAMPLE {
            let mut place = 0;
            kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            every *= 2;
        }
    }
    kept
}

/// Returns the replicas that each moment needs: the load of the minute around it, in replicas with
/// the bearable load, rounded up.
pub fn need(timeline: &[Moment], bearable_load: f64) -> Vec<u32> {
    let interval = timeline.get(1).map_or(WINDOW, |second| second.t - timeline[0].t);
    let reach = (WINDOW / interval / 2.0) as usize;
    let mean = |place: usize| {
        // A moment has the arrivals of the interval before it.
        let around = place.saturating_sub(reach.saturating_sub(1))..=place + reach;
        let around = &timeline[*around.start()..(around.end() + 1).min(timeline.len())];
        around.iter().map(|moment| moment.load).sum::<f64>() / around.len() as f64
    };
    (0..timeline.len()).map(|place| (mean(place) / bearable_load).ceil() as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn need_is_the_load_of_the_minute_around() {
        let timeline = |loads: &[f64], interval: f64| -> Vec<Moment> {
            let moment = |(place, load): (usize, &f64)| Moment {
                t: place as f64 * interval,
                load: *load,
                ..Moment::default()
            };
            loads.iter().enumerate().map(moment).collect()
        };
        for (loads, interval, expected) in [
            (&[][..], 15.0, &[][..]),
            (&[1.0], 15.0, &[2]),
            (&[0.0, 0.0, 0.0], 60.0, &[0, 0, 0]),
            (&[0.4, 1.0, 1.1], 60.0, &[1, 2, 3]),
            (&[0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0], 15.0, &[0, 2, 2, 2, 2, 0, 0]),
        ] {
            assert_eq!(need(&timeline(loads, interval), 0.5), expected, "{loads:?}");
        }
    }
}
