/// A cumulative histogram with fixed bounds, as Prometheus defines it.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Creates an empty histogram. `bounds` are the upper bounds in rising order, without the
    /// infinite one.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts one value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Counts an arithmetic series of values, `weight` times each. `growth` is not negative.
    pub fn observe_series(&mut self, first: f64, growth: f64, values: u64, weight: u64) {
        let count = values as f64;
        self.sum += weight as f64 * count * (first + growth * (count - 1.0) / 2.0);
        let mut counted = 0;
        let mut bucket = self.bounds.partition_point(|bound| *bound < first);
        while counted < values {
            let within = match self.bounds.get(bucket) {
                Some(bound) if growth > 0.0 => {
                    (((bound - first) / growth).floor().max(0.0) as u64).saturating_add(1)
                }
                _ => values,
            };
            let upto = within.clamp(counted, values);
            self.counts[bucket] += (upto - counted) * weight;
            counted = upto;
            bucket += 1;
        }
    }

    /// Returns the number of observed values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all observed values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Returns the upper bounds, each with the number of values at or below it; the last bound is
    /// infinity.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        });
        bounds.zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.5, 1.0, 1.5, 2.0, 9.0] {
            histogram.observe(value);
        }
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative, [(1.0, 2), (2.0, 4), (f64::INFINITY, 5)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 14.0));
    }

    #[test]
    fn a_series_counts_as_its_values_do() {
        const BOUNDS: &[f64] = &[0.5, 1.0, 2.0, 4.0];
        for (first, growth, values) in
            [(0.75, 0.0, 4), (0.25, 0.25, 40), (3.0, 0.5, 1), (0.4, 7.0, 3), (9.0, 1.0, 5)]
        {
            let (mut series, mut single) = (Histogram::new(BOUNDS), Histogram::new(BOUNDS));
            series.observe_series(first, growth, values, 3);
            for value in (0..values).map(|index| first + growth * index as f64) {
                (0..3).for_each(|_| single.observe(value));
            }
            assert_eq!(series.counts, single.counts, "{first} {growth} {values}");
            assert!((series.sum - single.sum).abs() < 1e-9);
        }
    }
}
