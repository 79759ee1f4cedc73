//! The lag of a role: requested replicas that do not start.

use chrono::{DateTime, TimeDelta, Utc};

/// The length of one of the two intervals over which the minimum is taken.
const INTERVAL: TimeDelta = TimeDelta::seconds(5);

/// The number of replicas that a role has been missing without interruption: the minimum over the
/// last 5 to 10 seconds. A shortage that lasts less than 5 s, such as that of a normal start, is no
/// lag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// The start of the current interval.
    begun: Option<DateTime<Utc>>,
    /// The minimum of the previous interval.
    previous: i32,
    /// The minimum of the current interval.
    current: i32,
}

impl Lag {
    /// Records the number of replicas that are missing now, and returns the lag.
    pub fn observe(&mut self, missing: i32, now: DateTime<Utc>) -> i32 {
        match self.begun {
            Some(begun) if now - begun < INTERVAL => self.current = self.current.min(missing),
            begun => {
                // After a gap without observations the previous interval is unknown.
                let is_next = begun.is_some_and(|begun| now - begun < INTERVAL * 2);
                self.previous = if is_next { self.current } else { 0 };
                (self.begun, self.current) = (Some(now), missing);
            }
        }
        self.lagging()
    }

    /// Returns the lag as of the latest record.
    pub fn lagging(&self) -> i32 {
        self.previous.min(self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::at;

    #[test]
    fn only_replicas_that_are_missing_all_the_time_lag() {
        // second, missing, lagging
        let table = [
            (0, 4, 0),
            (1, 4, 0),
            (4, 3, 0),
            (5, 4, 3),
            (9, 4, 3),
            (10, 4, 4),
            (11, 1, 1),
            (12, 4, 1),
            (15, 4, 1),
            (20, 4, 4),
            (21, 0, 0),
            (40, 4, 0),
            (45, 4, 4),
        ];
        let mut lag = Lag::default();
        for (second, missing, lagging) in table {
            assert_eq!(lag.observe(missing, at(second)), lagging, "at {second} s");
        }
    }
}
