//! Accumulators: the sums of one pass over a page. They are kept between pages, so that only the
//! first page allocates.

use std::{cmp::Ordering, collections::HashSet};

use super::{declared::Declaration, non_number::NonNumber};
use crate::{
    buckets::{Buckets, MOST_BUCKETS},
    kind::Fold,
    labels::LabelSet,
};

/// The number of series up to which a search one by one is faster than a hash set.
const FEW: usize = 64;
/// The largest number of entries of one accumulator: that of 128 ranks with 500 buckets each.
const MOST_OF_ONE: u32 = 1 << 16;
/// The largest number of entries of all accumulators: those of 2048 models of a gateway with 128
/// buckets each.
const MOST_ENTRIES: usize = 1 << 18;

/// The rule by which the series of a selector are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grouping {
    /// Series are buckets: they are added up for each value of the label `le`.
    pub(super) by_bucket: bool,
    /// Series that differ only in these labels count once.
    pub(super) repeat_labels: Vec<String>,
    /// Values are multiplied by the numbers of these labels.
    pub(super) times: Vec<String>,
}

/// The sum of the series of one selector.
#[derive(Clone, Copy, Debug)]
struct Accumulator {
    count: u32,
    /// NaN as soon as one value is not finite.
    sum: f64,
    max: f64,
    /// The first value that was not finite.
    non_number: Option<NonNumber>,
    /// The type of its series by the page.
    declaration: Option<Declaration>,
    /// The range of its entries in [`Scratch::entries`], once the pass is over.
    entries: (usize, usize),
}

/// A series that cannot be added up at once: a bucket, or one that others may repeat.
#[derive(Clone, Copy, Debug)]
struct Entry {
    accumulator: usize,
    /// The bucket's upper bound; 0 if the series is no bucket.
    le: f64,
    /// A hash of all labels but the repeat labels. Entries with equal hashes are duplicates; 0
    /// means that nothing repeats, and that every entry counts.
    part: u64,
    value: f64,
}

/// Reusable memory for [`Extractor::read`](super::Extractor::read). One serves any number of pages,
/// one after the other.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    accumulators: Vec<Accumulator>,
    entries: Vec<Entry>,
    /// The hashes of the first [`FEW`] series of the page.
    first_series: Vec<u64>,
    /// The hashes of all other series of the page.
    more_series: HashSet<u64>,
}

impl Accumulator {
    const EMPTY: Self = Self {
        count: 0,
        sum: 0.0,
        max: f64::NEG_INFINITY,
        non_number: None,
        declaration: None,
        entries: (0, 0),
    };

    fn add(&mut self, value: f64) {
        // An infinite value makes the sum as meaningless as NaN does.
        let non_number = NonNumber::of(value);
        let value = if non_number.is_none() { value } else { f64::NAN };
        self.non_number = self.non_number.or(non_number);
        self.count += 1;
        self.sum += value;
        self.max = self.max.max(value);
    }

    /// Makes the result absent, because it has more series than are kept apart.
    fn overflow(&mut self) {
        self.sum = f64::NAN;
        self.non_number = self.non_number.or(Some(NonNumber::ManySeries));
    }

    /// Folds the values, of which there is at least one. NaN if one of them was not finite.
    fn fold(&self, fold: Fold) -> f64 {
        match fold {
            Fold::Sum => self.sum,
            Fold::Mean => self.sum / f64::from(self.count),
            Fold::Max if self.sum.is_nan() => f64::NAN,
            Fold::Max => self.max,
        }
    }
}

impl Scratch {
    /// Forgets the previous page, and prepares this many accumulators.
    pub(super) fn begin(&mut self, accumulators: usize) {
        self.accumulators.clear();
        self.accumulators.resize(accumulators, Accumulator::EMPTY);
        self.entries.clear();
        self.first_series.clear();
        self.more_series.clear();
    }

