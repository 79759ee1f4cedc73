//! Random arrivals at a rate that changes with time.

use super::{Lengths, Request, Shape};
use crate::random::{Use, exponential, generator};

/// Poisson arrivals at the rate of a shape.
#[derive(Debug, Clone)]
pub struct SyntheticLoad {
    /// The rate over time.
    pub shape: Shape,
    /// The lengths of the requests; where the shape has lengths of its own, those count.
    pub lengths: Lengths,
    /// The length of the warm-up in seconds, at the rate of the shape's start.
    pub warm_up: f64,
}

impl SyntheticLoad {
    /// Returns the time of the last possible arrival, in seconds.
    pub(super) fn duration(&self) -> f64 {
        self.warm_up + self.shape.duration()
    }

    /// Returns the arrivals, in the order of time: those of the highest rate, of which as many are
    /// left out as the rate is lower.
    pub(super) fn stream(&self, seed: u64) -> impl Iterator<Item = Request> + '_ {
        let mut times = generator(seed, Use::Arrivals);
        let mut lengths = generator(seed, Use::Lengths);
        let (highest, end) = (self.shape.highest().max(1e-9), self.duration());
        let mut at = 0.0;
        std::iter::from_fn(move || {
            loop {
                at += exponential(&mut times) / highest;
                if at >= end {
                    return None;
                }
                let since = (at - self.warm_up).max(0.0);
                if times.f64() * highest < self.shape.at(since) {
                    let own = self.shape.lengths_at(since);
                    let (prompt_tokens, output_tokens) =
                        own.unwrap_or(&self.lengths).draw(&mut lengths);
                    return Some(Request { at, prompt_tokens, output_tokens });
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_requests_arrive_as_the_rate_says() {
        let load = SyntheticLoad {
            shape: "step:base=10,peak=50,at=200,for=100,length=400".parse().unwrap(),
            lengths: Lengths::Lognormal { prompt: 100.0, output: 10.0, sigma: 0.0 },
            warm_up: 100.0,
        };
        let arrivals: Vec<f64> = load.stream(3).map(|request| request.at).collect();
        let between = |from: f64, to: f64| {
            arrivals.iter().filter(|at| (from..to).contains(*at)).count() as f64
        };
        assert!((between(0.0, 300.0) / 3000.0 - 1.0).abs() < 0.06);
        assert!((between(300.0, 400.0) / 5000.0 - 1.0).abs() < 0.05);
        assert!((between(400.0, 500.0) / 1000.0 - 1.0).abs() < 0.10);
    }
}
