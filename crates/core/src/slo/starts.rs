//! The start-up times of replicas as the SLO mode needs them: one to look ahead by, and how far the
//! fastest of a batch is ahead of the rest.

/// The number of start-up times that are remembered.
const CAPACITY: usize = 16;
/// The start-up time before any has been seen, in seconds.
const UNKNOWN: f64 = 120.0;
/// The share of starts that take no longer than the learned time.
const QUANTILE: f64 = 0.9;
/// A replica that takes this many times as long is stuck.
const STUCK: f64 = 3.0;

/// The latest start-up times in seconds, the newest last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Starts {
    times: [f64; CAPACITY],
    count: usize,
}

impl Starts {
    pub(super) fn learn(&mut self, time: f64) {
        if self.count == CAPACITY {
            self.times.rotate_left(1);
            self.count -= 1;
        }
        self.times[self.count] = time;
        self.count += 1;
    }

    /// Returns the times as numbers.
    pub(super) fn record(&self) -> Vec<f32> {
        self.times[..self.count].iter().map(|time| time.round() as f32).collect()
    }

    /// Takes over times, as far as they can be some.
    pub(super) fn restore(&mut self, record: &[f32]) {
        let times = record.iter().map(|time| f64::from(*time));
        times.filter(|time| time.is_finite() && *time >= 0.0).for_each(|time| self.learn(time));
    }

    /// Returns the time that nine of ten starts take at most.
    pub(super) fn time(&self) -> f64 {
        if self.count == 0 { UNKNOWN } else { self.quantile(QUANTILE) }
    }

    /// Returns the age at which a replica that has never been ready is stuck.
    pub(super) fn stuck_after(&self) -> f64 {
        STUCK * self.time()
    }

    /// Returns the share from 0 to 1 by which more starts make the first of them faster. It is 1
    /// where start-up times are independent of each other with a spread of a quarter, as far as is
    /// known, and 0 where all take the same time.
    pub(super) fn independence(&self) -> f64 {
        /// The difference of the median and the tenth percentile that counts as independent.
        const SPREAD: f64 = 0.25;
        /// The times below which nothing is known.
        const ENOUGH: usize = 6;
        if self.count < ENOUGH {
            return 1.0;
        }
        let ahead = 1.0 - self.quantile(0.1) / self.quantile(0.5).max(f64::EPSILON);
        (ahead / SPREAD).clamp(0.0, 1.0)
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.times;
        let sorted = &mut sorted[..self.count];
        sorted.sort_unstable_by(f64::total_cmp);
        sorted[((self.count - 1) as f64 * share).round() as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_look_ahead_is_that_of_slow_starts() {
        let mut starts = Starts::default();
        assert!((starts.time() - UNKNOWN).abs() < 1e-9 && starts.independence() > 0.99);
        for time in [80.0, 90.0, 100.0, 100.0, 110.0, 120.0, 130.0, 200.0] {
            starts.learn(time);
        }
        assert!((starts.time() - 130.0).abs() < 1e-9, "{}", starts.time());
        assert!((starts.stuck_after() - 390.0).abs() < 1e-9);
        assert!((0.3..0.9).contains(&starts.independence()), "{}", starts.independence());
        for _ in 0..CAPACITY {
            starts.learn(60.0);
        }
        assert!((starts.time() - 60.0).abs() < 1e-9 && starts.independence() < 1e-9);
    }
}
