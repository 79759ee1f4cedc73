//! Times of a case.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, de::Error};

/// A time in seconds that is not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seconds(Duration);

impl Seconds {
    /// The default age of a pod.
    pub(super) const AN_HOUR: Self = Self(Duration::from_hours(1));

    pub(super) fn duration(self) -> Duration {
        self.0
    }

    pub(super) fn delta(self) -> TimeDelta {
        TimeDelta::from_std(self.0).unwrap_or(TimeDelta::MAX)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A hundred years, so that no sum of times overflows.
        const MOST: f64 = 3e9;
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=MOST).contains(&seconds) {
            return Err(D::Error::custom(format!("{seconds} s is not between 0 and {MOST:e}")));
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}
