//! Declared types that contradict the kind by which a quantity is read.

use super::{accumulator::Scratch, compiled::CompiledName, declared::Declaration};
use crate::{kind::Kind, recipe::Recipe};

/// A page's `# TYPE` that contradicts the kind by which a quantity is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The index of the term of the recipe.
    pub term: usize,
    /// The index of the name of that term.
    pub alternative: usize,
    /// The page's declaration.
    pub declaration: Declaration,
}

impl Contradiction {
    /// Finds the first term, by the accumulators of its names, with a declaration that contradicts
    /// the kind.
    pub(super) fn find(terms: &[Vec<CompiledName>], kind: Kind, scratch: &Scratch) -> Option<Self> {
        terms.iter().enumerate().find_map(|(term, names)| {
            let name = names.iter().find(|name| scratch.has_series(name.accumulator))?;
            let declaration = scratch.declaration(name.accumulator)?;
            declaration.contradicts(kind).then_some(Self {
                term,
                alternative: name.alternative,
                declaration,
            })
        })
    }

    /// Returns the sentence about the contradiction, for the recipe that was read.
    pub fn describe(&self, recipe: &Recipe) -> String {
        let selector = recipe.terms().get(self.term).and_then(|names| names.get(self.alternative));
        let name = selector.map(|selector| recipe.kind().family(&selector.name));
        let (name, kind) = (name.unwrap_or_default(), recipe.kind().name());
        format!(
            "the page's # TYPE says that {name} is {}, and it is read as a {kind}: it is not used; \
             if the metric is a series, set its type",
            self.declaration.describe()
        )
    }
}
