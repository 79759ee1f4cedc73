//! Replicas that are asked for and do not come.

use chrono::{DateTime, TimeDelta, Utc};

/// For how long less than what was asked for is nothing to speak of: twice this at most, once at least.
const HALF: TimeDelta = TimeDelta::seconds(5);

/// How many replicas a role has lacked all the time of late: the least of the last 5 to 10 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    begun: Option<DateTime<Utc>>,
    before: i32,
    since: i32,
}

impl Lag {
    /// Takes note of how many are lacking now; how many have been lacking all the time.
    pub fn see(&mut self, lacking: i32, now: DateTime<Utc>) -> i32 {
        match self.begun {
            Some(begun) if now - begun < HALF => self.since = self.since.min(lacking),
            begun => {
                // Time in which nobody looked is time of which nothing is known.
                let is_next = begun.is_some_and(|begun| now - begun < HALF * 2);
                self.before = if is_next { self.since } else { 0 };
                (self.begun, self.since) = (Some(now), lacking);
            }
        }
        self.before.min(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn only_what_is_lacking_all_the_time_lags() {
        // second, lacking, lagging
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
        for (second, lacking, lagging) in table {
            assert_eq!(lag.see(lacking, at(second)), lagging, "at {second} s");
        }
    }
}
