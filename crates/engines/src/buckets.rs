//! Histograms: counts of events by size, and their quantiles.

/// The largest number of buckets of a histogram. Engines have some 30, a native histogram 160.
pub(crate) const MOST_BUCKETS: usize = 500;

/// Cumulative counts of events by size, as in Prometheus's classic histograms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Upper bounds, ascending; the last is infinite.
    bounds: Vec<f64>,
    /// The number of events up to each bound; never descending.
    counts: Vec<f64>,
}

impl Buckets {
    /// Returns buckets with these upper bounds and cumulative counts; `None` if they are no
    /// complete histogram.
    pub fn new(cumulative: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        // Adding zero turns -0 into 0, so that both are one bound.
        let mut sorted: Vec<_> =
            cumulative.into_iter().map(|(bound, count)| (bound + 0.0, count)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut buckets = Self::default();
        buckets.fill(sorted.into_iter()).then_some(buckets)
    }

    /// Replaces the buckets by the sum of these, which are in ascending order. If they are no
    /// complete histogram, returns false and leaves it empty: the infinite bucket is missing or is
    /// the only one, a bound is minus infinity or NaN, or a count is negative or not finite.
    pub(crate) fn fill(&mut self, cumulative: impl Iterator<Item = (f64, f64)>) -> bool {
        self.clear();
        let mut is_complete = true;
        for (bound, count) in cumulative {
            is_complete &= count >= 0.0 && bound > f64::NEG_INFINITY;
            match (self.bounds.last(), self.counts.last_mut()) {
                (Some(last), Some(total)) if last.total_cmp(&bound).is_eq() => *total += count,
                _ => {
                    self.bounds.push(bound);
                    self.counts.push(count);
                }
            }
        }
        is_complete &= self.bounds.len() > 1 && self.bounds.last() == Some(&f64::INFINITY);
        is_complete &= self.counts.iter().all(|count| count.is_finite());
        if !is_complete {
            self.clear();
            return false;
        }
        // A scrape in the middle of an update may find a bucket ahead of the next one. A larger
        // bucket includes the smaller ones, so it is raised to their count.
        let mut highest = 0.0;
        for count in &mut self.counts {
            highest = f64::max(highest, *count);
            *count = highest;
        }
        true
    }

    /// Removes all buckets.
    pub fn clear(&mut self) {
        self.bounds.clear();
        self.counts.clear();
    }

    /// Returns the upper bounds, ascending; the last is infinite.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// Returns the number of events up to each bound.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// Returns the number of all events.
    pub fn events(&self) -> f64 {
        self.counts.last().copied().unwrap_or_default()
    }

    pub(crate) fn from_parts(bounds: Vec<f64>, counts: Vec<f64>) -> Self {
        Self { bounds, counts }
    }

    /// Adds the events of another histogram. If its bounds are different, the events of both are
    /// assumed to be spread evenly within their buckets, because replicas of two versions are still
    /// one service.
    pub fn add(&mut self, other: &Self) {
        if self.bounds.is_empty() {
            self.clone_from(other);
        } else if self.bounds == other.bounds {
            for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
                *mine += theirs;
            }
        } else if !other.bounds.is_empty() {
            let mut bounds = [&self.bounds[..], &other.bounds].concat();
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            let counts =
                bounds.iter().map(|bound| self.at_most(*bound) + other.at_most(*bound)).collect();
            *self = Self { bounds, counts };
        }
    }

    /// Estimates the number of events up to this size.
    fn at_most(&self, size: f64) -> f64 {
        let index = self.bounds.partition_point(|bound| *bound < size);
        let (start, end) = (self.lower(index), self.bounds[index]);
        let (below, up_to) = (self.below(index), self.counts[index]);
        if end.total_cmp(&size).is_eq() {
            up_to
        } else if end.is_infinite() || size <= start {
            below
        } else {
            // The difference of two finite bounds may overflow to infinity.
            below + (up_to - below) * f64::max(0.0, (size - start) / (end - start))
        }
    }

