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
    fast: &'static Mutex<FastClock>,
}

/// A reading of the clocks that tell for how long a permission lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readings {
    /// The system's wall clock, as it is set.
    pub system: DateTime<Utc>,
    /// The monotonic clock.
    pub monotonic: Monotonic,
    /// The fast clock.
    pub fast: Duration,
}

impl Readings {
    /// Returns the time since an earlier reading, by the fast clock.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.fast.saturating_sub(earlier.fast)
    }
}

/// A clock that advances by each step of the faster one of the system's two clocks, and never goes
/// back. The monotonic clock stands still while a machine is suspended, and the wall clock does
/// not. A wall clock that is set forward makes this one fast, and one that is set back afterwards
/// does not make good for it. Only if it is set back while the machine is suspended, and by as
/// much, the time in between remains unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastClock(Readings);

impl FastClock {
    /// Starts at zero.
    pub(crate) fn start(system: DateTime<Utc>, monotonic: Monotonic) -> Self {
        Self(Readings { system, monotonic, fast: Duration::ZERO })
    }

    /// Returns the readings for those of the system's clocks.
    pub(crate) fn read(&mut self, system: DateTime<Utc>, monotonic: Monotonic) -> Readings {
        let by_wall = (system - self.0.system).to_std().unwrap_or_default();
        let step = monotonic.since(self.0.monotonic).max(by_wall);
        self.0 = Readings { system, monotonic, fast: self.0.fast.saturating_add(step) };
        self.0
    }
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
        let (started, wall) = (Instant::now(), Utc::now());
        let steady = SteadyClock { wall, monotonic: Duration::ZERO };
        let fast = FastClock::start(wall, Monotonic(Duration::ZERO));
        let steady = Box::leak(Box::new(Mutex::new(steady)));
        Self { started, steady, fast: Box::leak(Box::new(Mutex::new(fast))) }
    }

    /// Reads the wall clock and the monotonic clock.
    pub(crate) fn now(&self) -> Now {
        let mut steady = lock(self.steady);
        let monotonic = self.monotonic();
        Now { wall: steady.read(Utc::now(), monotonic.0), monotonic }
    }

    /// Reads the clocks that tell for how long a permission lasts.
    pub(crate) fn readings(&self) -> Readings {
        let mut fast = lock(self.fast);
        fast.read(Utc::now(), self.monotonic())
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

    #[test]
    fn the_fast_clock_advances_by_the_faster_one_and_never_goes_back() {
        let second = |second| Monotonic(Duration::from_secs(second));
        let mut clock = FastClock::start(at(0), second(0));
        // the system's clock, the monotonic one, the fast clock
        let table = [
            (10, 10, 10),
            // The machine was suspended for 20 s.
            (31, 11, 31),
            // The clock is set back, and forward again by 5 s.
            (12, 12, 32),
            (17, 12, 37),
            (18, 13, 38),
        ];
        for (row, (system, monotonic, expected)) in table.into_iter().enumerate() {
            let read = clock.read(at(system), second(monotonic));
            assert_eq!(read.fast.as_secs(), expected, "row {row}");
        }
    }
}
