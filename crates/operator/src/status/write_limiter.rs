//! The limit for writes that only report: status and events. Few of them are in flight at once, so
//! that the sizes are written first when hundreds of targets are scaled at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of such writes that may be in flight at once.
const IN_FLIGHT: usize = 4;

/// Limits the writes that only report. Clones share one limit.
#[derive(Clone, Debug)]
pub(crate) struct WriteLimiter(Arc<Semaphore>);

impl Default for WriteLimiter {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(IN_FLIGHT)))
    }
}

impl WriteLimiter {
    /// Waits until a write may begin. The write counts as in flight until the permit is dropped.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.0.clone().acquire_owned().await.ok()
    }
}