    /// Returns the size that the share `quantile` (0 to 1) of the events does not exceed, by the
    /// rules of PromQL's `histogram_quantile`: events are spread evenly within their bucket, the
    /// first of which begins at 0, and a quantile beyond the last finite bound is that bound.
    ///
    /// `None` without events, or if the result overflows.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let events = self.events();
        if events <= 0.0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * events;
        let last = self.bounds.len() - 1;
        let index = self.bucket_of(rank);
        if index == last {
            return Some(self.bounds[last - 1]);
        }
        let (start, end) = (self.lower(index), self.bounds[index]);
        if index == 0 && end <= 0.0 {
            return Some(end);
        }
        let (below, up_to) = (self.below(index), self.counts[index]);
        let within = if up_to > below { (rank - below) / (up_to - below) } else { 0.0 };
        Some(start + (end - start) * within).filter(|size| size.is_finite())
    }

    /// Returns the quantile if there were enough events for it: at least ten, and at least one that
    /// is expected beyond the quantile. Example: the 99th percentile needs 100 events.
    pub fn quantile_if_enough(&self, quantile: f64) -> Option<f64> {
        const FEWEST: f64 = 10.0;
        let needed = FEWEST.max((1.0 / (1.0 - quantile)).round());
        if self.events() >= needed { self.quantile(quantile) } else { None }
    }

    /// Returns the index of the bucket with the event of this rank.
    fn bucket_of(&self, rank: f64) -> usize {
        let last = self.bounds.len().saturating_sub(1);
        self.counts.partition_point(|count| *count < rank).min(last)
    }

    /// Returns true if a quantile is beyond the last finite bound, so that its size is not known.
    pub fn is_beyond(&self, quantile: f64) -> bool {
        let index = self.bucket_of(quantile.clamp(0.0, 1.0) * self.events());
        index + 1 == self.bounds.len()
    }

    /// Returns the first bound. Events below it may have any smaller size.
    pub fn first_bound(&self) -> Option<f64> {
        self.bounds.first().copied()
    }

    /// Returns the last finite bound. Events beyond it may have any larger size.
    pub fn last_bound(&self) -> Option<f64> {
        self.bounds.iter().rev().nth(1).copied()
    }

    /// Returns true if an event is in the first bucket.
    pub fn has_first(&self) -> bool {
        self.counts.first().is_some_and(|count| *count > 0.0)
    }

    /// Returns true if an event is beyond the last finite bound.
    pub fn has_beyond(&self) -> bool {
        let below = self.counts.iter().rev().nth(1);
        below.is_some_and(|below| *below < self.events())
    }

    fn lower(&self, index: usize) -> f64 {
        if index > 0 { self.bounds[index - 1] } else { 0.0_f64.min(self.bounds[0]) }
    }

    fn below(&self, index: usize) -> f64 {
        if index > 0 { self.counts[index - 1] } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn buckets(cumulative: &[(f64, f64)]) -> Buckets {
        Buckets::new(cumulative.iter().copied()).unwrap()
    }

    #[test]
    fn an_incomplete_histogram_is_none() {
        let table: [&[(f64, f64)]; 9] = [
            &[],
            &[(INF, 3.0)],
            &[(1.0, 1.0), (2.0, 2.0)],
            &[(1.0, -1.0), (INF, 2.0)],
            &[(1.0, f64::NAN), (INF, 2.0)],
            &[(f64::NAN, 1.0), (INF, 2.0)],
            &[(-INF, 1.0), (1.0, 2.0), (INF, 2.0)],
            &[(1.0, 1.0), (INF, INF)],
            &[(1.0, f64::MAX), (1.0, f64::MAX), (INF, 2.0)],
        ];
        for cumulative in table {
            assert_eq!(Buckets::new(cumulative.iter().copied()), None, "{cumulative:?}");
        }
    }

    #[test]
    fn buckets_of_one_bound_add_up_and_never_descend() {
        let found = buckets(&[(INF, 3.0), (1.0, 1.0), (1.0, 4.0)]);
        assert_eq!((found.bounds(), found.counts()), (&[1.0, INF][..], &[5.0, 5.0][..]));
        assert_eq!(buckets(&[(-0.0, 1.0), (0.0, 2.0), (INF, 3.0)]).counts(), [3.0, 3.0]);
    }

    /// The expected values are those of PromQL's `histogram_quantile` for these buckets.
    #[test]
    fn quantiles_are_those_of_promql() {
        let table: [(f64, f64); 5] = [(0.5, 1.5), (0.9, 3.0), (1.0, 4.0), (0.0, 0.0), (0.1, 0.5)];
        let found = buckets(&[(1.0, 2.0), (2.0, 8.0), (4.0, 10.0), (INF, 10.0)]);
        for (quantile, expected) in table {
            let value = found.quantile(quantile).unwrap();
            assert!((value - expected).abs() < 1e-12, "{quantile}: {value}");
        }
        assert_eq!(
            buckets(&[(1.0, 1.0), (INF, 10.0)]).quantile(0.9),
            Some(1.0),
            "beyond the last bound"
        );
        assert_eq!(buckets(&[(-1.0, 5.0), (1.0, 5.0), (INF, 5.0)]).quantile(0.5), Some(-1.0));
        assert_eq!(buckets(&[(1.0, 0.0), (INF, 0.0)]).quantile(0.5), None);
        let far = buckets(&[(f64::MIN, 0.0), (f64::MAX, 5.0), (INF, 5.0)]);
        assert_eq!(far.quantile(0.5), None);
        let mut both = buckets(&[(0.0, 1.0), (INF, 1.0)]);
        both.add(&far);
        assert!(both.counts().is_sorted(), "{both:?}");
    }

    #[test]
    fn a_quantile_beyond_the_last_bound_is_no_size() {
        let found = buckets(&[(0.3, 50.0), (60.0, 90.0), (INF, 100.0)]);
        let beyond = [0.5, 0.9, 0.91, 0.99].map(|quantile| found.is_beyond(quantile));
        assert_eq!(beyond, [false, false, true, true]);
        assert_eq!((found.first_bound(), found.last_bound()), (Some(0.3), Some(60.0)));
        assert!(found.has_first() && found.has_beyond());
        let inside = buckets(&[(0.3, 0.0), (60.0, 100.0), (INF, 100.0)]);
        assert!(!inside.has_first() && !inside.has_beyond() && !inside.is_beyond(0.99));
        assert_eq!(Buckets::default().last_bound(), None);
    }

    #[test]
    fn a_few_events_are_not_enough() {
        let found = |events| buckets(&[(1.0, 0.0), (2.0, events), (INF, events)]);
        for (quantile, enough) in [(0.5, 10.0), (0.9, 10.0), (0.95, 20.0), (0.99, 100.0)] {
            assert!(found(enough).quantile_if_enough(quantile).is_some(), "{quantile}");
            assert_eq!(found(enough - 1.0).quantile_if_enough(quantile), None, "{quantile}");
        }
    }

    #[test]
    fn replicas_with_different_bounds_are_pooled() {
        let mut coarse = buckets(&[(1.0, 0.0), (3.0, 10.0), (INF, 10.0)]);
        coarse.add(&buckets(&[(1.0, 0.0), (2.0, 5.0), (3.0, 10.0), (INF, 10.0)]));
        assert_eq!(coarse.bounds(), [1.0, 2.0, 3.0, INF]);
        assert_eq!(coarse.counts(), [0.0, 10.0, 20.0, 20.0]);

        let mut same = buckets(&[(1.0, 1.0), (INF, 2.0)]);
        same.add(&buckets(&[(1.0, 3.0), (INF, 5.0)]));
        assert_eq!(same.counts(), [4.0, 7.0]);

        let mut none = Buckets::default();
        none.add(&same);
        assert_eq!(none, same);
        none.add(&Buckets::default());
        assert_eq!(none, same);
    }
}
