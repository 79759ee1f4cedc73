//! The limits on all roles together.

use std::cmp::Ordering;

use super::{RoleDemand, SharedLimits};

impl SharedLimits {
    /// Returns whether sizes, one for each role, are within the limits on replicas and GPUs.
    fn allows(&self, roles: &[RoleDemand], sizes: &[i32]) -> bool {
        self.allow(roles.iter().zip(sizes.iter().copied()))
    }

    /// Returns whether roles with these sizes are within the limits on replicas and GPUs.
    fn allow<'r>(&self, roles: impl Iterator<Item = (&'r RoleDemand, i32)>) -> bool {
        let (mut replicas, mut gpus) = (0_i64, 0_i64);
        for (role, size) in roles {
            replicas += i64::from(size);
            gpus += role.gpus.saturating_mul(size.into());
        }
        replicas <= self.max_replicas && self.max_gpus.is_none_or(|max| gpus <= max)
    }

    fn ratio_error(&self, sizes: &[i32]) -> f64 {
        self.ratio.map_or(0.0, |ratio| ratio.error(sizes))
    }

    fn is_no_worse(&self, sizes: &[i32], than: &[i32]) -> bool {
        self.ratio.is_none_or(|ratio| ratio.is_no_worse(sizes, than))
    }
}

/// Fits the agreed sizes under the shared limits.
///
/// If they fit, returns them. Otherwise every role gets its guaranteed replicas, and the remaining
/// room goes, one replica at a time, to the role with the smallest granted fraction of its demand
/// ("water-filling"). Replicas that exist only for the ratio are added last, so a demand that
/// cannot be met never reserves room.
///
/// Example: at most 10 replicas; A demands 4 and B 12, and each has 2. The guaranteed 2 + 2 leave
/// 6. A has 2/4 of its demand and B 2/12, so B gets replicas until it also has one half (6). Then
/// both get one more: A has 3 and B has 7.
pub(super) fn fit(limits: &SharedLimits, roles: &[RoleDemand], agreed: &[i32]) -> Vec<i32> {
    if limits.allows(roles, agreed) {
        return agreed.to_vec();
    }
    let demand: Vec<i32> =
        roles.iter().zip(agreed).map(|(role, agreed)| role.demand.min(*agreed)).collect();
    let mut sizes: Vec<i32> =
        roles.iter().zip(&demand).map(|(role, demand)| role.guaranteed(*demand)).collect();
    if let Some(ratio) = limits.ratio {
        ratio.raise(&mut sizes, |role| roles[role].guaranteed(agreed[role]));
    }
    shrink(limits, roles, &demand, &mut sizes);
    restore_ratio(limits, roles, agreed, &mut sizes);
    fill(limits, Goal { demand: &demand, agreed }, &mut sizes, |sizes| limits.allows(roles, sizes));
    sizes
}

/// Returns the sizes for which there is room now.
///
/// A role that shrinks does so at once. A role that grows gets the room that is free: terminating
/// replicas take up theirs until they are gone. Example: at most 10 replicas; A shrinks from 8 to 4
/// and B grows from 2 to 6. A gets 4, and B stays at 2 until the 4 replicas of A have terminated.
pub(super) fn grow(limits: &SharedLimits, roles: &[RoleDemand], fitting: &[i32]) -> Vec<i32> {
    let shrinks_only = roles.iter().zip(fitting).all(|(role, size)| *size <= role.current);
    if shrinks_only || has_room(limits, roles, fitting) {
        return fitting.to_vec();
    }
    let mut sizes: Vec<i32> = roles.iter().map(|role| role.current).collect();
    let grown: Vec<i32> =
        roles.iter().zip(fitting).map(|(role, size)| role.current.max(*size)).collect();
    fill(limits, Goal { demand: &grown, agreed: &grown }, &mut sizes, |sizes| {
        has_room(limits, roles, sizes)
    });
    sizes.iter().zip(fitting).map(|(size, fitting)| *size.min(fitting)).collect()
}

/// Returns whether sizes fit beside the replicas that are still there.
fn has_room(limits: &SharedLimits, roles: &[RoleDemand], sizes: &[i32]) -> bool {
    limits.allow(roles.iter().zip(sizes).map(|(role, size)| (role, occupied(role, *size))))
}

/// Returns the replicas that take up room when a role gets `size`: those that exist and those that
/// it adds.
fn occupied(role: &RoleDemand, size: i32) -> i32 {
    let added = size.saturating_sub(role.current).max(0);
    role.existing.max(role.current).saturating_add(added)
}

