//! The allowed ratio of two roles' sizes.

use super::RoleDemand;
use crate::units::Milli;

/// The number of replicas of the first role for one replica of the second. The ratio does not apply
/// while one of the two has no replica.
///
/// Example: `min` 500 and `max` 2000 allow 0.5 to 2 replicas of the first role for one of the
/// second, so 4 of the second allow 2 to 8 of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// The indices of the two roles.
    pub between: [usize; 2],
    /// The smallest allowed ratio, in thousandths; `None` is no lower bound.
    pub min: Option<Milli>,
    /// The largest allowed ratio, in thousandths; `None` is no upper bound.
    pub max: Option<Milli>,
}

/// Sizes outside of the ratio: one role is too large for the other, which is too small for it.
struct Violation {
    large: usize,
    /// The largest size allowed beside the other role.
    at_most: i32,
    small: usize,
    /// The smallest size allowed beside the other role.
    at_least: i32,
}

impl Ratio {
    /// Returns the relative distance of sizes from the allowed range: 0 within it, 0.5 if their
    /// ratio is 1.5 times its upper bound.
    pub(super) fn error(&self, sizes: &[i32]) -> f64 {
        let [first, second] = self.between.map(|role| f64::from(sizes[role]));
        match self.violation(sizes) {
            None => 0.0,
            Some(Violation { large, .. }) if large == self.between[0] => {
                first / second / self.max.unwrap_or_default().as_f64() - 1.0
            }
            Some(_) => self.min.unwrap_or_default().as_f64() * second / first - 1.0,
        }
    }

    /// Returns whether sizes are within the range, or no further outside of it than others.
    pub(super) fn is_no_worse(&self, sizes: &[i32], than: &[i32]) -> bool {
        let error = self.error(sizes);
        error <= 0.0 || error <= self.error(than)
    }

    /// Returns sizes within the range: raises the role that is too small, and lowers the other
    /// where the raise does not suffice.
    pub(super) fn enforce(&self, roles: &[RoleDemand], demand: &[i32]) -> Vec<i32> {
        let mut sizes = demand.to_vec();
        self.raise(&mut sizes, |index| {
            let role = &roles[index];
            // More replicas would not start either while the role lags.
            if role.lagging > 0 { role.current } else { role.ceiling }
        });
        if let Some(Violation { large, at_most, small, .. }) = self.violation(&sizes) {
            let role = &roles[large];
            // Unless the small role is at its maximum it can follow in a later step, so the large
            // one keeps the replicas it has.
            let is_final = sizes[small] >= roles[small].max;
            let floor =
                if is_final { role.floor } else { role.floor.max(role.guaranteed(sizes[large])) };
            self.lower(&mut sizes, large, at_most.max(floor));
            self.trim(&mut sizes, small, demand[small]);
        }
        sizes
    }

    /// Raises the role that is too small, up to `limit(role)`.
    ///
    /// Two rounds suffice. A range that no whole numbers meet, such as exactly 1.414, is met as
    /// nearly as two rounds can; without the bound the two roles would raise each other for ever.
    pub(super) fn raise(&self, sizes: &mut [i32], limit: impl Fn(usize) -> i32) {
        for _ in 0..2 {
            if let Some(Violation { small, at_least, .. }) = self.violation(sizes) {
                sizes[small] = at_least.min(limit(small)).max(sizes[small]);
            }
        }
    }

    /// Returns the sizes with the growth of a role limited to the replicas of the other that have
    /// started.
    ///
    /// Example: with a ratio of at most 2, where the second role has 4 replicas of which 2 lag, the
    /// first grows to 4 and waits there.
    pub(super) fn wait(&self, roles: &[RoleDemand], agreed: &[i32]) -> Vec<i32> {
        let mut sizes = agreed.to_vec();
        let [first, second] = self.between;
        for (role, other) in [(first, second), (second, first)] {
            let lagging = roles[other].lagging;
            if lagging <= 0 || agreed[other] <= 0 {
                continue;
            }
            // Replicas that this step adds have not started either.
            let started = agreed[other].min(roles[other].current).saturating_sub(lagging).max(0);
            let at_most = if role == first {
                self.most_of_first(started)
            } else {
                self.most_of_second(started)
            };
            sizes[role] = sizes[role].min(at_most.max(roles[role].guaranteed(agreed[role])));
        }
        sizes
    }

    /// Returns whether a role of the ratio has to wait because the other one lags.
    pub(super) fn waits(&self, roles: &[RoleDemand], role: usize) -> bool {
        let mut others = self.between.iter().filter(|other| **other != role);
        self.between.contains(&role) && others.any(|other| roles[*other].lagging > 0)
    }

    /// Lowers a size if that brings the two roles nearer to the range.
    fn lower(&self, sizes: &mut [i32], role: usize, to: i32) {
        let (before, size) = (self.error(sizes), sizes[role]);
        sizes[role] = to.min(size);
        if self.error(sizes) >= before {
            sizes[role] = size;
        }
    }

    /// Takes back the part of a raise that the other role, lowered since, no longer requires.
    fn trim(&self, sizes: &mut [i32], role: usize, demand: i32) {
        let mut fewer = sizes.to_vec();
        fewer[role] = demand.min(sizes[role]);
        if let Some(Violation { small, at_least, .. }) = self.violation(&fewer)
            && small == role
        {
            fewer[role] = at_least.min(sizes[role]);
        }
        if self.is_no_worse(&fewer, sizes) {
            sizes.copy_from_slice(&fewer);
        }
    }

    /// Returns the role that is too large and the role that is too small, outside of the range.
    pub(super) fn too_large_and_too_small(&self, sizes: &[i32]) -> Option<(usize, usize)> {
        self.violation(sizes).map(|violation| (violation.large, violation.small))
    }

    fn violation(&self, sizes: &[i32]) -> Option<Violation> {
        let [first, second] = self.between;
        let (a, b) = (sizes[first], sizes[second]);
        if a <= 0 || b <= 0 {
            return None;
        }
        let (most_a, most_b) = (self.most_of_first(b), self.most_of_second(a));
        if a > most_a {
            let at_least = self.max.map_or(b, |max| divide(a, max));
            Some(Violation { large: first, at_most: most_a, small: second, at_least })
        } else if b > most_b {
            let at_least = self.min.map_or(a, |min| multiply(b, min));
            Some(Violation { large: second, at_most: most_b, small: first, at_least })
        } else {
            None
        }
    }

    /// Returns the largest size of the first role that is allowed beside a size of the second.
    fn most_of_first(&self, second: i32) -> i32 {
        self.max
            .map_or(i32::MAX, |max| clamp(i64::from(second).saturating_mul(max.0).div_euclid(1000)))
    }

    /// Returns the largest size of the second role that is allowed beside a size of the first.
    fn most_of_second(&self, first: i32) -> i32 {
        self.min
            .filter(|min| min.0 > 0)
            .map_or(i32::MAX, |min| clamp(i64::from(first) * 1000 / min.0))
    }
}

/// Multiplies a size, rounding up.
fn multiply(size: i32, by: Milli) -> i32 {
    clamp(-i64::from(size).saturating_neg().saturating_mul(by.0).div_euclid(1000))
}

/// Divides a size, rounding up.
fn divide(size: i32, by: Milli) -> i32 {
    clamp(-(-i64::from(size) * 1000).div_euclid(by.0.max(1)))
}

fn clamp(size: i64) -> i32 {
    size.clamp(0, i32::MAX.into()) as i32
}
