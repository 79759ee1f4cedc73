//! Dynamic programming over the slots of a load.

use super::{
    curve::{MissCurve, Observed},
    slots,
};
use crate::{
    policy::{Limits, Schedule},
    score::{Outcome, SLOT},
    simulation::Scenario,
};

/// The work of a slot.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    arrived: f64,
    /// The replicas that would be busy all the time.
    load: f64,
}

/// The costs of sizes over time.
#[derive(Debug)]
pub(super) struct Program {
    work: Vec<Work>,
    limits: Limits,
    /// The time of a start, in seconds.
    start: f64,
    warm_up: usize,
}

impl Program {
    pub(super) fn new(scenario: &Scenario, limits: Limits) -> Self {
        let mut work = vec![Work::default(); slots(scenario.load.duration()).max(1)];
        for request in scenario.load.stream(scenario.seed) {
            let last = work.len() - 1;
            let slot = &mut work[((request.at / SLOT) as usize).min(last)];
            let (prompt, output) = (request.prompt_tokens, request.output_tokens);
            let busy = scenario.profile.work(prompt, output, scenario.cached);
            slot.arrived += 1.0;
            slot.load += busy / SLOT;
        }
        let start = scenario.starts.median;
        Self { work, limits, start, warm_up: slots(scenario.warm_up) }
    }

    /// Returns the sizes of least cost, one for each slot, at a price of a miss in replica-seconds.
    pub(super) fn sizes(&self, curve: &MissCurve, price: f64) -> Vec<u32> {
        let count = (self.limits.max - self.limits.min + 1) as usize;
        let mut costs = vec![0.0; count];
        // For each slot and size, the size before it.
        let mut before: Vec<Vec<u32>> = Vec::with_capacity(self.work.len());
        for work in &self.work {
            before.push(self.best_before(&mut costs));
            for (index, cost) in costs.iter_mut().enumerate() {
                let size = f64::from(self.limits.min + index as u32);
                *cost += size * SLOT + price * work.arrived * curve.share(work.load / size);
            }
        }
        let best = costs.iter().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
        let mut index = best.map_or(0, |(index, _)| index as u32);
        let mut sizes = Vec::with_capacity(before.len());
        for before in before.iter().rev() {
            sizes.push(self.limits.min + index);
            index = before[index as usize];
        }
        sizes.reverse();
        sizes
    }

    /// Replaces the costs of the sizes before a slot by those of coming from the best of them: a
    /// smaller size costs starts. Returns that best one for each size.
    fn best_before(&self, costs: &mut [f64]) -> Vec<u32> {
        let mut before: Vec<u32> = (0..costs.len() as u32).collect();
        for index in (0..costs.len() - 1).rev() {
            if costs[index + 1] < costs[index] {
                costs[index] = costs[index + 1];
                before[index] = before[index + 1];
            }
        }
        for index in 1..costs.len() {
            let started = costs[index - 1] + self.start;
            if started < costs[index] {
                costs[index] = started;
                before[index] = before[index - 1];
            }
        }
        before
    }

    /// Returns when sizes have to be requested for replicas to serve in their slots. A replica that
    /// is needed again within the time of a start is kept.
    pub(super) fn schedule(&self, sizes: &[u32]) -> Schedule {
        let ahead = slots(self.start) + 1;
        let requested = (0..sizes.len()).map(|slot| {
            let needed = &sizes[slot..(slot + ahead).min(sizes.len())];
            let size = needed.iter().copied().max().unwrap_or(self.limits.min);
            (slot as f64 * SLOT, size)
        });
        Schedule(requested.collect())
    }

    /// Adds the slots of a run, for the curve.
    pub(super) fn record(&self, sizes: &[u32], outcome: &Outcome, seen: &mut Vec<Observed>) {
        let counted = self.work.iter().zip(sizes).skip(self.warm_up);
        for ((work, size), (arrived, kept)) in counted.zip(&outcome.slots) {
            let (arrived, kept) = (*arrived as f64, *kept as f64);
            let busy = work.load / f64::from(*size);
            seen.push(Observed { busy, arrived, missed: arrived - kept });
        }
    }
}
