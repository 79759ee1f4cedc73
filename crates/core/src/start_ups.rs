//! How long replicas take to start, learned from those that have.

use chrono::TimeDelta;

/// How many start-ups are remembered.
const KEPT: usize = 5;
/// A replica that takes this many times as long as the slowest of those is not starting any more.
const MULTIPLE: i32 = 3;
/// The least and, while nothing has been learned, the usual patience: a large model takes a while to load.
const LEAST: TimeDelta = TimeDelta::minutes(2);
const UNLEARNED: TimeDelta = TimeDelta::minutes(20);

/// The latest start-up times of one target: from a replica's creation until all of it was ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartUps {
    /// Latest first.
    times: Vec<TimeDelta>,
}

impl StartUps {
    /// Those that a record has, in whole seconds, latest first. What is no time is left out.
    pub fn from_seconds(seconds: &[i32]) -> Self {
        let times = seconds.iter().filter(|seconds| **seconds >= 0);
        Self {
            times: times
                .take(KEPT)
                .map(|seconds| TimeDelta::seconds(i64::from(*seconds)))
                .collect(),
        }
    }

    /// In whole seconds, rounded up, latest first.
    pub fn seconds(&self) -> Vec<i32> {
        let whole = |time: &TimeDelta| {
            let up = i64::from(time.subsec_nanos() > 0);
            i32::try_from(time.num_seconds() + up).unwrap_or(i32::MAX)
        };
        self.times.iter().map(whole).collect()
    }

    /// Remembers how long one took.
    pub fn learn(&mut self, time: TimeDelta) {
        self.times.truncate(KEPT - 1);
        self.times.insert(0, time.max(TimeDelta::zero()));
    }

    /// How long to wait for a replica that is not ready. After that it is stuck.
    pub fn patience(&self) -> TimeDelta {
        let slowest = self.times.iter().max();
        slowest.map_or(UNLEARNED, |slowest| (*slowest * MULTIPLE).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(seconds: &[i64]) -> StartUps {
        let mut learned = StartUps::default();
        for seconds in seconds {
            learned.learn(TimeDelta::seconds(*seconds));
        }
        learned
    }

    #[test]
    fn patience_is_a_multiple_of_the_slowest_of_late() {
        // start-ups, oldest first; patience in seconds
        let table: [(&[i64], i64); 5] = [
            (&[], 1200),
            (&[5], 120),
            (&[300], 900),
            (&[300, 100, 200], 900),
            (&[900, 100, 100, 100, 100, 100], 300),
        ];
        for (times, patience) in table {
            assert_eq!(learned(times).patience().num_seconds(), patience, "{times:?}");
        }
    }

    #[test]
    fn a_record_is_in_whole_seconds() {
        let mut start_ups = learned(&[10, -1]);
        start_ups.learn(TimeDelta::milliseconds(1500));
        assert_eq!(start_ups.seconds(), [2, 0, 10]);
        assert_eq!(StartUps::from_seconds(&start_ups.seconds()).seconds(), [2, 0, 10]);
        assert_eq!(StartUps::from_seconds(&[1, -2, 3, 4, 5, 6, 7]).seconds(), [1, 3, 4, 5, 6]);
        let mut endless = StartUps::default();
        endless.learn(TimeDelta::MAX);
        assert_eq!(endless.seconds(), [i32::MAX]);
    }
}