/// Shrinks roles until the limits hold: each replica is taken from the role that leaves the ratio
/// with the smallest error, and among equals from the one with the largest granted fraction.
///
/// No role shrinks while the size of one is fixed: a size that was set by hand may exceed the
/// limit, and the other roles do not pay for it.
fn shrink(limits: &SharedLimits, roles: &[RoleDemand], demand: &[i32], sizes: &mut [i32]) {
    if roles.iter().any(|role| role.fixed) {
        return;
    }
    while !limits.allows(roles, sizes) {
        let cost = |role: usize| {
            let error = limits.ratio_error(&changed(sizes, role, -1));
            (error, -granted_fraction(sizes, demand, role))
        };
        let Some(role) = (0..sizes.len())
            .filter(|role| sizes[*role] > roles[*role].floor.max(0))
            .min_by(|a, b| cost(*a).partial_cmp(&cost(*b)).unwrap_or(Ordering::Equal))
        else {
            return;
        };
        sizes[role] -= 1;
    }
}

/// Brings sizes back into the ratio, or as near as possible, one replica at a time: adds to the
/// smaller role where there is room, else takes from the larger.
fn restore_ratio(limits: &SharedLimits, roles: &[RoleDemand], agreed: &[i32], sizes: &mut [i32]) {
    let Some(ratio) = limits.ratio else { return };
    while let Some((large, small)) = ratio.too_large_and_too_small(sizes) {
        if sizes[small] >= agreed[small] {
            return;
        }
        let more = changed(sizes, small, 1);
        let next = if limits.allows(roles, &more) { more } else { changed(sizes, large, -1) };
        if next[large] < roles[large].floor || ratio.error(&next) >= ratio.error(sizes) {
            return;
        }
        sizes.copy_from_slice(&next);
    }
}

/// The sizes that [`fill`] works towards, one for each role.
#[derive(Clone, Copy)]
struct Goal<'a> {
    /// The sizes that roles get for their own sake.
    demand: &'a [i32],
    /// The sizes that roles may get for the sake of the ratio.
    agreed: &'a [i32],
}

/// Adds replicas, one at a time, to the role with the smallest granted fraction of its demand,
/// while there is room and the ratio does not get worse.
///
/// Where the ratio would get worse, the other role of the ratio grows in the same move, up to its
/// agreed size.
fn fill(
    limits: &SharedLimits,
    goal: Goal<'_>,
    sizes: &mut [i32],
    has_room: impl Fn(&[i32]) -> bool,
) {
    // A role that cannot grow now cannot grow later either, until a role of the ratio changes.
    let mut is_blocked = vec![false; sizes.len()];
    let mut next = sizes.to_vec();
    loop {
        let fraction = |role: usize| granted_fraction(sizes, goal.demand, role);
        let Some(role) = (0..sizes.len())
            .filter(|role| sizes[*role] < goal.demand[*role] && !is_blocked[*role])
            .min_by(|a, b| fraction(*a).total_cmp(&fraction(*b)))
        else {
            return;
        };
        next.copy_from_slice(sizes);
        add_one(limits, goal.agreed, sizes, role, &mut next);
        is_blocked[role] = !has_room(&next) || !limits.is_no_worse(&next, sizes);
        if is_blocked[role] {
            continue;
        }
        let changes_ratio = limits
            .ratio
            .is_some_and(|ratio| ratio.between.iter().any(|role| next[*role] != sizes[*role]));
        if changes_ratio {
            is_blocked.fill(false);
        }
        sizes.copy_from_slice(&next);
    }
}

/// Adds one replica of a role to `next`, which equals `sizes`, and those of the other role of the
/// ratio that keep the ratio from getting worse.
fn add_one(limits: &SharedLimits, agreed: &[i32], sizes: &[i32], role: usize, next: &mut [i32]) {
    next[role] += 1;
    while let Some((_, small)) = limits.ratio.and_then(|ratio| ratio.too_large_and_too_small(next))
        && !limits.is_no_worse(next, sizes)
        && next[small] < agreed[small]
    {
        next[small] += 1;
    }
}

fn changed(sizes: &[i32], role: usize, by: i32) -> Vec<i32> {
    let mut sizes = sizes.to_vec();
    sizes[role] += by;
    sizes
}

/// Returns the fraction of its demand that a role has: 0.5 for 2 of 4 replicas.
fn granted_fraction(sizes: &[i32], demand: &[i32], role: usize) -> f64 {
    f64::from(sizes[role]) / f64::from(demand[role].max(1))
}
