//! A change of a target's size by another writer, as a value.

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{ManualChangeStatus, time};

/// A change of size by another writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SizeChange {
    /// The size before.
    pub from: i32,
    /// The size that was set.
    pub to: i32,
    /// The field manager of the writer; `None` where it is not known.
    pub by: Option<String>,
    /// The time of the change.
    pub at: DateTime<Utc>,
}

impl SizeChange {
    /// Returns a change that the status has kept.
    pub(crate) fn restored(status: &ManualChangeStatus) -> Self {
        let ManualChangeStatus { from, to, by, time } = status.clone();
        Self { from, to, by, at: time::from_kubernetes(&time) }
    }

    /// Returns the change as the status keeps it.
    pub(crate) fn status(&self) -> ManualChangeStatus {
        let Self { from, to, by, at } = self.clone();
        ManualChangeStatus { from, to, by, time: time::to_kubernetes(at) }
    }

    /// Returns the writer, as the subject of a sentence.
    pub(crate) fn author(&self) -> &str {
        self.by.as_deref().unwrap_or("another writer")
    }
}
