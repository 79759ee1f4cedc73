//! The controller that all scenarios share, and that a scenario can stop and restart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use llm_autoscaler_testbed::{ControlPlane, LeaderWorkerSets, LwsVersion};

/// Returns the version that `LWS_VERSION` chooses.
pub(crate) fn version() -> Result<LwsVersion> {
    std::env::var("LWS_VERSION").map_or(Ok(LwsVersion::V0_8), |name| LwsVersion::parse(&name))
}

/// LeaderWorkerSet's controller, while it runs. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Controller {
    version: LwsVersion,
    running: Arc<Mutex<Option<LeaderWorkerSets>>>,
}

impl Controller {
    /// Returns a controller of this version that does not run yet.
    pub(crate) fn new(version: LwsVersion) -> Self {
        Self { version, running: Arc::default() }
    }

    /// Starts the controller, and stops the previous one.
    pub(crate) async fn start(&self, control_plane: &ControlPlane) -> Result<()> {
        let started = LeaderWorkerSets::start(control_plane, self.version).await?;
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
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
