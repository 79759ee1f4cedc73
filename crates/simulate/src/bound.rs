//! The clairvoyant bound: the cheapest sizes found by an autoscaler that knows the load.
//!
//! ```text
//! load ──Work──> dynamic program <── MissCurve, price of a miss
//!                   │  sizes                ^           ^
//!                   v                      fit       bisection
//!                 run of the scenario ──────┴───────────┘
//! ```
//!
//! Each slot of time has its work, so that a number of replicas has a busy share, and the share of
//! misses is a logistic function of that. For a price of a miss, dynamic programming finds the
//! sizes with the least costs: replica-seconds, starts and misses. The price is the lowest one of
//! which a run keeps the promise; the curve is fitted to the runs. Starts take their median time
//! and never fail, and there are no faults. The sizes are feasible, so that no autoscaler without
//! this knowledge needs less, but a better one with it may.

mod curve;
mod program;

use crate::{
    faults::Faults,
    policy::{Limits, Schedule},
    score::{Outcome, SLOT},
    simulation::{Progress, Scenario},
    starts::Starts,
};

use self::{curve::MissCurve, program::Program};

/// The rounds of fitting the curve, and the halvings of the price's range in each.
const ROUNDS: usize = 2;
const HALVINGS: usize = 7;
/// The range of the price of a miss, in replica-seconds.
const PRICES: (f64, f64) = (0.05, 500.0);

/// The sizes of the clairvoyant autoscaler, and their outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The sizes.
    pub schedule: Schedule,
    /// Their outcome.
    pub outcome: Outcome,
}

/// Returns the cheapest sizes found that keep the promise; `None` if no size within the limits
/// does. `watch` is called as by [`Scenario::run`], with the share of all runs.
pub fn clairvoyant(
    scenario: &Scenario,
    limits: Limits,
    watch: &mut dyn FnMut(Progress),
) -> Option<Bound> {
    let starts = Starts { median: scenario.starts.median, sigma: 0.0, ..Starts::default() };
    let known = Scenario { starts, faults: Faults::default(), ..scenario.clone() };
    let program = Program::new(&known, limits);
    let mut curve = MissCurve::default();
    let mut best: Option<Bound> = None;
    for round in 0..ROUNDS {
        let (mut low, mut high) = (PRICES.0.ln(), PRICES.1.ln());
        let mut seen = Vec::new();
        for halving in 0..HALVINGS {
            let price = f64::midpoint(low, high);
            let sizes = program.sizes(&curve, price.exp());
            let mut schedule = program.schedule(&sizes);
            let before = (round * HALVINGS + halving) as f64;
            let outcome = known.run(&mut schedule, &mut |progress| {
                let done = (before + progress.done) / (ROUNDS * HALVINGS) as f64;
                watch(Progress { done, ..progress });
            });
            program.record(&sizes, &outcome, &mut seen);
            if outcome.promise_kept {
                high = price;
                if best.as_ref().is_none_or(|best| outcome.gpu_hours < best.outcome.gpu_hours) {
                    best = Some(Bound { schedule, outcome });
                }
            } else {
                low = price;
            }
        }
        curve = MissCurve::fitted(&seen);
    }
    best
}

/// The number of slots of a time.
fn slots(seconds: f64) -> usize {
    (seconds / SLOT).ceil().max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        arrivals::{Lengths, Load, SyntheticLoad},
        profile::EngineProfile,
    };

    fn step() -> Scenario {
        let load = Load::Synthetic(SyntheticLoad {
            shape: "step:base=6,peak=30,at=400,for=400,length=1500".parse().unwrap(),
            lengths: Lengths::Lognormal { prompt: 1155.0, output: 211.0, sigma: 0.8 },
            warm_up: 120.0,
        });
        let profile = EngineProfile::named("q32-h100x2").unwrap();
        Scenario {
            starts: Starts { median: 100.0, ..Starts::default() },
            replicas: 2,
            grace: 60.0,
            ..Scenario::new(load, 120.0, profile)
        }
    }

    #[test]
    fn knowledge_of_a_step_is_cheaper_than_a_constant_size() {
        let limits = Limits { min: 1, max: 12 };
        let bound = clairvoyant(&step(), limits, &mut |_| ()).unwrap();
        assert!(bound.outcome.promise_kept, "{}", bound.outcome.attainment);
        let constant = (1..=12).find_map(|size| {
            let mut schedule = Schedule(vec![(0.0, size)]);
            let outcome = step().run(&mut schedule, &mut |_| ());
            outcome.promise_kept.then_some(outcome.gpu_hours)
        });
        let (bound, constant) = (bound.outcome.gpu_hours, constant.unwrap());
        assert!(bound < 0.75 * constant, "{bound} {constant}");
        assert!(clairvoyant(&step(), Limits { min: 1, max: 1 }, &mut |_| ()).is_none());
    }
}
