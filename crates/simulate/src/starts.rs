//! The time from a pod's creation until it serves.

use fastrand::Rng;

use crate::random::lognormal;

/// The time from the creation of a pod until its containers are started: the scheduler's, and the
/// kubelet's.
const SCHEDULING: f64 = 5.0;
/// The pods that are created within this time have their start in common, if starts are correlated.
const BATCH: f64 = 30.0;

/// How long replicas take to start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Starts {
    /// The median time from the creation of a pod until it is ready, in seconds.
    pub median: f64,
    /// The standard deviation of the time's logarithm.
    pub sigma: f64,
    /// The share of pods that never become ready.
    pub failing: f64,
    /// True if the pods of one scale-up wait for the same thing, such as an image that all of their
    /// nodes pull from one registry: their times are equal, and the more of them there are, the
    /// longer: by a tenth for each.
    pub correlated: bool,
    /// The number of pods that have nodes; a further one waits for a new node.
    pub warm_nodes: Option<u32>,
    /// The time that a new node takes, in seconds.
    pub node: f64,
}

impl Default for Starts {
    fn default() -> Self {
        Self {
            median: 120.0,
            sigma: 0.25,
            failing: 0.0,
            correlated: false,
            warm_nodes: None,
            node: 180.0,
        }
    }
}

/// The starts of a run.
#[derive(Debug)]
pub(crate) struct StartTimes {
    starts: Starts,
    rng: Rng,
    /// The time of the first pod of the current batch, its draw, and the number of its pods.
    batch: Option<(f64, f64, u32)>,
}

impl StartTimes {
    pub(crate) fn new(starts: Starts, rng: Rng) -> Self {
        Self { starts, rng, batch: None }
    }

    /// Draws the time that a pod takes from its creation to its readiness, in seconds; infinity for
    /// one that fails. `others` is the number of pods beside it.
    pub(crate) fn draw(&mut self, now: f64, others: u32) -> f64 {
        let Starts { median, sigma, failing, correlated, warm_nodes, node } = self.starts;
        let own = lognormal(&mut self.rng, (median - SCHEDULING).max(0.0), sigma);
        let fails = self.rng.f64() < failing;
        let loading = match self.batch {
            _ if !correlated => own,
            Some((since, first, pods)) if now - since < BATCH => {
                self.batch = Some((since, first, pods + 1));
                first * (1.0 + 0.1 * f64::from(pods))
            }
            _ => {
                self.batch = Some((now, own, 1));
                own
            }
        };
        let provisioning = if warm_nodes.is_some_and(|warm| others >= warm) { node } else { 0.0 };
        if fails { f64::INFINITY } else { SCHEDULING + loading + provisioning }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(starts: Starts, count: u32) -> Vec<f64> {
        let mut times = StartTimes::new(starts, Rng::with_seed(1));
        (0..count).map(|others| times.draw(0.0, others)).collect()
    }

    #[test]
    fn half_of_the_starts_take_longer_than_the_median() {
        let mut times = draws(Starts::default(), 4_001);
        times.sort_by(f64::total_cmp);
        assert!((times[2_000] / 120.0 - 1.0).abs() < 0.03, "{}", times[2_000]);
        assert!(times[0] > 40.0 && times[4_000] < 360.0);
    }

    #[test]
    fn some_starts_fail() {
        let failed = draws(Starts { failing: 0.02, ..Starts::default() }, 10_000);
        let failed = failed.iter().filter(|time| time.is_infinite()).count();
        assert!((150..250).contains(&failed), "{failed}");
    }

    #[test]
    fn correlated_starts_come_one_after_another() {
        let times = draws(Starts { correlated: true, ..Starts::default() }, 8);
        assert!(times.is_sorted() && times[7] > 1.6 * times[0]);
    }

    #[test]
    fn pods_beyond_the_warm_nodes_wait_for_one() {
        let starts = Starts { sigma: 0.0, warm_nodes: Some(2), node: 200.0, ..Starts::default() };
        assert_eq!(draws(starts, 3), [120.0, 120.0, 320.0]);
    }
}
