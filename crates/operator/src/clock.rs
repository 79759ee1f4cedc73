//! The clock of the operator: the only place, besides the loops of [`sampling`](crate::sampling),
//! where the time is read.

use chrono::Utc;
use llm_autoscaler_core::{Monotonic, Now};
use tokio::time::Instant;

/// A clock, started with the process; cheap to copy. All moments of one process are of one clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
impl Clock {
    /// Starts a clock.
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Reads the clock.
    pub fn now(&self) -> Now {
        Now { wall: Utc::now(), monotonic: self.monotonic() }
    }

    /// Reads the monotonic clock only.
    pub fn monotonic(&self) -> Monotonic {
        Monotonic(self.started.elapsed())
    }
}
