//! Judges a long run: a figure of a process is flat if it does not grow after the warm-up.
//!
//! The first tenth of the samples is the warm-up and left out. The median of the first quarter of
//! the rest is compared with that of the last quarter, because a single sample may meet any peak.

/// The share of the run that is left out.
const WARM_UP: f64 = 0.1;
/// The share of the rest that each of the compared windows has.
const WINDOW: f64 = 0.25;
/// The fewest samples that a window has.
const FEWEST: usize = 3;

/// A figure of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The time since the run began, in seconds.
    pub second: f64,
    /// The figure.
    pub value: f64,
}

/// The growth that still counts as flat: the larger one of the two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// A share of the early figure, such as 0.1.
    pub share: f64,
    /// A constant, in the figure's unit.
    pub constant: f64,
}

/// The way of a figure over a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The median after the warm-up.
    pub early: f64,
    /// The median at the end.
    pub late: f64,
    /// The slope of the least squares after the warm-up, per hour.
    pub per_hour: f64,
}

impl Trend {
    /// Returns the trend of samples, which are in the order of their times. `None` if there are too
    /// few: no sample is no sign of flatness.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let (first, last) = (samples.first()?.second, samples.last()?.second);
        let warm = first + WARM_UP * (last - first);
        let kept = |from: f64, to: f64| -> Vec<Sample> {
            let is_within = |sample: &&Sample| (from..=to).contains(&sample.second);
            samples.iter().filter(is_within).copied().collect()
        };
        let window = WINDOW * (last - warm);
        let (early, late) = (kept(warm, warm + window), kept(last - window, last));
        if early.len() < FEWEST || late.len() < FEWEST {
            return None;
        }
        let per_hour = 3600.0 * slope(&kept(warm, last));
        Some(Self { early: median(&early), late: median(&late), per_hour })
    }

    /// Returns true if the figure has grown by no more than is allowed.
    pub fn is_flat(&self, allowance: Allowance) -> bool {
        self.late - self.early <= allowance.constant.max(allowance.share * self.early)
    }
}

/// Returns the median of samples, of which there is at least one.
fn median(samples: &[Sample]) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { values[middle - 1].midpoint(values[middle]) }
}

/// Returns the slope of the line through the samples with the least squares, per second.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (second, value) = (mean(|sample| sample.second), mean(|sample| sample.value));
    let products = samples.iter().map(|sample| {
        let distance = sample.second - second;
        (distance * (sample.value - value), distance * distance)
    });
    let (both, squares) = products.fold((0.0, 0.0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
    both / squares
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The samples of an hour, one every 36 s.
    fn hour(value: impl Fn(f64) -> f64) -> Vec<Sample> {
        let sample = |index| {
            let second = f64::from(index) * 36.0;
            Sample { second, value: value(second) }
        };
        (0..=100).map(sample).collect()
    }

    #[test]
    fn growth_after_the_warm_up_is_not_flat() {
        type Value = fn(f64) -> f64;
        // name, the value at a second, is it flat with 10 % or 4
        let table: &[(&str, Value, bool)] = &[
            ("constant", |_| 60.0, true),
            ("none", |_| 0.0, true),
            ("the warm-up grows", |second| if second < 300.0 { 20.0 } else { 60.0 }, true),
            ("it shrinks", |second| 60.0 - second / 100.0, true),
            ("8 % an hour", |second| 60.0 + 4.8 * second / 3600.0, true),
            ("20 % an hour", |second| 60.0 + 12.0 * second / 3600.0, false),
            ("a leak of little", |second| 10.0 * second / 3600.0, false),
            ("3 more of few", |second| if second < 1800.0 { 5.0 } else { 8.0 }, true),
            ("5 more of few", |second| if second < 1800.0 { 5.0 } else { 10.0 }, false),
            ("a peak at times", |second| if second % 360.0 < 1.0 { 500.0 } else { 60.0 }, true),
            ("a saw", |second| 60.0 + second % 360.0 / 10.0, true),
            ("a saw that climbs", |second| 60.0 + second % 360.0 / 10.0 + second / 200.0, false),
            ("it jumps at the end", |second| if second > 2900.0 { 70.0 } else { 60.0 }, false),
        ];
        let allowance = Allowance { share: 0.1, constant: 4.0 };
        for (name, value, expected) in table {
            let trend = Trend::of(&hour(value)).unwrap();
            assert_eq!(trend.is_flat(allowance), *expected, "{name}: {trend:?}");
        }
    }

    #[test]
    fn a_slope_is_per_hour() {
        let trend = Trend::of(&hour(|second| 100.0 + second / 360.0)).unwrap();
        assert!((trend.per_hour - 10.0).abs() < 1e-9, "{trend:?}");
        assert!((trend.early - 102.1).abs() < 0.1, "{trend:?}");
        assert!((trend.late - 108.9).abs() < 0.1, "{trend:?}");
    }

    #[test]
    fn few_samples_are_no_trend() {
        let sample = |index| Sample { second: f64::from(index), value: 1.0 };
        let samples: Vec<Sample> = (0..=15).map(sample).collect();
        for count in [0, 1, 2, 5, 8] {
            assert_eq!(Trend::of(&samples[..count]), None, "{count} samples");
        }
        assert!(Trend::of(&samples).is_some());
        // A process that answered at the beginning only.
        let gap = [&samples[..11], &[Sample { second: 1000.0, value: 1.0 }]].concat();
        assert_eq!(Trend::of(&gap), None);
    }
}
