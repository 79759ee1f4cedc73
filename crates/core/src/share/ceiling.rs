//! What all roles may have together.

use super::{Part, Terms};

impl Terms {
    /// Whether so many replicas of each role are within the ceilings.
    fn allows(&self, parts: &[Part], sizes: &[i32]) -> bool {
        let replicas: i64 = sizes.iter().map(|size| i64::from(*size)).sum();
        let gpus =
            parts.iter().zip(sizes).map(|(part, size)| part.gpus.saturating_mul((*size).into()));
        replicas <= self.max_replicas && self.max_gpus.is_none_or(|most| gpus.sum::<i64>() <= most)
    }

    fn off(&self, sizes: &[i32]) -> f64 {
        self.ratio.map_or(0.0, |ratio| ratio.off(sizes))
    }

    fn is_no_worse(&self, sizes: &[i32], than: &[i32]) -> bool {
        self.ratio.is_none_or(|ratio| ratio.is_no_worse(sizes, than))
    }
}

/// Sizes within the ceilings: what was agreed upon, where that fits; else what each keeps, and of the rest as much of what it wants as
/// the others. What is there for the ratio only follows from that: a wish that cannot be granted keeps nothing for its sake.
pub(super) fn fit(terms: &Terms, parts: &[Part], agreed: &[i32]) -> Vec<i32> {
    if terms.allows(parts, agreed) {
        return agreed.to_vec();
    }
    let own: Vec<i32> =
        parts.iter().zip(agreed).map(|(part, agreed)| part.wanted.min(*agreed)).collect();
    let mut sizes: Vec<i32> = parts.iter().zip(&own).map(|(part, own)| part.kept(*own)).collect();
    if let Some(ratio) = terms.ratio {
        ratio.raise(&mut sizes, |role| parts[role].kept(agreed[role]));
    }
    shrink(terms, parts, &own, &mut sizes);
    restore(terms, parts, agreed, &mut sizes);
    fill(terms, (&own, agreed), &mut sizes, |sizes| terms.allows(parts, sizes));
    sizes
}

/// The sizes of this moment: who shrinks does, and who grows does as far as there is room by now; what is about to go
/// takes it up until it is gone.
pub(super) fn grow(terms: &Terms, parts: &[Part], fitting: &[i32]) -> Vec<i32> {
    let taken =
        |part: &Part, size: i32| part.exist.max(part.current) + (size - part.current).max(0);
    let has_room = |sizes: &[i32]| {
        let all: Vec<i32> =
            parts.iter().zip(sizes).map(|(part, size)| taken(part, *size)).collect();
        terms.allows(parts, &all)
    };
    if parts.iter().zip(fitting).all(|(part, size)| *size <= part.current) || has_room(fitting) {
        return fitting.to_vec();
    }
    let mut sizes: Vec<i32> = parts.iter().map(|part| part.current).collect();
    let grown: Vec<i32> =
        parts.iter().zip(fitting).map(|(part, size)| part.current.max(*size)).collect();
    fill(terms, (&grown, &grown), &mut sizes, has_room);
    sizes.iter().zip(fitting).map(|(size, fitting)| *size.min(fitting)).collect()
}

/// Until the ceilings hold: one from the role that has most of what it wants, and rather one by which the ratio keeps. Whoever has set a
/// size by hand has answered for the ceiling: nobody is made smaller for that.
fn shrink(terms: &Terms, parts: &[Part], wanted: &[i32], sizes: &mut [i32]) {
    if parts.iter().any(|part| part.by_hand) {
        return;
    }
    while !terms.allows(parts, sizes) {
        let can = |role: &usize| sizes[*role] > parts[*role].lowest.max(0);
        let worth = |role: &usize| {
            let off = terms.off(&changed(sizes, *role, -1));
            (off, -share_of(sizes, wanted, *role))
        };
        let roles = (0..sizes.len()).filter(can);
        let Some(role) = roles
            .min_by(|a, b| worth(a).partial_cmp(&worth(b)).unwrap_or(std::cmp::Ordering::Equal))
        else {
            return;
        };
        sizes[role] -= 1;
    }
}

/// Until the ratio holds, or nothing brings it nearer: one more of the smaller role where there is room, else one fewer of the larger.
fn restore(terms: &Terms, parts: &[Part], agreed: &[i32], sizes: &mut [i32]) {
    let Some(ratio) = terms.ratio else { return };
    while let Some((large, small)) = ratio.too_large_and_too_small(sizes) {
        if sizes[small] >= agreed[small] {
            return;
        }
        let more = changed(sizes, small, 1);
        let next = if terms.allows(parts, &more) { more } else { changed(sizes, large, -1) };
        if next[large] < parts[large].lowest || ratio.off(&next) >= ratio.off(sizes) {
            return;
        }
        sizes.copy_from_slice(&next);
    }
}

/// One after the other to the role that has least of what it wants, while there is room and the ratio does not suffer; where it would, the
/// other role of the ratio gets what it takes at the same time, up to what was agreed upon.
fn fill(
    terms: &Terms,
    (wanted, agreed): (&[i32], &[i32]),
    sizes: &mut [i32],
    has_room: impl Fn(&[i32]) -> bool,
) {
    // Who found none finds none later either, until the two of the ratio are others.
    let mut has_none = vec![false; sizes.len()];
    loop {
        let can = |role: &usize| sizes[*role] < wanted[*role] && !has_none[*role];
        let mut roles: Vec<usize> = (0..sizes.len()).filter(can).collect();
        roles.sort_by(|a, b| share_of(sizes, wanted, *a).total_cmp(&share_of(sizes, wanted, *b)));
        let next = roles.into_iter().find_map(|role| {
            let next = one_more(terms, agreed, sizes, role);
            has_none[role] = !has_room(&next) || !terms.is_no_worse(&next, sizes);
            (!has_none[role]).then_some(next)
        });
        let Some(next) = next else { return };
        if terms
            .ratio
            .is_some_and(|ratio| ratio.between.iter().any(|role| next[*role] != sizes[*role]))
        {
            has_none.fill(false);
        }
        sizes.copy_from_slice(&next);
    }
}

/// One more for a role, and what the other role of the ratio takes for it.
fn one_more(terms: &Terms, agreed: &[i32], sizes: &[i32], role: usize) -> Vec<i32> {
    let mut next = changed(sizes, role, 1);
    while let Some((_, small)) = terms.ratio.and_then(|ratio| ratio.too_large_and_too_small(&next))
        && !terms.is_no_worse(&next, sizes)
        && next[small] < agreed[small]
    {
        next[small] += 1;
    }
    next
}

fn changed(sizes: &[i32], role: usize, by: i32) -> Vec<i32> {
    let mut sizes = sizes.to_vec();
    sizes[role] += by;
    sizes
}

/// What share of what it wants a role has.
fn share_of(sizes: &[i32], wanted: &[i32], role: usize) -> f64 {
    f64::from(sizes[role]) / f64::from(wanted[role].max(1))
}
