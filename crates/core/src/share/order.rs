//! In which order sizes are written that were decided upon together.

use super::Terms;

/// The role to write next. `sizes` are what is asked for, `goal` what is to be, and `now` what can be written at once: nothing, all of
/// the way, or, where a scale-down drains, a part of it.
///
/// It is the one after which the ratio is kept best. `None` where there is nothing to write, or where the ratio would suffer and the
/// other role cannot go all of its way yet.
pub fn next_write(
    terms: &Terms,
    sizes: &[i32],
    goal: &[i32],
    now: &[Option<i32>],
) -> Option<usize> {
    let after = |role: usize| {
        let mut after = sizes.to_vec();
        after[role] = now[role].unwrap_or(sizes[role]);
        after
    };
    let is_ready = |role: usize| sizes[role] == goal[role] || now[role] == Some(goal[role]);
    let all_are = || terms.ratio.iter().flat_map(|ratio| ratio.between).all(is_ready);
    let may = |role: &usize| {
        let keeps = |ratio: super::Ratio| ratio.is_no_worse(&after(*role), sizes);
        terms.ratio.is_none_or(keeps) || all_are()
    };
    let off = |role: &usize| terms.ratio.map_or(0.0, |ratio| ratio.off(&after(*role)));
    let moves = |role: &usize| now[*role].is_some_and(|to| to != sizes[*role]);
    let roles = (0..sizes.len()).filter(moves).filter(may);
    roles.min_by(|a, b| off(a).total_cmp(&off(b)))
}
