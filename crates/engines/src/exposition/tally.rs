//! What a pass over a page adds up. Kept between pages, so that it allocates only the first time.

use std::collections::HashSet;

use crate::{Buckets, Fold};

/// How many series are looked up one after the other before a set is worth it.
const FEW: usize = 64;

/// The labels of a series, however they are held.
pub trait Labels {
    /// Whether the label `name` has this value. A label that is not there has an empty one.
    fn has(&self, name: &str, value: &str) -> bool;

    /// The number that the label `name` holds.
    fn number(&self, name: &str) -> Option<f64>;

    /// Shows the name of every label with a hash of its name and value; 0 if it is empty. Only labels that are held
    /// alike are compared by these.
    fn each(&self, see: &mut dyn FnMut(&[u8], u64));
}

/// How what a selector selects is added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// By the label `le`.
    pub(super) buckets: bool,
    /// Series that differ in these labels only count once.
    pub(super) repeats: Vec<String>,
}

/// What the series of one selector have added up to.
#[derive(Clone, Copy, Debug)]
struct Tally {
    count: u32,
    /// NaN as soon as one value is not finite.
    sum: f64,
    max: f64,
    /// Where its cells are, once the pass is over.
    cells: (usize, usize),
}

/// A series that does not simply add up: a bucket, or one of several that repeat each other.
#[derive(Clone, Copy, Debug)]
struct Cell {
    tally: usize,
    /// The bucket's upper bound; 0 where there are no buckets.
    le: f64,
    /// What distinguishes it from those that it does not repeat.
    part: u64,
    value: f64,
}

/// Memory for [`Extractor::read`](super::Extractor::read); one may serve any number of pages, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    tallies: Vec<Tally>,
    cells: Vec<Cell>,
    seen: Vec<u64>,
    many: HashSet<u64>,
}

impl Tally {
    const EMPTY: Self = Self { count: 0, sum: 0.0, max: f64::NEG_INFINITY, cells: (0, 0) };

    fn add(&mut self, value: f64) {
        // One infinite value says nothing.
        let value = if value.is_finite() { value } else { f64::NAN };
        self.count += 1;
        self.sum += value;
        self.max = self.max.max(value);
    }

    /// The values as one; NaN if one of them was not finite. There is at least one.
    fn folded(&self, fold: Fold) -> f64 {
        match fold {
            Fold::Sum => self.sum,
            Fold::Mean => self.sum / f64::from(self.count),
            Fold::Max if self.sum.is_nan() => f64::NAN,
            Fold::Max => self.max,
        }
    }
}

impl Scratch {
    /// Forgets the page before.
    pub(super) fn begin(&mut self, tallies: usize) {
        self.tallies.clear();
        self.tallies.resize(tallies, Tally::EMPTY);
        self.cells.clear();
        self.seen.clear();
        self.many.clear();
    }

    /// Whether the series with this hash is new on this page.
    pub(super) fn is_new(&mut self, hash: u64) -> bool {
        if self.seen.contains(&hash) {
            return false;
        }
        if self.seen.len() < FEW {
            self.seen.push(hash);
            return true;
        }
        self.many.insert(hash)
    }

    /// Adds a series to a tally.
    pub(super) fn add(&mut self, tally: usize, shape: &Shape, labels: &impl Labels, value: f64) {
        if !shape.buckets && shape.repeats.is_empty() {
            return self.tallies[tally].add(value);
        }
        // Adding zero makes one number of -0 and 0.
        let le = if shape.buckets { labels.number("le").unwrap_or(f64::NAN) + 0.0 } else { 0.0 };
        let part = if shape.repeats.is_empty() { 0 } else { part(labels, &shape.repeats) };
        if le.is_nan() || !value.is_finite() {
            return self.spoil(tally);
        }
        self.tallies[tally].count += 1;
        self.cells.push(Cell { tally, le, part, value });
    }

    /// Makes whatever a tally adds up to absent.
    pub(super) fn spoil(&mut self, tally: usize) {
        self.tallies[tally].add(f64::NAN);
    }

    /// The pass is over: repetitions become one, and each tally knows its cells.
    pub(super) fn conclude(&mut self) {
        let Self { cells, tallies, .. } = self;
        if cells.is_empty() {
            return;
        }
        let order = |a: &Cell, b: &Cell| {
            let le = a.le.total_cmp(&b.le);
            // The highest of those that repeat each other comes first, and is the one that stays.
            a.tally
                .cmp(&b.tally)
                .then(le)
                .then(a.part.cmp(&b.part))
                .then(b.value.total_cmp(&a.value))
        };
        cells.sort_unstable_by(order);
        let is_same = |a: &Cell, b: &Cell| {
            a.tally == b.tally && a.le.total_cmp(&b.le).is_eq() && a.part == b.part
        };
        // A part of 0 means that nothing repeats: buckets of several engines are all counted.
        cells.dedup_by(|later, first| later.part != 0 && is_same(later, first));
        for (index, cell) in cells.iter().enumerate() {
            let range = &mut tallies[cell.tally].cells;
            if range.1 == 0 {
                range.0 = index;
            }
            range.1 = index + 1;
        }
    }

    /// What a tally of numbers adds up to; NaN if a value was not finite, `None` if there was no series.
    pub(super) fn number(&self, tally: usize, fold: Fold) -> Option<f64> {
        let found = &self.tallies[tally];
        if found.count == 0 {
            return None;
        }
        let (start, end) = found.cells;
        if start == end {
            return Some(found.folded(fold));
        }
        // What was spoiled stays so.
        let mut total = Tally { count: 0, max: f64::NEG_INFINITY, ..*found };
        self.cells[start..end].iter().for_each(|cell| total.add(cell.value));
        Some(total.folded(fold))
    }

    /// Whether there were buckets, sound or not.
    pub(super) fn has_cells(&self, tally: usize) -> bool {
        self.tallies[tally].count > 0
    }

    /// Adds up the buckets of a tally; false if they are no complete histogram.
    pub(super) fn fill_buckets(&self, tally: usize, buckets: &mut Buckets) -> bool {
        let found = &self.tallies[tally];
        let (start, end) = found.cells;
        if found.sum.is_nan() {
            return false;
        }
        buckets.fill(self.cells[start..end].iter().map(|cell| (cell.le, cell.value)))
    }
}

/// What distinguishes a series from those that it does not repeat; never 0.
fn part(labels: &impl Labels, repeats: &[String]) -> u64 {
    let is_repeat =
        |name: &[u8]| name == b"le" || repeats.iter().any(|label| label.as_bytes() == name);
    let mut hash = 0u64;
    labels.each(&mut |name, label| {
        hash = if is_repeat(name) { hash } else { hash.wrapping_add(label) }
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(values: &[f64], fold: Fold) -> f64 {
        let mut tally = Tally::EMPTY;
        for value in values {
            tally.add(*value);
        }
        tally.folded(fold)
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
        let series = 0..FEW as u64 * 3;
        let mut scratch = Scratch::default();
        assert!(series.clone().all(|hash| scratch.is_new(hash)));
        assert!(!series.clone().any(|hash| scratch.is_new(hash)));
        scratch.begin(0);
        assert!(series.clone().all(|hash| scratch.is_new(hash)));
    }
}
