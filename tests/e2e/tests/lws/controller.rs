//! The controller that all scenarios share, and that a scenario can stop and restart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use llm_autoscaler_testbed::{ControlPlane, LeaderWorkerSets};

/// LeaderWorkerSet's controller, while it runs. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Controller(Arc<Mutex<Option<LeaderWorkerSets>>>);

impl Controller {
    /// Starts the controller, and stops the previous one.
    pub(crate) async fn start(&self, control_plane: &ControlPlane) -> Result<()> {
        let started = LeaderWorkerSets::start(control_plane).await?;
        *self.lock() = Some(started);
        Ok(())
    }

    /// Kills the controller. Its webhook configurations stay.
    pub(crate) fn kill(&self) {
        *self.lock() = None;
    }

    /// Returns the end of its log, for error messages.
    pub(crate) fn log_tail(&self) -> String {
        let log =
            self.lock().as_ref().map_or_else(|| "it is gone".to_owned(), |it| it.log_tail(20));
        format!("LeaderWorkerSet's controller:\n{log}\n---")
    }

    fn lock(&self) -> MutexGuard<'_, Option<LeaderWorkerSets>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
