//! Histograms: how many events there were of each size, and the quantiles of that.

/// Events by size, cumulatively, as Prometheus's classic histograms have it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Upper bounds, ascending; the last is infinite.
    bounds: Vec<f64>,
    /// How many events were at most that large; never descending.
    counts: Vec<f64>,
}

impl Buckets {
    /// Buckets with these upper bounds and cumulative counts; `None` if they are no complete histogram.
    pub fn new(cumulative: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        // Adding zero makes one number of -0 and 0.
        let mut sorted: Vec<_> =
            cumulative.into_iter().map(|(bound, count)| (bound + 0.0, count)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut buckets = Self::default();
        buckets.fill(sorted.into_iter()).then_some(buckets)
    }

    /// Replaces the buckets by the sum of these, which are ascending. False, and empty, if they are no complete
    /// histogram: the infinite bucket is missing, another bound is infinite too, or a count is negative or not finite.
    pub(crate) fn fill(&mut self, cumulative: impl Iterator<Item = (f64, f64)>) -> bool {
        self.clear();
        let mut sound = true;
        for (bound, count) in cumulative {
            sound &= count >= 0.0 && bound > f64::NEG_INFINITY;
            match (self.bounds.last(), self.counts.last_mut()) {
                (Some(last), Some(total)) if last.total_cmp(&bound).is_eq() => *total += count,
                _ => {
                    self.bounds.push(bound);
                    self.counts.push(count);
                }
            }
        }
        sound &= self.bounds.len() > 1 && self.bounds.last() == Some(&f64::INFINITY);
        sound &= self.counts.iter().all(|count| count.is_finite());
        if !sound {
            self.clear();
            return false;
        }
        // Scraped in the middle of an update a bucket may be ahead of the next one; a larger bucket holds the smaller.
        let mut highest = 0.0;
        for count in &mut self.counts {
            highest = f64::max(highest, *count);
            *count = highest;
        }
        true
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bounds.clear();
        self.counts.clear();
    }

    /// Upper bounds, ascending.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// How many events were at most as large as each bound.
    pub fn counts(&self) -> &[f64] {
        &self.counts
    }

    /// How many events there were.
    pub fn events(&self) -> f64 {
        self.counts.last().copied().unwrap_or_default()
    }

    pub(crate) fn from_parts(bounds: Vec<f64>, counts: Vec<f64>) -> Self {
        Self { bounds, counts }
    }

    /// Adds the events of another histogram. Where its bounds are different ones, both are taken to be spread evenly
    /// within their buckets: replicas of two versions are still one service.
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

    /// How many events were at most this large.
    fn at_most(&self, size: f64) -> f64 {
        let index = self.bounds.partition_point(|bound| *bound < size);
        let (start, end) = (self.lower(index), self.bounds[index]);
        let (below, up_to) = (self.below(index), self.counts[index]);
        if end.total_cmp(&size).is_eq() {
            up_to
        } else if end.is_infinite() || size <= start {
            below
        } else {
            // Bounds may be so far apart that no float holds the distance.
            below + (up_to - below) * f64::max(0.0, (size - start) / (end - start))
        }
    }

    /// The size that the share `quantile` (0 to 1) of the events does not exceed, as `histogram_quantile` of PromQL
    /// has it: events are spread evenly within their bucket, whose lower end is 0 for the first; beyond the last finite
    /// bound nothing is known, and that bound is the answer. `None` without events, or where no float holds the answer.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let events = self.events();
        if events <= 0.0 {
            return None;
        }
        let rank = quantile.clamp(0.0, 1.0) * events;
        let last = self.bounds.len() - 1;
        let index = self.counts.partition_point(|count| *count < rank).min(last);
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

    /// The same, if there were enough events to tell: ten, and so many that one of them is expected beyond the quantile.
    pub fn quantile_of_enough(&self, quantile: f64) -> Option<f64> {
        const FEWEST: f64 = 10.0;
        let needed = FEWEST.max((1.0 / (1.0 - quantile)).round());
        if self.events() >= needed { self.quantile(quantile) } else { None }
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
    fn what_is_no_complete_histogram_is_none() {
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

    /// Values of `histogram_quantile` of Prometheus for the same buckets.
    #[test]
    fn quantiles_are_promqls() {
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
    fn a_few_events_are_not_enough() {
        let found = |events| buckets(&[(1.0, 0.0), (2.0, events), (INF, events)]);
        for (quantile, enough) in [(0.5, 10.0), (0.9, 10.0), (0.95, 20.0), (0.99, 100.0)] {
            assert!(found(enough).quantile_of_enough(quantile).is_some(), "{quantile}");
            assert_eq!(found(enough - 1.0).quantile_of_enough(quantile), None, "{quantile}");
        }
    }

    #[test]
    fn replicas_with_other_bounds_are_pooled_all_the_same() {
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
