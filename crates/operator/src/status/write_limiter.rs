//! The lane for writes that only tell: status and events. A few at a time, so that when hundreds of targets are scaled at
//! once the sizes are written first.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many such writes are under way at once.
const WIDTH: usize = 4;

/// The lane; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lane(Arc<Semaphore>);

impl Default for Lane {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WIDTH)))
    }
}

impl Lane {
    /// Waits for a turn, which lasts until the answer is dropped.
    pub async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.0.clone().acquire_owned().await.ok()
    }
}
