//! The time of a step: a moment by the wall clock, and one by a clock that never goes back.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// The time of a step. It is read once, at the top of the step, and passed down as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock: comparable with times of the API server, and of other processes. It may be
    /// set back.
    pub wall: DateTime<Utc>,
    /// The monotonic clock: for intervals and deadlines within this process.
    pub monotonic: Monotonic,
}

/// A moment as the time since the clock was started. Moments of two clocks are not comparable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub Duration);

impl Now {
    /// Returns a moment of the monotonic clock by the wall clock, as that is set now.
    pub fn wall_at(self, at: Monotonic) -> DateTime<Utc> {
        let signed = |time| TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
        let by = signed(at.since(self.monotonic)) - signed(self.monotonic.since(at));
        self.wall.checked_add_signed(by).unwrap_or(self.wall)
    }
}

impl Monotonic {
    /// Returns the time since an earlier moment; zero if it is a later one.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the moment that is this much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}
