//! Recipes with accumulators in place of their series.

use super::{
    Contradiction, Extract, NotFinite, Value,
    accumulator::Scratch,
    idle::{ValidPage, ZeroIf},
};
use crate::{
    buckets::Buckets,
    kind::{Fold, Kind},
    recipe::{Recipe, Scale, Standing},
};

/// A recipe with accumulators in place of each selector.
#[derive(Clone, Debug)]
pub(super) struct CompiledRecipe {
    pub(super) recipe: Recipe,
    /// For each term its names, in the order in which they are looked for.
    pub(super) terms: Vec<Vec<CompiledName>>,
    pub(super) zero_if: ZeroIf,
}

/// One of the names of a term.
#[derive(Clone, Debug)]
pub(super) struct CompiledName {
    /// The index of the name in the recipe's term.
    pub(super) alternative: usize,
    pub(super) accumulator: usize,
    /// The accumulator of the series by which it is divided.
    pub(super) divisor: Option<usize>,
    pub(super) scale: Scale,
}

impl CompiledRecipe {
    /// Fills in the quantity if every term is finite, and is present or counts as 0.
    pub(super) fn fill(
        &self,
        scratch: &Scratch,
        extract: &mut Extract,
        page: Option<ValidPage<'_>>,
    ) {
        (extract.alternative, extract.ambiguous) = (None, false);
        extract.contradiction = Contradiction::find(&self.terms, self.recipe.kind(), scratch);
        extract.not_finite = NotFinite::find(&self.terms, scratch);
        if self.recipe.kind() == Kind::Histogram {
            return self.fill_buckets(scratch, extract, page);
        }
        let (mut total, mut found_any) = (Some(0.0), false);
        for (index, (term, names)) in self.terms.iter().zip(self.recipe.terms()).enumerate() {
            let mut found = term.iter().filter_map(|name| {
                Some((name.alternative, name.number(scratch, self.recipe.fold())?))
            });
            let Some((alternative, value)) = found.next() else {
                if !self.zero_if.holds(scratch, page) {
                    total = None;
                }
                continue;
            };
            found_any = true;
            // Comparisons with NaN are false: a value that is not finite is absent, not ambiguous.
            extract.ambiguous |= found.any(|(other, rival)| {
                names[other].standing == Standing::Former && (rival - value).abs() > 1e-9
            });
            if alternative > 0 && extract.alternative.is_none() {
                extract.alternative = Some((index, alternative));
            }
            total = total.map(|total| total + value);
        }
        if !found_any && matches!(self.zero_if, ZeroIf::BesideOthers) {
            total = None;
        }
        extract.value = match total {
            Some(total) if total.is_finite() => Value::Number(total),
            _ => Value::Absent,
        };
    }

    /// Fills in a histogram, which has one term. One that is absent and counts as 0 has no events,
    /// and no buckets.
    fn fill_buckets(&self, scratch: &Scratch, extract: &mut Extract, page: Option<ValidPage<'_>>) {
        let mut buckets = match std::mem::take(&mut extract.value) {
            Value::Buckets(buckets) => buckets,
            Value::Absent | Value::Number(_) => Buckets::default(),
        };
        let mut names = self.terms.iter().flatten();
        match names.find(|name| scratch.has_series(name.accumulator)) {
            Some(name) => {
                let per = f64::from(name.scale.per);
                if scratch.fill_buckets(name.accumulator, per, &mut buckets) {
                    extract.alternative = (name.alternative > 0).then_some((0, name.alternative));
                    extract.value = Value::Buckets(buckets);
                }
            }
            None if self.zero_if.holds(scratch, page) => {
                buckets.clear();
                extract.value = Value::Buckets(buckets);
            }
            None => {}
        }
    }
}

impl CompiledName {
    /// Returns the quantity: `None` if there is no series, NaN or infinity if it has no number.
    pub(super) fn number(&self, scratch: &Scratch, fold: Fold) -> Option<f64> {
        let sum = match self.divisor {
            None => scratch.number(self.accumulator, fold)?,
            Some(divisor) => {
                let part = scratch.number(self.accumulator, Fold::Sum)?;
                part / scratch.number(divisor, Fold::Sum)?
            }
        };
        Some(self.scale.apply(sum))
    }
}
