//! The plan of a pod: its engine and its cold start.

use std::time::Duration;

use crate::engine::Engine;

/// The plan of a pod on a hollow node.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The engine that serves on the pod's address.
    pub engine: Engine,
    /// The least time from the pod's start until it is ready. A command must be healthy, too.
    pub cold_start: ColdStart,
}

impl Plan {
    /// Creates a plan with this engine; the pod is ready at once.
    pub fn new(engine: Engine) -> Self {
        Self { engine, cold_start: ColdStart::Fixed(Duration::ZERO) }
    }

    /// Sets the cold start.
    #[must_use]
    pub fn cold_start(mut self, cold_start: ColdStart) -> Self {
        self.cold_start = cold_start;
        self
    }
}

/// The time that a pod takes from running to ready.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColdStart {
    /// A constant time.
    Fixed(Duration),
    /// A time that is uniformly distributed between the two.
    Uniform(Duration, Duration),
    /// A log-normal time, as loading weights often takes: half of the pods are faster than
    /// `median`, and the logarithm's standard deviation is `sigma`.
    LogNormal {
        /// The median.
        median: Duration,
        /// The spread. With 0.3, one pod in forty takes more than 1.8 times the median.
        sigma: f64,
    },
    /// The pod runs and never becomes ready.
    Never,
    /// The pod stays pending, as without a free GPU, until its plan changes.
    Unschedulable,
}

impl ColdStart {
    /// Draws a duration; `None` if the pod never becomes ready.
    pub(super) fn draw(self) -> Option<Duration> {
        match self {
            Self::Fixed(duration) => Some(duration),
            Self::Uniform(low, high) => {
                Some(low + high.saturating_sub(low).mul_f64(fastrand::f64()))
            }
            Self::LogNormal { median, sigma } => {
                Some(median.mul_f64((sigma * standard_normal()).exp()))
            }
            Self::Never | Self::Unschedulable => None,
        }
    }
}

/// Draws from the standard normal distribution by the Box-Muller transform.
fn standard_normal() -> f64 {
    let radius = (-2.0 * (1.0 - fastrand::f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * fastrand::f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_within_their_distribution() {
        let (low, high) = (Duration::from_secs(2), Duration::from_secs(5));
        for _ in 0..1000 {
            let drawn = ColdStart::Uniform(low, high).draw().unwrap();
            assert!((low..=high).contains(&drawn), "{drawn:?}");
        }
        assert_eq!(ColdStart::Fixed(low).draw(), Some(low));
        assert_eq!(ColdStart::Never.draw(), None);
    }

    #[test]
    fn half_of_a_log_normal_lies_below_its_median() {
        let median = Duration::from_secs(10);
        let below = (0..10_000)
            .filter(|_| ColdStart::LogNormal { median, sigma: 0.3 }.draw().unwrap() < median)
            .count();
        // The margin is six standard deviations.
        assert!((4_700..5_300).contains(&below), "{below} of 10000");
    }
}
