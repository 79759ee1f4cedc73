//! The HPA's conversions between floats and integers.
//!
//! Go on amd64 converts a float that is out of range into the smallest integer, and its integers
//! wrap around. The Default profile saturates instead ([`Deviation::Saturation`]).

use crate::profile::{Deviation, Profile};

impl Profile {
    /// Rounds a float up to a number of replicas.
    pub(crate) fn ceil32(self, value: f64) -> i32 {
        self.trunc32(value.ceil())
    }

    /// Truncates a float to a number of replicas.
    pub(crate) fn trunc32(self, value: f64) -> i32 {
        let whole = value.trunc();
        let in_range = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&whole);
        // `as` saturates, and turns NaN into 0.
        if in_range || self.has(Deviation::Saturation) { whole as i32 } else { i32::MIN }
    }

    /// Rounds a float up to a number of thousandths.
    pub(crate) fn ceil64(self, value: f64) -> i64 {
        let whole = value.ceil();
        // A float can be 2^63, and cannot be 2^63 - 1, so the range is half-open.
        let in_range = (i64::MIN as f64..i64::MAX as f64).contains(&whole);
        if in_range || self.has(Deviation::Saturation) { whole as i64 } else { i64::MIN }
    }

    /// Narrows a sum of thousandths to the HPA's 64 bits.
    pub(crate) fn fit64(self, sum: i128) -> i64 {
        if self.has(Deviation::Saturation) {
            sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
        } else {
            sum as i64
        }
    }

    /// Narrows a sum of replicas to the HPA's 32 bits.
    pub(crate) fn fit32(self, sum: i64) -> i32 {
        if self.has(Deviation::Saturation) {
            sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
        } else {
            sum as i32
        }
    }
}

#[cfg(test)]
mod tests {
    use Profile::{Default, HpaExact};

    use super::*;

    #[test]
    fn a_float_out_of_range_becomes_the_smallest_or_the_nearest_integer() {
        let table = [
            (1.2, 2, 2),
            (-1.2, -1, -1),
            (2_147_483_646.5, i32::MAX, i32::MAX),
            (2_147_483_647.5, i32::MIN, i32::MAX),
            (-2_147_483_648.5, i32::MIN, i32::MIN),
            (f64::INFINITY, i32::MIN, i32::MAX),
            (f64::NAN, i32::MIN, 0),
        ];
        for (value, exact, ours) in table {
            assert_eq!((HpaExact.ceil32(value), Default.ceil32(value)), (exact, ours), "{value}");
        }
    }

    #[test]
    fn a_wide_float_out_of_range_does_too() {
        let table = [
            (0.1, 1, 1),
            (9.3e18, i64::MIN, i64::MAX),
            (9_223_372_036_854_775_808.0, i64::MIN, i64::MAX),
        ];
        for (value, exact, ours) in table {
            assert_eq!((HpaExact.ceil64(value), Default.ceil64(value)), (exact, ours), "{value}");
        }
    }

    #[test]
    fn a_sum_wraps_or_saturates() {
        let above = i128::from(i64::MAX) + 1;
        assert_eq!((HpaExact.fit64(above), Default.fit64(above)), (i64::MIN, i64::MAX));
        let above = i64::from(i32::MAX) + 1;
        assert_eq!((HpaExact.fit32(above), Default.fit32(above)), (i32::MIN, i32::MAX));
    }
}
