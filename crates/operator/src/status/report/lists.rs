//! Lists in messages, which name the first few items and count the others.

/// The number of items that a message names.
const NAMED: usize = 3;

/// Lists names: `a-0, a-1, a-2 and 2 more`.
pub(super) fn names(names: impl ExactSizeIterator<Item = String>) -> String {
    first_few(names, ", ", " and")
}

/// Lists clauses, which may contain commas: `a-0: refused; a-1: refused; a-2: refused; and 2 more`.
pub(super) fn clauses(clauses: impl ExactSizeIterator<Item = String>) -> String {
    first_few(clauses, "; ", "; and")
}

fn first_few(
    items: impl ExactSizeIterator<Item = String>,
    separator: &str,
    conjunction: &str,
) -> String {
    let more = items.len().saturating_sub(NAMED);
    let named = items.take(NAMED).collect::<Vec<_>>().join(separator);
    if more > 0 { format!("{named}{conjunction} {more} more") } else { named }
}
