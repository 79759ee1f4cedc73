//! Takes down what happens, with the time of each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::evidence::{CopyLook, Disturbed, Load, Look, Second};

/// The record of a run.
pub(crate) struct Recorder {
    began: Instant,
    began_at: DateTime<Utc>,
    record: Mutex<Record>,
}

/// What the test itself has done and seen.
#[derive(Default)]
pub(crate) struct Record {
    pub disturbed: Vec<Disturbed>,
    pub loads: Vec<Load>,
    pub looks: Vec<Look>,
    pub copies: Vec<CopyLook>,
}

impl Recorder {
    /// Begins a record.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), began_at: Utc::now(), record: Mutex::default() }
    }

    /// Returns the time at which it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Returns the seconds since it began.
    pub(crate) fn now(&self) -> Second {
        self.second(Utc::now())
    }

    /// Returns a time as seconds since it began.
    pub(crate) fn second(&self, at: DateTime<Utc>) -> Second {
        (at - self.began_at).as_seconds_f64()
    }

    /// Gives access to the record.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the record.
    pub(crate) fn into_record(self) -> Record {
        self.record.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
