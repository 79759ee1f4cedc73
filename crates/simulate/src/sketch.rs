//! Quantiles of many numbers in fixed memory.

/// The bits of a number's mantissa that tell its bucket: 128 buckets from a number to its double.
const MANTISSA_BITS: u32 = 7;
/// The buckets below this many powers of two are one: 2^-20 s is a microsecond.
const LOWEST_EXPONENT: i64 = -20;
/// The powers of two that have buckets; the last is above 10^6 s.
const EXPONENTS: i64 = 41;
const BUCKETS: usize = (EXPONENTS as usize) << MANTISSA_BITS;

/// A histogram of positive numbers with buckets in a geometric series, so that each quantile is off
/// by less than 0.8 %.
#[derive(Debug, Clone)]
pub struct Sketch {
    counts: Vec<u64>,
    count: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0 }
    }
}

impl Sketch {
    /// Counts one number. Numbers outside of the range of the buckets count as its ends.
    pub fn observe(&mut self, value: f64) {
        self.counts[bucket(value)] += 1;
        self.count += 1;
    }

    /// Forgets all numbers.
    pub fn clear(&mut self) {
        if self.count > 0 {
            self.counts.fill(0);
            self.count = 0;
        }
    }

    /// Returns the number of counted numbers.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the number below or at which this share of the numbers is, from 0 to 1; `None`
    /// without any number.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = ((share * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below >= rank && *count > 0
        });
        found.map(middle)
    }
}

fn bucket(value: f64) -> usize {
    let lowest = (LOWEST_EXPONENT + 1023) << MANTISSA_BITS;
    let own = (value.max(0.0).to_bits() >> (52 - MANTISSA_BITS)) as i64;
    (own - lowest).clamp(0, BUCKETS as i64 - 1) as usize
}

/// Returns the middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let lowest = ((LOWEST_EXPONENT + 1023) as u64) << MANTISSA_BITS;
    let at = |bucket: u64| f64::from_bits((lowest + bucket) << (52 - MANTISSA_BITS));
    f64::midpoint(at(bucket as u64), at(bucket as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close_to_those_of_the_numbers() {
        let mut sketch = Sketch::default();
        assert_eq!(sketch.quantile(0.5), None);
        (1..=10_000).for_each(|value| sketch.observe(f64::from(value) / 1_000.0));
        for (share, exact) in [(0.0, 0.001), (0.5, 5.0), (0.99, 9.9), (1.0, 10.0)] {
            let found = sketch.quantile(share).unwrap();
            assert!((found / exact - 1.0).abs() < 0.008, "{share}: {found}, not {exact}");
        }
    }

    #[test]
    fn numbers_out_of_range_count_as_its_ends() {
        let mut sketch = Sketch::default();
        for value in [0.0, -1.0, 1e300] {
            sketch.observe(value);
        }
        assert!(sketch.quantile(0.5).unwrap() < 1e-5 && sketch.quantile(1.0).unwrap() > 1e6);
    }
}
