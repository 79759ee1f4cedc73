//! The operator's clock. Besides the loops of [`sampling`](crate::sampling), it is the only code
//! that reads the time.

use std::{sync::Mutex, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_core::{Monotonic, Now};
use tokio::time::Instant;

use crate::lock::lock;

/// The largest difference that is caught up with slowly. A clock that was further behind was wrong
/// when the process started, or the machine was suspended.
const SLOWLY: TimeDelta = TimeDelta::hours(1);
/// The part of the elapsed time by which the clock runs faster while it catches up.
const FASTER: u32 = 10;

/// A clock that starts with the process. Cheap to copy. Only moments of the same clock can be
/// compared, so a process has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// A process has one clock, so it is never freed.
    steady: &'static Mutex<SteadyClock>,
}

/// A wall clock for ages and deadlines: if the system's clock is set forward, it does not jump but
/// runs a tenth faster until it has caught up. Otherwise a step of ten minutes would end every
/// window and every deadline at once. If the system's clock is set back, it follows at once, so
/// ages only get smaller.
#[derive(Clone, Copy, Debug)]
struct SteadyClock {
    wall: DateTime<Utc>,
    monotonic: Duration,
}

impl SteadyClock {
    /// Returns the time for a reading of the system's clock and of the monotonic one.
    fn read(&mut self, system: DateTime<Utc>, monotonic: Duration) -> DateTime<Utc> {
        let elapsed = monotonic.saturating_sub(self.monotonic);
        let expected = self.wall + TimeDelta::from_std(elapsed).unwrap_or_default();
        let behind = system - expected;
        let faster = TimeDelta::from_std(elapsed / FASTER).unwrap_or_default();
        self.wall =
            if behind > SLOWLY { system } else { system.min(expected + faster.min(behind.abs())) };
        self.monotonic = monotonic;
        self.wall
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
impl Clock {
    /// Starts a clock.
    pub(crate) fn start() -> Self {
        let steady = SteadyClock { wall: Utc::now(), monotonic: Duration::ZERO };
        Self { started: Instant::now(), steady: Box::leak(Box::new(Mutex::new(steady))) }
    }

    /// Reads the wall clock and the monotonic clock.
    pub(crate) fn now(&self) -> Now {
        let mut steady = lock(self.steady);
        let monotonic = self.monotonic();
        Now { wall: steady.read(Utc::now(), monotonic.0), monotonic }
    }

    /// Reads the monotonic clock only.
    pub(crate) fn monotonic(&self) -> Monotonic {
        Monotonic(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    #[test]
    fn a_clock_that_is_set_forward_is_caught_up_with_slowly() {
        let mut clock = SteadyClock { wall: at(0), monotonic: Duration::ZERO };
        // the system's clock, seconds that have gone by, the steady clock
        let table = [
            (10, 10, 10),
            // It is set forward by 600 s: a tenth of each elapsed time is caught up with.
            (620, 20, 21),
            (720, 120, 131),
            (6600, 6000, 6599),
            (6620, 6020, 6620),
            // It is set back by 600 s, and by little.
            (6030, 6030, 6030),
            (6039, 6040, 6039),
            // The machine was suspended for two hours.
            (13_250, 6050, 13_250),
        ];
        for (row, (system, monotonic, expected)) in table.into_iter().enumerate() {
            let read = clock.read(at(system), Duration::from_secs(monotonic));
            assert_eq!(read, at(expected), "row {row}");
        }
    }
}
