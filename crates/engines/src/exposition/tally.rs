//! What a pass over a page remembers. Small pages' worth of it lies on the stack.

use std::collections::HashSet;

use crate::Fold;

/// How many selectors, and how many wanted series, need no heap.
const FEW: usize = 32;

/// What the series of one selector have added up to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    pub(super) count: u32,
    /// NaN as soon as one value is not finite.
    sum: f64,
    max: f64,
}

impl Tally {
    const EMPTY: Self = Self { count: 0, sum: 0.0, max: f64::NEG_INFINITY };

    /// The values as one; NaN if one of them was not finite. There is at least one.
    pub(super) fn folded(&self, fold: Fold) -> f64 {
        match fold {
            Fold::Sum => self.sum,
            Fold::Mean => self.sum / f64::from(self.count),
            Fold::Max if self.sum.is_nan() => f64::NAN,
            Fold::Max => self.max,
        }
    }
}

/// The tallies of all selectors: `few` of them, or else `many`.
pub(super) struct Tallies {
    count: usize,
    few: [Tally; FEW],
    many: Vec<Tally>,
}

impl Tallies {
    pub(super) fn new(count: usize) -> Self {
        let many = if count > FEW { vec![Tally::EMPTY; count] } else { Vec::new() };
        Self { count, few: [Tally::EMPTY; FEW], many }
    }

    pub(super) fn all(&self) -> &[Tally] {
        if self.count > FEW { &self.many } else { &self.few[..self.count] }
    }

    pub(super) fn add(&mut self, index: usize, value: f64) {
        let tally = if self.count > FEW { &mut self.many[index] } else { &mut self.few[index] };
        // A sum of finite values may overflow, and is then too large; one infinite value says nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(values: &[f64], fold: Fold) -> f64 {
        let mut tallies = Tallies::new(1);
        for value in values {
            tallies.add(0, *value);
        }
        tallies.all()[0].folded(fold)
    }

    #[test]
    fn folds() {
        let table = [
            (&[3.0, 4.0][..], [7.0, 4.0, 3.5]),
            (&[-3.0, -4.0], [-7.0, -3.0, -3.5]),
            (&[0.5], [0.5, 0.5, 0.5]),
            (&[1.0, f64::NAN], [f64::NAN; 3]),
            (&[f64::INFINITY, 1.0], [f64::NAN; 3]),
        ];
        for (values, expected) in table {
            let found = [Fold::Sum, Fold::Max, Fold::Mean].map(|fold| folded(values, fold));
            assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits), "{values:?}");
        }
    }

    #[test]
    fn many_are_remembered_as_few_are() {
        let names: Vec<String> = (0..FEW * 3).map(|n| format!("series {n}")).collect();
        let mut seen = Seen::default();
        assert!(names.iter().all(|name| seen.insert(name.as_bytes())));
        assert!(!names.iter().any(|name| seen.insert(name.as_bytes())));
    }
}
