//! Series that are NaN or infinite.

use super::{accumulator::Scratch, compiled::CompiledName, non_number::NonNumber};
use crate::recipe::Recipe;

/// A series whose value makes a quantity absent, because it is NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// The index of the term of the recipe.
    pub term: usize,
    /// The index of the name of that term.
    pub alternative: usize,
    /// The value of the first such series.
    pub value: NonNumber,
}

impl NotFinite {
    /// Finds the first term, by the accumulators of its names, that has such a series.
    pub(super) fn find(terms: &[Vec<CompiledName>], scratch: &Scratch) -> Option<Self> {
        terms.iter().enumerate().find_map(|(term, names)| {
            let name = names.iter().find(|name| scratch.has_series(name.accumulator))?;
            let value = scratch.non_number(name.accumulator)?;
            Some(Self { term, alternative: name.alternative, value })
        })
    }

    /// Returns the sentence about the series, for the recipe that was read. Example:
    /// `sglang:num_queue_reqs is NaN, which is no number`.
    pub fn describe(&self, recipe: &Recipe) -> String {
        let selector = recipe.terms().get(self.term).and_then(|names| names.get(self.alternative));
        let name = selector.map(|selector| {
            let labels = selector.labels.iter().filter(|(_, value)| !value.is_empty());
            let labels: Vec<_> =
                labels.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let family = recipe.kind().family(&selector.name);
            if labels.is_empty() { family } else { format!("{family}{{{}}}", labels.join(",")) }
        });
        format!("{} {}", name.unwrap_or_default(), self.value.sentence())
    }
}