    /// Adds a series, by the hash of its name and labels, to those that the page has had. Returns
    /// false if it was there already.
    pub(super) fn insert_series(&mut self, hash: u64) -> bool {
        if self.first_series.contains(&hash) {
            return false;
        }
        if self.first_series.len() < FEW {
            self.first_series.push(hash);
            return true;
        }
        self.more_series.insert(hash)
    }

    /// Adds the value of a series to an accumulator.
    pub(super) fn add(
        &mut self,
        accumulator: usize,
        grouping: &Grouping,
        labels: &impl LabelSet,
        value: f64,
    ) {
        let Grouping { by_bucket, repeat_labels, times } = grouping;
        let factor = |label: &String| labels.number(label).unwrap_or(f64::NAN);
        let value = times.iter().map(factor).fold(value, |value, factor| value * factor);
        if !by_bucket && repeat_labels.is_empty() {
            return self.accumulators[accumulator].add(value);
        }
        // Adding zero turns -0 into 0, so that both are one bound.
        let le = if *by_bucket { labels.number("le").unwrap_or(f64::NAN) + 0.0 } else { 0.0 };
        let part = if repeat_labels.is_empty() { 0 } else { part(labels, repeat_labels) };
        if le.is_nan() {
            return self.invalidate(accumulator);
        }
        // A part that others may repeat is counted later: one of them may be finite.
        if part == 0 && !value.is_finite() {
            return self.accumulators[accumulator].add(value);
        }
        let count = self.accumulators[accumulator].count;
        if count >= MOST_OF_ONE || self.entries.len() >= MOST_ENTRIES {
            return self.accumulators[accumulator].overflow();
        }
        self.accumulators[accumulator].count += 1;
        self.entries.push(Entry { accumulator, le, part, value });
    }

    /// Returns the memory that it has taken for a page, in bytes.
    pub fn memory(&self) -> usize {
        let Self { accumulators, entries, first_series: _, more_series } = self;
        accumulators.capacity() * size_of::<Accumulator>()
            + entries.capacity() * size_of::<Entry>()
            + more_series.capacity() * size_of::<u64>()
    }

    /// Notes the type of an accumulator's series. The first one counts, and one about the series
    /// itself before one about its family.
    pub(super) fn declare(&mut self, accumulator: usize, declaration: Declaration) {
        let known = &mut self.accumulators[accumulator].declaration;
        let is_nearer = |known: Declaration| declaration.suffix.len() < known.suffix.len();
        if known.is_none_or(is_nearer) {
            *known = Some(declaration);
        }
    }

    /// Returns the type of an accumulator's series by the page.
    pub(super) fn declaration(&self, accumulator: usize) -> Option<Declaration> {
        self.accumulators[accumulator].declaration
    }

    /// Makes the result of an accumulator absent.
    pub(super) fn invalidate(&mut self, accumulator: usize) {
        let Accumulator { count, sum, .. } = &mut self.accumulators[accumulator];
        *count += 1;
        *sum = f64::NAN;
    }

    /// Returns the first value of an accumulator's series that is not finite, and is repeated by no
    /// finite one.
    pub(super) fn non_number(&self, accumulator: usize) -> Option<NonNumber> {
        let Accumulator { non_number, entries: (start, end), .. } = self.accumulators[accumulator];
        let mut entries = self.entries[start..end].iter();
        let many = || self.has_many_buckets(accumulator).then_some(NonNumber::ManyBuckets);
        non_number.or_else(|| entries.find_map(|entry| NonNumber::of(entry.value))).or_else(many)
    }

    /// Returns true if the entries have more bounds than a histogram may have.
    fn has_many_buckets(&self, accumulator: usize) -> bool {
        let (start, end) = self.accumulators[accumulator].entries;
        let entries = &self.entries[start..end];
        let bounds = || entries.chunk_by(|a, b| a.le.total_cmp(&b.le).is_eq());
        entries.len() > MOST_BUCKETS && bounds().nth(MOST_BUCKETS).is_some()
    }

