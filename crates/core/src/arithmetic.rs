//! The HPA's conversions. Go on amd64 turns a float that is out of range into the smallest integer, and
//! lets integers wrap; the Default profile ends at the ends of the range instead.

use crate::{Deviation, Profile};

impl Profile {
    /// Rounds up to a number of replicas.
    pub(crate) fn ceil32(self, value: f64) -> i32 {
        self.trunc32(value.ceil())
    }

    /// Cuts off to a number of replicas.
    pub(crate) fn trunc32(self, value: f64) -> i32 {
        let whole = value.trunc();
        let in_range = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&whole);
        // `as` saturates (and NaN becomes 0).
        if in_range || self.has(Deviation::Saturation) { whole as i32 } else { i32::MIN }
    }

    /// Rounds up to thousandths.
    pub(crate) fn ceil64(self, value: f64) -> i64 {
        let whole = value.ceil();
        // 2^63 is a float, 2^63 - 1 is not.
        let in_range = (i64::MIN as f64..i64::MAX as f64).contains(&whole);
        if in_range || self.has(Deviation::Saturation) { whole as i64 } else { i64::MIN }
    }

    /// A sum of thousandths in the width that the HPA keeps it in.
    pub(crate) fn fit64(self, sum: i128) -> i64 {
        if self.has(Deviation::Saturation) {
            sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
        } else {
            sum as i64
        }
    }

    /// A sum of replicas in the width that the HPA keeps it in.
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
    fn out_of_range_is_the_smallest_or_the_nearest() {
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
    fn wide_values_too() {
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
    fn sums_wrap_or_end() {
        let above = i128::from(i64::MAX) + 1;
        assert_eq!((HpaExact.fit64(above), Default.fit64(above)), (i64::MIN, i64::MAX));
        let above = i64::from(i32::MAX) + 1;
        assert_eq!((HpaExact.fit32(above), Default.fit32(above)), (i32::MIN, i32::MAX));
    }
}
