//! What becomes of a pod.

use std::time::Duration;

use crate::engine::Engine;

/// What a hollow node does with a pod.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What serves on the pod's address.
    pub engine: Engine,
    /// How long after its start the pod becomes ready, at the earliest: a command must be healthy besides.
    pub cold_start: ColdStart,
}

impl Plan {
    /// This engine, ready at once.
    pub fn new(engine: Engine) -> Self {
        Self { engine, cold_start: ColdStart::Fixed(Duration::ZERO) }
    }

    /// Ready later.
    #[must_use]
    pub fn cold_start(mut self, cold_start: ColdStart) -> Self {
        self.cold_start = cold_start;
        self
    }
}

/// The time that a pod takes from running to ready.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColdStart {
    /// Always the same.
    Fixed(Duration),
    /// Anything between, equally likely.
    Uniform(Duration, Duration),
    /// Log-normal, as loading of weights tends to be: half of the pods are quicker than `median`, and the logarithm's
    /// standard deviation is `sigma`.
    LogNormal {
        /// The middle one.
        median: Duration,
        /// The spread; 0.3 makes one of forty take more than 1.8 times the median.
        sigma: f64,
    },
    /// The pod runs and never becomes ready.
    Never,
    /// The pod stays pending, as for want of a GPU, until it is planned otherwise.
    Unschedulable,
}

impl ColdStart {
    /// One duration of the distribution; `None` where the pod never becomes ready.
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

/// Box and Muller's transform of two uniform numbers.
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
        assert!((4_700..5_300).contains(&below), "{below} of 10000"); // six standard deviations
    }
}
