//! The lengths of requests, drawn from what an interval of time tells about them.

use fastrand::Rng;
use llm_autoscaler_engines::Buckets;

use crate::random::lognormal;

/// The longest length that is drawn, in tokens.
const LONGEST: f64 = 1e7;

/// The lengths of the requests of a window.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LengthShape {
    /// The buckets of a histogram. Within a bucket the logarithm is uniform.
    Buckets(Buckets),
    /// A lognormal shape with this standard deviation of the logarithm, because the engine has only
    /// sums of tokens.
    Lognormal(f64),
}

impl LengthShape {
    /// Draws as many lengths as there are requests. Their sum is `total` tokens, up to the rounding
    /// to at least one token each.
    pub(super) fn draw(&self, rng: &mut Rng, count: usize, total: f64) -> Vec<u32> {
        let drawn: Vec<f64> = (0..count).map(|_| self.one(rng)).collect();
        let sum: f64 = drawn.iter().sum();
        let scale = if sum > 0.0 { total / sum } else { 0.0 };
        // The rest of each rounding is passed on, so that the sum stays.
        let mut rest = 0.0;
        let round = |length: f64| {
            let exact = length * scale + rest;
            let whole = exact.round().clamp(1.0, LONGEST);
            rest = (exact - whole).clamp(-LONGEST, LONGEST);
            whole as u32
        };
        drawn.into_iter().map(round).collect()
    }

    fn one(&self, rng: &mut Rng) -> f64 {
        match self {
            Self::Lognormal(sigma) => lognormal(rng, 1.0, *sigma),
            Self::Buckets(buckets) => {
                let rank = rng.f64() * buckets.events();
                let index = buckets.counts().partition_point(|count| *count <= rank);
                let bounds = buckets.bounds();
                let lower = index.checked_sub(1).map_or(0.0, |below| bounds[below]).max(1.0);
                let upper = bounds.get(index).copied().unwrap_or(f64::INFINITY);
                // Nothing is known beyond the last finite bound but that it was passed.
                let upper = if upper.is_finite() { upper.max(lower) } else { 2.0 * lower };
                lower * (upper / lower).powf(rng.f64())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_sum_and_their_shape() {
        let buckets =
            Buckets::new([(100.0, 80.0), (1000.0, 80.0), (2000.0, 100.0), (f64::INFINITY, 100.0)]);
        let mut rng = Rng::with_seed(1);
        for shape in [LengthShape::Buckets(buckets.unwrap()), LengthShape::Lognormal(0.8)] {
            for (count, total) in [(1_000, 400_000.0), (3, 100.0), (1, 7.0)] {
                let lengths = shape.draw(&mut rng, count, total);
                let sum: f64 = lengths.iter().map(|length| f64::from(*length)).sum();
                assert_eq!(lengths.len(), count);
                assert!((sum - total).abs() <= 1.0, "{shape:?}: {sum}, not {total}");
            }
            assert_eq!(shape.draw(&mut rng, 0, 0.0), Vec::<u32>::new());
            // Each has at least one token.
            assert_eq!(shape.draw(&mut rng, 2, 0.0), [1, 1]);
        }
    }

    #[test]
    fn a_fifth_of_the_lengths_is_in_the_bucket_of_a_fifth() {
        let buckets =
            Buckets::new([(100.0, 80.0), (1000.0, 80.0), (2000.0, 100.0), (f64::INFINITY, 100.0)]);
        let shape = LengthShape::Buckets(buckets.unwrap());
        let mut rng = Rng::with_seed(2);
        let drawn: Vec<f64> = (0..10_000).map(|_| shape.one(&mut rng)).collect();
        let long = drawn.iter().filter(|length| **length > 1000.0).count();
        assert!((1_900..2_100).contains(&long), "{long}");
        assert!(drawn.iter().all(|length| *length <= 100.0 || *length > 1000.0));
    }
}
