//! The change of a load that its past announces, by ridge regression.
//!
//! Four features of the recent past may announce by how much the load will be above or below its
//! present mean. Their weights are learned by what followed them in the last hour. A long ramp
//! teaches that a straight rise goes on, a load with a rhythm what comes after a low and after a
//! high, and a load of chance that it returns to its mean. Without experience a part of a straight
//! rise is carried on, and nothing else announces anything.

use super::fit::eliminate;

/// The share of a rise that is carried on without experience, and the squared rises that this
/// counts for.
pub(super) const CARRIED_ON: f64 = 0.7;
const UNSURE: f64 = 0.4;
/// The squared values of another feature that its weight of zero counts for.
const IRRELEVANT: f64 = 3.0;
/// The largest changes that are predicted, as shares of the present mean.
pub(super) const LARGEST_RISE: f64 = 1.0;
pub(super) const LARGEST_FALL: f64 = 0.4;
/// The range of the changes that are learned from.
const LEARNED: (f64, f64) = (-0.8, 2.0);
/// The time constant of the experience, in seconds.
const MEMORY: f64 = 3_600.0;

/// Shares of the present mean load: the straight rise up to the time that is predicted, and how far
/// the load of three past times is above the present one.
pub(super) type Features = [f64; 4];

/// The experience with the features.
#[derive(Clone, Copy, Debug)]
pub(super) struct Regression {
    products: [[f64; 4]; 4],
    sums: [f64; 4],
    weights: [f64; 4],
    learned_at: f64,
}

impl Default for Regression {
    fn default() -> Self {
        let weights = [CARRIED_ON, 0.0, 0.0, 0.0];
        Self { products: [[0.0; 4]; 4], sums: [0.0; 4], weights, learned_at: 0.0 }
    }
}

impl Regression {
    /// Learns the change that has followed features.
    pub(super) fn learn(&mut self, now: f64, features: &Features, change: f64) {
        let kept = (-(now - self.learned_at).max(0.0) / MEMORY).exp();
        let change = change.clamp(LEARNED.0, LEARNED.1);
        for (place, feature) in features.iter().enumerate() {
            for (product, other) in self.products[place].iter_mut().zip(features) {
                *product = *product * kept + feature * other;
            }
            self.sums[place] = self.sums[place] * kept + feature * change;
        }
        self.learned_at = now;
        self.weights = self.solve();
    }

    /// Returns the change that features announce.
    pub(super) fn predict(&self, features: &Features) -> f64 {
        let change: f64 = self.weights.iter().zip(features).map(|(one, other)| one * other).sum();
        change.clamp(-LARGEST_FALL, LARGEST_RISE)
    }

    /// Returns the weights with the least squared error, drawn towards those without experience.
    fn solve(&self) -> [f64; 4] {
        let mut lines = [[0.0; 5]; 4];
        for (place, line) in lines.iter_mut().enumerate() {
            line[..4].copy_from_slice(&self.products[place]);
            line[4] = self.sums[place];
            line[place] += if place == 0 { UNSURE } else { IRRELEVANT };
        }
        lines[0][4] += UNSURE * CARRIED_ON;
        eliminate(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_what_came_after_the_features() {
        // The change by the rise and by the load of before; the prediction for a rise of a tenth
        // after a load that was a tenth higher.
        let table = [(1.0, 0.0, 0.1), (0.0, 0.0, 0.0), (0.5, 0.5, 0.1), (0.0, 1.0, 0.1)];
        for (by_rise, by_before, expected) in table {
            let mut regression = Regression::default();
            for index in 0..240 {
                let at = f64::from(index);
                let features = [0.4 * (at / 7.0).sin().max(0.0), 0.4 * (at / 3.0).cos(), 0.0, 0.0];
                let change = by_rise * features[0] + by_before * features[1];
                regression.learn(15.0 * at, &features, change);
            }
            let found = regression.predict(&[0.1, 0.1, 0.0, 0.0]);
            assert!((found - expected).abs() < 0.025, "{by_rise} {by_before}: {found}");
        }
    }

    #[test]
    fn nothing_learned_carries_a_rise_on_in_part_and_predictions_have_bounds() {
        let regression = Regression::default();
        assert!((regression.predict(&[0.2, 0.9, -0.9, 0.9]) - 0.2 * CARRIED_ON).abs() < 1e-9);
        assert!((regression.predict(&[9.0, 0.0, 0.0, 0.0]) - LARGEST_RISE).abs() < 1e-9);
        let mut falls = Regression::default();
        (0..240).for_each(|at| falls.learn(f64::from(at), &[0.0, 0.0, 0.0, 1.0], -0.8));
        assert!((falls.predict(&[0.0, 0.0, 0.0, 1.0]) + LARGEST_FALL).abs() < 1e-9);
    }
}
