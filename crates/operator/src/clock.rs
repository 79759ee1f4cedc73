//! The operator's clock. Besides the loops of [`sampling`](crate::sampling), it is the only code
//! that reads the time.

use chrono::Utc;
use llm_autoscaler_core::{Monotonic, Now};
use tokio::time::Instant;

/// A clock that starts with the process. Cheap to copy. Only moments of the same clock can be
/// compared, so a process has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
impl Clock {
    /// Starts a clock.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Reads the wall clock and the monotonic clock.
    pub(crate) fn now(&self) -> Now {
        Now { wall: Utc::now(), monotonic: self.monotonic() }
    }

    /// Reads the monotonic clock only.
    pub(crate) fn monotonic(&self) -> Monotonic {
        Monotonic(self.started.elapsed())
    }
}
