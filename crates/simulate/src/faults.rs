//! What goes wrong between the engines and an autoscaler.

use std::collections::BTreeMap;

use fastrand::Rng;

use crate::random::exponential;

/// The faults of scrapes and engines. The default has none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// The share of scrapes that fail.
    pub loss: f64,
    /// The time from a scrape until the autoscaler has its page, in seconds, as with a Prometheus
    /// server between them.
    pub delay: f64,
    /// The number of times per hour that the page of a pod vanishes.
    pub vanishing: f64,
    /// The time for which it is away, in seconds.
    pub vanishes_for: f64,
    /// The number of times per hour that the engine of a pod crashes: its requests are cut off, its
    /// counters begin at zero, and it starts again.
    pub crashes: f64,
    /// The time after the warm-up at which the wall clock of the autoscaler is set, in seconds, and
    /// by how much.
    pub clock: Option<(f64, f64)>,
}

/// The pages of a run that vanish.
#[derive(Debug)]
pub(crate) struct Pages {
    faults: Faults,
    rng: Rng,
    /// The next time that each pod's page vanishes.
    vanishes_at: BTreeMap<u64, f64>,
}

impl Pages {
    pub(crate) fn new(faults: Faults, rng: Rng) -> Self {
        Self { faults, rng, vanishes_at: BTreeMap::new() }
    }

    /// Returns true if a scrape of the pod's page succeeds.
    pub(crate) fn answers(&mut self, pod: u64, now: f64) -> bool {
        let Faults { loss, vanishing, vanishes_for, .. } = self.faults;
        let is_lost = loss > 0.0 && self.rng.f64() < loss;
        if vanishing <= 0.0 {
            return !is_lost;
        }
        let rng = &mut self.rng;
        let mut draw = || now + exponential(rng) * 3_600.0 / vanishing;
        let at = self.vanishes_at.entry(pod).or_insert_with(&mut draw);
        if now >= *at + vanishes_for {
            *at = draw();
        }
        !is_lost && now < *at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(faults: Faults) -> f64 {
        let mut pages = Pages::new(faults, Rng::with_seed(1));
        let scrapes = 100_000;
        let answered = (0..scrapes).filter(|at| pages.answers(1, f64::from(*at))).count();
        answered as f64 / f64::from(scrapes)
    }

    #[test]
    fn as_many_scrapes_fail_as_were_asked_for() {
        assert!((answered(Faults::default()) - 1.0).abs() < f64::EPSILON);
        let share = answered(Faults { loss: 0.2, ..Faults::default() });
        assert!((share - 0.8).abs() < 0.01, "{share}");
        // Ten times an hour for a minute, of 370 s that a time without and with it take.
        let share = answered(Faults { vanishing: 10.0, vanishes_for: 60.0, ..Faults::default() });
        assert!((share - 360.0 / 420.0).abs() < 0.04, "{share}");
    }
}