    /// Ends the pass: removes duplicate entries, and gives each accumulator the range of its own.
    pub(super) fn finish(&mut self) {
        let Self { entries, accumulators, .. } = self;
        if entries.is_empty() {
            return;
        }
        entries.sort_unstable_by(Entry::order);
        entries.dedup_by(|later, first| later.repeats(first));
        for (index, entry) in entries.iter().enumerate() {
            let range = &mut accumulators[entry.accumulator].entries;
            if range.1 == 0 {
                range.0 = index;
            }
            range.1 = index + 1;
        }
    }

    /// Returns the number of an accumulator: `None` if there was no series, NaN if one of the
    /// values was not finite.
    pub(super) fn number(&self, accumulator: usize, fold: Fold) -> Option<f64> {
        let found = &self.accumulators[accumulator];
        if found.count == 0 {
            return None;
        }
        let (start, end) = found.entries;
        if start == end {
            return Some(found.fold(fold));
        }
        // The sum is taken over, so that an invalid accumulator stays invalid.
        let mut total = Accumulator { count: 0, max: f64::NEG_INFINITY, ..*found };
        self.entries[start..end].iter().for_each(|entry| total.add(entry.value));
        Some(total.fold(fold))
    }

    /// Returns true if there was a series, valid or not.
    pub(super) fn has_series(&self, accumulator: usize) -> bool {
        self.accumulators[accumulator].count > 0
    }

    /// Adds up the buckets of an accumulator, with their bounds divided by `per`. Returns false if
    /// they are no complete histogram.
    pub(super) fn fill_buckets(&self, accumulator: usize, per: f64, buckets: &mut Buckets) -> bool {
        let found = &self.accumulators[accumulator];
        let (start, end) = found.entries;
        if found.sum.is_nan() || self.has_many_buckets(accumulator) {
            return false;
        }
        buckets.fill(self.entries[start..end].iter().map(|entry| (entry.le / per, entry.value)))
    }
}

impl Entry {
    /// Orders entries so that duplicates are neighbours, the highest finite value first: it is the
    /// one that `dedup_by` keeps.
    fn order(&self, other: &Self) -> Ordering {
        self.accumulator
            .cmp(&other.accumulator)
            .then(self.le.total_cmp(&other.le))
            .then(self.part.cmp(&other.part))
            .then(other.value.is_finite().cmp(&self.value.is_finite()))
            .then(other.value.total_cmp(&self.value))
    }

    /// Returns true if both are the same part of one sum. A part of 0 repeats nothing: buckets of
    /// several engines all count.
    fn repeats(&self, other: &Self) -> bool {
        self.part != 0
            && self.part == other.part
            && self.accumulator == other.accumulator
            && self.le.total_cmp(&other.le).is_eq()
    }
}

/// Hashes all labels but `le` and the repeat labels; never 0.
fn part(labels: &impl LabelSet, repeat_labels: &[String]) -> u64 {
    let mut hash = 0u64;
    labels.for_each(&mut |name, label| {
        if name != b"le" && !repeat_labels.iter().any(|repeat| repeat.as_bytes() == name) {
            hash = hash.wrapping_add(label);
        }
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(values: &[f64], fold: Fold) -> f64 {
        let mut accumulator = Accumulator::EMPTY;
        for value in values {
            accumulator.add(*value);
        }
        accumulator.fold(fold)
    }

    #[test]
    fn values_are_folded_and_one_that_is_not_finite_makes_nan() {
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
    fn a_series_is_new_once_however_many_there_are() {
        let series = 0..FEW as u64 * 3;
        let mut scratch = Scratch::default();
        assert!(series.clone().all(|hash| scratch.insert_series(hash)));
        assert!(!series.clone().any(|hash| scratch.insert_series(hash)));
        scratch.begin(0);
        assert!(series.clone().all(|hash| scratch.insert_series(hash)));
    }
}
