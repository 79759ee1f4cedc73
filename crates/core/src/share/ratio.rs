//! The range in which two roles are to each other.

use super::Part;
use crate::Milli;

/// How many replicas of the first role there are to be for one of the second. While one of the two has none, it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// The two roles, by their places.
    pub between: [usize; 2],
    /// At least so many.
    pub min: Option<Milli>,
    /// At most so many.
    pub max: Option<Milli>,
}

/// Sizes outside of the range: the role that is too large and the one that is too small for it.
struct Broken {
    large: usize,
    /// The most that it might be beside the other.
    at_most: i32,
    small: usize,
    /// The least that it would have to be beside the other.
    at_least: i32,
}

impl Ratio {
    /// How far sizes are out of the range: 0 within it, else by what share of it.
    pub(super) fn off(&self, sizes: &[i32]) -> f64 {
        let [first, second] = self.between.map(|role| f64::from(sizes[role]));
        match self.broken(sizes) {
            None => 0.0,
            Some(Broken { large, .. }) if large == self.between[0] => {
                first / second / self.max.unwrap_or_default().as_f64() - 1.0
            }
            Some(_) => self.min.unwrap_or_default().as_f64() * second / first - 1.0,
        }
    }

    /// Whether sizes are in the range, or no further out of it than others are.
    pub(super) fn is_no_worse(&self, sizes: &[i32], than: &[i32]) -> bool {
        let off = self.off(sizes);
        off <= 0.0 || off <= self.off(than)
    }

    /// Sizes in the range: the one that is too small is raised; where it cannot be, the other is not that large.
    pub(super) fn mend(&self, parts: &[Part], wanted: &[i32]) -> Vec<i32> {
        let mut sizes = wanted.to_vec();
        // Who lags is not asked for more.
        let reach = |part: &Part| if part.lagging > 0 { part.current } else { part.highest };
        self.raise(&mut sizes, |role| reach(&parts[role]));
        if let Some(Broken { large, at_most, small, .. }) = self.broken(&sizes) {
            let part = &parts[large];
            // What is only a matter of time is no reason to take anything away.
            let is_final = sizes[small] >= parts[small].most;
            let floor =
                if is_final { part.lowest } else { part.lowest.max(part.kept(sizes[large])) };
            self.lower(&mut sizes, large, at_most.max(floor));
            self.trim(&mut sizes, small, wanted[small]);
        }
        sizes
    }

    /// Raises the one that is too small, as far as it may be. At most twice, so that a range that no whole numbers meet is met as nearly
    /// as they can, instead of never.
    pub(super) fn raise(&self, sizes: &mut [i32], reach: impl Fn(usize) -> i32) {
        for _ in 0..2 {
            if let Some(Broken { small, at_least, .. }) = self.broken(sizes) {
                sizes[small] = at_least.min(reach(small)).max(sizes[small]);
            }
        }
    }

    /// Sizes that do not run away from a role that lags.
    pub(super) fn wait(&self, parts: &[Part], agreed: &[i32]) -> Vec<i32> {
        let mut sizes = agreed.to_vec();
        let [first, second] = self.between;
        for (role, other) in [(first, second), (second, first)] {
            let lagging = parts[other].lagging;
            if lagging <= 0 || agreed[other] <= 0 {
                continue;
            }
            // What it asks for now has still to come.
            let there = agreed[other].min(parts[other].current).saturating_sub(lagging).max(0);
            let beside =
                if role == first { self.most_of_first(there) } else { self.most_of_second(there) };
            sizes[role] = sizes[role].min(beside.max(parts[role].kept(agreed[role])));
        }
        sizes
    }

    /// Whether the other role lags.
    pub(super) fn waits(&self, parts: &[Part], role: usize) -> bool {
        let others = self.between.iter().filter(|other| **other != role);
        self.between.contains(&role) && others.into_iter().any(|other| parts[*other].lagging > 0)
    }

    /// Lowers a size, if that brings the two nearer to the range.
    fn lower(&self, sizes: &mut [i32], role: usize, to: i32) {
        let (before, size) = (self.off(sizes), sizes[role]);
        sizes[role] = to.min(size);
        if self.off(sizes) >= before {
            sizes[role] = size;
        }
    }

    /// Takes back what a role was raised by beyond what the other one needs by now.
    fn trim(&self, sizes: &mut [i32], role: usize, wanted: i32) {
        let mut fewer = sizes.to_vec();
        fewer[role] = wanted.min(sizes[role]);
        if let Some(Broken { small, at_least, .. }) = self.broken(&fewer)
            && small == role
        {
            fewer[role] = at_least.min(sizes[role]);
        }
        if self.is_no_worse(&fewer, sizes) {
            sizes.copy_from_slice(&fewer);
        }
    }

    /// The role that is too large and the one that is too small, outside of the range.
    pub(super) fn too_large_and_too_small(&self, sizes: &[i32]) -> Option<(usize, usize)> {
        self.broken(sizes).map(|broken| (broken.large, broken.small))
    }

    fn broken(&self, sizes: &[i32]) -> Option<Broken> {
        let [first, second] = self.between;
        let (a, b) = (sizes[first], sizes[second]);
        if a <= 0 || b <= 0 {
            return None;
        }
        let (most_a, most_b) = (self.most_of_first(b), self.most_of_second(a));
        if a > most_a {
            let at_least = self.max.map_or(b, |max| divided(a, max));
            Some(Broken { large: first, at_most: most_a, small: second, at_least })
        } else if b > most_b {
            let at_least = self.min.map_or(a, |min| multiplied(b, min));
            Some(Broken { large: second, at_most: most_b, small: first, at_least })
        } else {
            None
        }
    }

    /// The most replicas of the first role beside so many of the second.
    fn most_of_first(&self, second: i32) -> i32 {
        self.max
            .map_or(i32::MAX, |max| fit((i64::from(second).saturating_mul(max.0)).div_euclid(1000)))
    }

    /// The most replicas of the second role beside so many of the first.
    fn most_of_second(&self, first: i32) -> i32 {
        let at = |min: Milli| fit(i64::from(first) * 1000 / min.0);
        self.min.filter(|min| min.0 > 0).map_or(i32::MAX, at)
    }
}

/// Rounded up.
fn multiplied(size: i32, by: Milli) -> i32 {
    fit(-i64::from(size).saturating_neg().saturating_mul(by.0).div_euclid(1000))
}

/// Rounded up.
fn divided(size: i32, by: Milli) -> i32 {
    fit(-(-i64::from(size) * 1000).div_euclid(by.0.max(1)))
}

fn fit(size: i64) -> i32 {
    size.clamp(0, i32::MAX.into()) as i32
}
