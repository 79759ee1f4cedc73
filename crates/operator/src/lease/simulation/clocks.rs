//! The clocks of one copy, which are wrong in a way of their own.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_core::Monotonic;

use crate::clock::{FastClock, Readings};

/// The clocks of one copy. The true time is in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    /// The rate of the monotonic clock, around 1.
    pub rate: f64,
    /// The rate of the wall clock, around 1.
    pub wall_rate: f64,
    /// The error of the wall clock, in microseconds.
    pub offset: i64,
    /// The true time for which the machine was suspended so far.
    pub suspended: u64,
    /// The true time since which the machine is suspended.
    pub suspended_since: Option<u64>,
    /// The fast clock of the process.
    pub fast: Option<FastClock>,
    /// The machine was suspended, and the process has not read its clocks since.
    pub is_unread: bool,
    /// The process knows the monotonic clock only, which is a fault.
    pub ignores_wall: bool,
    /// The fast clock only compares both clocks with those at the start, which is a fault.
    pub sums_up: bool,
    /// The wall clock and the monotonic one at the start of the process.
    pub started: (Duration, Monotonic),
}

impl Clocks {
    /// Starts a process, which has a fast clock of its own.
    pub(super) fn boot(&mut self, time: u64) {
        let (system, monotonic) = self.system(time);
        self.fast = Some(FastClock::start(system, monotonic));
        self.started = ((system - DateTime::UNIX_EPOCH).to_std().unwrap(), monotonic);
    }

    /// Reads the clocks of the process.
    pub(super) fn read(&mut self, time: u64) -> Readings {
        let readings = self.peek(time);
        let (system, monotonic) = self.system(time);
        self.fast.as_mut().unwrap().read(system, monotonic);
        self.is_unread = self.suspended_since.is_some();
        readings
    }

    /// Returns the readings that the process would have now.
    pub(super) fn peek(&self, time: u64) -> Readings {
        let (system, monotonic) = self.system(time);
        let mut readings = self.fast.unwrap().read(system, monotonic);
        if self.sums_up {
            let wall = system - DateTime::UNIX_EPOCH;
            let wall = wall.to_std().unwrap().saturating_sub(self.started.0);
            readings.fast = wall.max(monotonic.0.saturating_sub(self.started.1.0));
        }
        readings
    }

    /// Reads both clocks of the machine.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test")]
    #[expect(clippy::cast_sign_loss, reason = "a test")]
    fn system(&self, time: u64) -> (DateTime<Utc>, Monotonic) {
        let running = self.suspended_since.unwrap_or(time) - self.suspended;
        let monotonic = Duration::from_micros((running as f64 * self.rate) as u64);
        let wall = (time as f64 * self.wall_rate) as i64 + self.offset;
        let epoch = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let wall = if self.ignores_wall { 0 } else { wall };
        (epoch + TimeDelta::microseconds(wall), Monotonic(monotonic))
    }

    /// Returns the true time that a wait by the monotonic clock takes.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a test")]
    #[expect(clippy::cast_sign_loss, reason = "a test")]
    pub(super) fn wait(&self, wait: Duration) -> u64 {
        (wait.as_micros() as f64 / self.rate).ceil() as u64 + 1
    }
}
