//! In which order sizes are written that were decided upon together.

use super::Terms;

/// The role to write next: of those whose write is `ready` the one after which the ratio is kept best; sizes go from `sizes` to
/// `goal`. `None` where all are written, or the rest has to wait for a role that is not ready yet, because the ratio would suffer.
pub fn next_write(terms: &Terms, sizes: &[i32], goal: &[i32], ready: &[bool]) -> Option<usize> {
    let moves = |role: &usize| sizes[*role] != goal[*role];
    let after = |role: usize| {
        let mut after = sizes.to_vec();
        after[role] = goal[role];
        after
    };
    let others_are_ready = |role: usize| {
        let mut pair = terms.ratio.iter().flat_map(|ratio| ratio.between);
        pair.all(|other| other == role || !moves(&other) || ready[other])
    };
    let may = |role: &usize| {
        let keeps = |ratio: super::Ratio| ratio.is_no_worse(&after(*role), sizes);
        terms.ratio.is_none_or(keeps) || others_are_ready(*role)
    };
    let off = |role: &usize| terms.ratio.map_or(0.0, |ratio| ratio.off(&after(*role)));
    let roles = (0..sizes.len()).filter(moves).filter(|role| ready[*role]).filter(may);
    roles.min_by(|a, b| off(a).total_cmp(&off(b)))
}
