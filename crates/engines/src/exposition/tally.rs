//! What a pass over a page remembers. Small pages' worth of it lies on the stack.

use std::collections::HashSet;

use crate::Fold;

/// How many selectors, and how many wanted series, need no heap.
const FEW: usize = 32;

/// What the series of one selector have added up to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) count: u32,
    /// Not finite as soon as one value is not.
    sum: f64,
    max: f64,
}

impl Tally {
    const EMPTY: Self = Self { count: 0, sum: 0.0, max: f64::NEG_INFINITY };

    /// The values as one; not finite if one of them is not. There is at least one.
    pub(super) fn folded(&self, fold: Fold) -> f64 {
        match fold {
            Fold::Sum => self.sum,
            Fold::Mean => self.sum / f64::from(self.count),
            Fold::Max if self.sum.is_finite() => self.max,
            Fold::Max => f64::NAN,
        }
    }
}

/// The tallies of all selectors.
pub(super) enum Tallies {
    Few([Tally; FEW], usize),
    Many(Vec<Tally>),
}

impl Tallies {
    pub(super) fn new(count: usize) -> Self {
        if count <= FEW {
            Self::Few([Tally::EMPTY; FEW], count)
        } else {
            Self::Many(vec![Tally::EMPTY; count])
        }
    }

    pub(super) fn all(&self) -> &[Tally] {
        match self {
            Self::Few(tallies, count) => &tallies[..*count],
            Self::Many(tallies) => tallies,
        }
    }

    pub(super) fn add(&mut self, index: usize, value: f64) {
        let tally = match self {
            Self::Few(tallies, _) => &mut tallies[index],
            Self::Many(tallies) => &mut tallies[index],
        };
        // Opposite infinities would add up to NaN, and so to the same answer; two steps of it are one.
        let value = if value.is_finite() { value } else { f64::NAN };
        tally.count += 1;
        tally.sum += value;
        tally.max = tally.max.max(value);
    }
}

/// The wanted series that a page has given so far, each as it is spelled.
#[derive(Default)]
pub(super) struct Seen<'p> {
    few: [&'p [u8]; FEW],
    count: usize,
    many: HashSet<&'p [u8]>,
}

impl<'p> Seen<'p> {
    /// Whether `series` is new.
    pub(super) fn insert(&mut self, series: &'p [u8]) -> bool {
        if self.few[..self.count].contains(&series) {
            return false;
        }
        if self.count < FEW {
            self.few[self.count] = series;
            self.count += 1;
            return true;
        }
        self.many.insert(series)
    }
}
