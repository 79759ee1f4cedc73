//! The start-up times of a target's replicas, learned from the replicas that have started.

use chrono::TimeDelta;

/// The number of start-up times that are remembered.
const CAPACITY: usize = 5;
/// A replica that takes this many times as long as the slowest remembered start is stuck.
const MULTIPLE: i32 = 3;
/// The shortest timeout.
const LEAST: TimeDelta = TimeDelta::minutes(2);
/// The timeout while no start has been observed: loading a large model can take this long.
const UNLEARNED: TimeDelta = TimeDelta::minutes(20);

/// The latest start-up times of one target: each from a replica's creation until all of its pods
/// were ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupTimes {
    /// At most [`CAPACITY`] times, latest first.
    times: Vec<TimeDelta>,
}

impl StartupTimes {
    /// Returns the start-up times of a record, which are whole seconds, latest first. Negative
    /// entries are skipped.
    pub fn from_seconds(seconds: &[i32]) -> Self {
        let times = seconds
            .iter()
            .filter(|seconds| **seconds >= 0)
            .take(CAPACITY)
            .map(|seconds| TimeDelta::seconds(i64::from(*seconds)))
            .collect();
        Self { times }
    }

    /// Returns the start-up times in whole seconds, rounded up, latest first.
    pub fn seconds(&self) -> Vec<i32> {
        self.times.iter().map(whole_seconds).collect()
    }

    /// Adds the start-up time of one replica. Negative times count as zero.
    pub fn learn(&mut self, time: TimeDelta) {
        self.times.truncate(CAPACITY - 1);
        self.times.insert(0, time.max(TimeDelta::zero()));
    }

    /// Returns the time from its creation after which a replica that is not ready is stuck: three
    /// times the slowest remembered start and at least 2 minutes; 20 minutes while none is
    /// remembered.
    pub fn startup_timeout(&self) -> TimeDelta {
        let slowest = self.times.iter().max();
        slowest.map_or(UNLEARNED, |slowest| (*slowest * MULTIPLE).max(LEAST))
    }
}

/// Rounds a time up to whole seconds.
fn whole_seconds(time: &TimeDelta) -> i32 {
    let up = i64::from(time.subsec_nanos() > 0);
    i32::try_from(time.num_seconds() + up).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(seconds: &[i64]) -> StartupTimes {
        let mut learned = StartupTimes::default();
        for seconds in seconds {
            learned.learn(TimeDelta::seconds(*seconds));
        }
        learned
    }

    #[test]
    fn the_timeout_is_a_multiple_of_the_slowest_recent_start() {
        // start-ups, oldest first; timeout in seconds
        let table: [(&[i64], i64); 5] = [
            (&[], 1200),
            (&[5], 120),
            (&[300], 900),
            (&[300, 100, 200], 900),
            (&[900, 100, 100, 100, 100, 100], 300),
        ];
        for (times, timeout) in table {
            assert_eq!(learned(times).startup_timeout().num_seconds(), timeout, "{times:?}");
        }
    }

    #[test]
    fn a_record_is_in_whole_seconds() {
        let mut startups = learned(&[10, -1]);
        startups.learn(TimeDelta::milliseconds(1500));
        assert_eq!(startups.seconds(), [2, 0, 10]);
        assert_eq!(StartupTimes::from_seconds(&startups.seconds()).seconds(), [2, 0, 10]);
        assert_eq!(StartupTimes::from_seconds(&[1, -2, 3, 4, 5, 6, 7]).seconds(), [1, 3, 4, 5, 6]);
        let mut endless = StartupTimes::default();
        endless.learn(TimeDelta::MAX);
        assert_eq!(endless.seconds(), [i32::MAX]);
    }
}
