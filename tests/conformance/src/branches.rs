//! Names the branches of the HPA's algorithm and counts the cases that reach each.
//!
//! A branch is recognised from the case and the oracle's answer alone, never from our code. So the
//! counts show what the cases exercise in the HPA, whatever our implementation does.

#![allow(clippy::float_cmp, reason = "the ends of tolerances, windows and periods are exact")]

mod behavior;
mod calculator;
mod timeline;

use serde_json::Value;

/// The number of cases (or steps of timelines) that reached each branch.
pub(crate) struct Reached {
    calculator: Vec<usize>,
    behavior: Vec<usize>,
    timeline: Vec<usize>,
}

impl Reached {
    pub(crate) fn new() -> Self {
        Self {
            calculator: vec![0; calculator::BRANCHES.len()],
            behavior: vec![0; behavior::BRANCHES.len()],
            timeline: vec![0; timeline::BRANCHES.len()],
        }
    }

    /// Counts the branches that one case reaches; `answer` is the oracle's.
    pub(crate) fn count(&mut self, case: &Value, answer: &Value) {
        match case["mode"].as_str() {
            Some("calc") => {
                let seen = calculator::Seen::new(case, answer);
                add(&mut self.calculator, calculator::BRANCHES.iter().map(|(_, is)| is(&seen)));
            }
            Some("timeline") => {
                for step in timeline::steps(case, answer) {
                    add(&mut self.timeline, timeline::BRANCHES.iter().map(|(_, is)| is(&step)));
                }
            }
            _ => {
                let seen = behavior::Seen { case, answer };
                add(&mut self.behavior, behavior::BRANCHES.iter().map(|(_, is)| is(&seen)));
            }
        }
    }

    /// Returns the branches in their order, each with its count.
    pub(crate) fn table(&self) -> Vec<(&'static str, usize)> {
        let names = calculator::BRANCHES.iter().map(|(name, _)| *name);
        let names = names.chain(behavior::BRANCHES.iter().map(|(name, _)| *name));
        let names = names.chain(timeline::BRANCHES.iter().map(|(name, _)| *name));
        let counts = [&self.calculator, &self.behavior, &self.timeline];
        names.zip(counts.into_iter().flatten().copied()).collect()
    }
}

fn add(counts: &mut [usize], reached: impl Iterator<Item = bool>) {
    for (count, is_reached) in counts.iter_mut().zip(reached) {
        *count += usize::from(is_reached);
    }
}
