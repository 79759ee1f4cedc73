//! The order in which coordinated sizes are written.

use super::SharedLimits;

/// Returns the index of the role to write next, or `None` if nothing may be written now.
///
/// `sizes` are the current sizes and `goal` the coordinated ones. `writable` is, for each role, the
/// size that can be written at once: `None`, the goal, or a size on the way to it while a
/// scale-down drains.
///
/// It is the role that leaves the ratio with the smallest error. A write that makes the
/// error larger has to wait until both roles of the ratio can be written to their goals.
///
/// Example: with a ratio of 0.5 to 2, sizes of 4 and 2 and goals of 8 and 4, the second role goes
/// first: 4 to 4 is within the ratio, and 8 to 2 is not.
pub fn next_write(
    limits: &SharedLimits,
    sizes: &[i32],
    goal: &[i32],
    writable: &[Option<i32>],
) -> Option<usize> {
    let writes = Writes { limits, sizes, goal, writable };
    (0..sizes.len())
        .filter(|role| writes.changes_size(*role) && writes.is_allowed(*role))
        .min_by(|a, b| writes.error_after(*a).total_cmp(&writes.error_after(*b)))
}

/// The arguments of [`next_write`].
struct Writes<'a> {
    limits: &'a SharedLimits,
    sizes: &'a [i32],
    goal: &'a [i32],
    writable: &'a [Option<i32>],
}

impl Writes<'_> {
    fn changes_size(&self, role: usize) -> bool {
        self.writable[role].is_some_and(|to| to != self.sizes[role])
    }

    fn is_allowed(&self, role: usize) -> bool {
        self.limits.ratio.is_none_or(|ratio| {
            ratio.is_no_worse(&self.sizes_after(role), self.sizes)
                || ratio.between.into_iter().all(|role| self.can_reach_goal(role))
        })
    }

    fn can_reach_goal(&self, role: usize) -> bool {
        self.sizes[role] == self.goal[role] || self.writable[role] == Some(self.goal[role])
    }

    /// The error of the ratio once the role's size has been written.
    fn error_after(&self, role: usize) -> f64 {
        self.limits.ratio.map_or(0.0, |ratio| ratio.error(&self.sizes_after(role)))
    }

    fn sizes_after(&self, role: usize) -> Vec<i32> {
        let mut sizes = self.sizes.to_vec();
        sizes[role] = self.writable[role].unwrap_or(sizes[role]);
        sizes
    }
}
