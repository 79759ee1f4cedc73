//! Values that many modules share: a metric value, and a change from one size to another.

use serde::{Deserialize, Serialize};

/// A metric value or a target in thousandths: `Milli(2500)` is 2.5.
///
/// The HPA reads quantities in the same unit (`Quantity.MilliValue` of
/// `k8s.io/apimachinery/pkg/api/resource`): 64-bit integers, rounded up where the quantity is
/// finer. Sums and means of a recommendation are integer arithmetic on this unit.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Milli(pub i64);

impl Milli {
    /// Returns a whole number in thousandths; saturates at the ends of the range.
    pub const fn whole(value: i64) -> Self {
        Self(value.saturating_mul(1000))
    }

    /// Rounds `value` up to a thousandth, as a quantity with more digits is rounded.
    ///
    /// Values out of range saturate; NaN gives `None`. Binary noise far below a thousandth is
    /// ignored: `0.1 + 0.2` is 300, not 301.
    pub fn from_f64(value: f64) -> Option<Self> {
        if value.is_nan() {
            return None;
        }
        let scaled = value * 1000.0;
        let nearest = scaled.round();
        let noise = scaled.abs() * 4.0 * f64::EPSILON;
        let milli = if (scaled - nearest).abs() <= noise { nearest } else { scaled.ceil() };
        // `as` saturates.
        Some(Self(milli as i64))
    }

    /// Returns the value as a float, for display: 2.5 for `Milli(2500)`.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// A change of a target's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// `spec.replicas` as it is now.
    pub current: i32,
    /// The desired replicas.
    pub desired: i32,
}

impl Resize {
    /// Returns whether the target gets smaller.
    pub fn is_scale_down(self) -> bool {
        self.desired < self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_round_up_to_a_thousandth() {
        let table = [
            (0.0, 0),
            (0.3, 300),
            (0.1 + 0.2, 300),
            (11.0, 11_000),
            (0.000_1, 1),
            (-0.000_9, 0),
            (1.000_1, 1001),
            (f64::INFINITY, i64::MAX),
            (f64::NEG_INFINITY, i64::MIN),
        ];
        for (value, milli) in table {
            assert_eq!(Milli::from_f64(value), Some(Milli(milli)), "{value}");
        }
        assert_eq!(Milli::from_f64(f64::NAN), None);
    }

    #[test]
    fn thousandths_are_shown_as_whole_numbers() {
        for (milli, value) in [(0, 0.0), (2500, 2.5), (-1, -0.001)] {
            assert!((Milli(milli).as_f64() - value).abs() < f64::EPSILON, "{milli}");
        }
    }
}
