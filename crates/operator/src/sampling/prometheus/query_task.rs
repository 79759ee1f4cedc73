//! The task that queries one server, as long as it has subscribers.

use std::sync::OnceLock;

use tokio::{sync::Notify, task::AbortHandle};

/// The task that queries one server.
#[derive(Default)]
pub(crate) struct QueryTask {
    /// Notified when a subscription changes.
    pub(super) changed: Notify,
    handle: OnceLock<AbortHandle>,
}

impl QueryTask {
    /// Begins the task, unless it has begun.
    pub(super) fn begin(&self, spawn: impl FnOnce() -> AbortHandle) {
        self.handle.get_or_init(spawn);
    }

    /// Ends the task.
    pub(super) fn end(&self) {
        if let Some(handle) = self.handle.get() {
            handle.abort();
        }
    }
}
