//! Kthena's autoscaler: the HPA's formula with a panic mode.
//!
//! Reference: volcano-sh/kthena at 3cc05728, `pkg/autoscaler/algorithm/recommendation.go` and
//! `revision.go`, defaults of `autoscalingpolicy_types.go`: every 15 s; tolerance of 10 %; a stable
//! step of one instance or 100 % in 15 s, whichever is more; panic from 200 % of the target on,
//! held for 60 s, up to 1000 % more and never down. Its windows have no default; 300 s down are
//! those of its examples.

use super::super::{
    Autoscaler, Limits, Step, Timing,
    behavior::{Behavior, Rate},
};
use crate::sight::Sight;

const TOLERANCE: f64 = 0.1;
const PANIC_THRESHOLD: f64 = 2.0;
const PANIC_HOLD: f64 = 60.0;
const STABLE: Rate = Rate { pods: 1.0, percent: 100.0, period: 15.0 };

/// Kthena, by the number of waiting requests of each instance.
#[derive(Debug)]
pub(crate) struct Kthena {
    target: f64,
    limits: Limits,
    behavior: Behavior,
    panic_until: f64,
}

impl Kthena {
    pub(crate) fn new(target: f64, limits: Limits) -> Self {
        let behavior = Behavior::new(limits, (0.0, STABLE), (300.0, STABLE));
        Self { target, limits, behavior, panic_until: f64::NEG_INFINITY }
    }
}

/// Returns the recommended number of instances by the sum of the ready ones' metric.
fn recommended(sum: f64, ready: f64, starting: f64, size: f64, target: f64) -> f64 {
    let ratio = sum / ready / target;
    let counted = if ratio >= 1.0 { ready + starting } else { ready };
    let new_ratio = sum / counted / target;
    let turns = (ratio >= 1.0) != (new_ratio >= 1.0);
    if (new_ratio - 1.0).abs() <= TOLERANCE || turns {
        return size;
    }
    let wanted = (new_ratio * counted).ceil();
    let is_against = if new_ratio >= 1.0 { wanted < size } else { wanted > size };
    if is_against && starting > 0.0 { size } else { wanted }
}

impl Autoscaler for Kthena {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 15.0, decide_every: 15.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        let ready = sight.serving().count() as f64;
        if ready < 1.0 {
            return Step::default();
        }
        let sum = sight.serving().map(|(_, page)| page.gauges.waiting).sum::<u64>() as f64;
        let (size, starting) = (f64::from(sight.requested), f64::from(sight.starting()));
        let wanted = recommended(sum, ready, starting, size, self.target);
        if wanted / size >= PANIC_THRESHOLD {
            self.panic_until = sight.now + PANIC_HOLD;
        }
        let stable = self.behavior.size(sight.now, sight.requested, wanted);
        let size = if sight.now < self.panic_until {
            self.limits.clamp(wanted.min(size * 11.0).max(size))
        } else {
            stable
        };
        Step { size: Some(size), ..Step::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_that_start_count_against_a_scale_up() {
        for (sum, ready, starting, size, expected) in [
            (20.0, 2.0, 0.0, 2.0, 4.0),
            (20.0, 2.0, 2.0, 4.0, 4.0),
            (60.0, 2.0, 2.0, 4.0, 12.0),
            (10.4, 2.0, 0.0, 2.0, 2.0),
            (4.0, 4.0, 0.0, 4.0, 1.0),
        ] {
            let found = recommended(sum, ready, starting, size, 5.0);
            assert!((found - expected).abs() < 1e-9, "{sum} {ready}: {found}");
        }
    }
}
