//! A write to a pod, or to the RoleInstance of a pod, and its failure.

use kube::api::PatchParams;
use llm_autoscaler_api::managers;

use crate::{
    clock::Clock,
    kube_api::{CallError, DEADLINE, WritePermit, patch_as, within},
    supervise::Panic,
};

/// A write to a pod that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The API server has refused it for lack of permission.
    pub is_forbidden: bool,
    /// The error, as a text for the log and the status.
    pub text: String,
}

impl Failure {
    fn new(error: &CallError) -> Self {
        Self { is_forbidden: error.status() == Some(403), text: error.to_string() }
    }

    /// Returns the failure of a write that panicked.
    pub(super) fn internal(panic: &Panic) -> Self {
        Self { is_forbidden: false, text: panic.to_string() }
    }
}

/// The permission to write to pods, and the clock that tells whether it has ended; cheap to clone.
#[derive(Clone)]
pub(super) struct PodWriter {
    pub(super) permit: WritePermit,
    pub(super) clock: Clock,
}

impl PodWriter {
    /// Writes. An object that is gone, or another one by now, needs no write.
    ///
    /// # Errors
    /// The permit has ended, or the API server refused the write or did not answer.
    pub(super) async fn write<T>(
        &self,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<(), Failure> {
        let Some(deadline) = self.permit.deadline(self.clock.monotonic()) else {
            let text = "this copy of the operator may not write any more".to_owned();
            return Err(Failure { is_forbidden: false, text });
        };
        match within(deadline, call).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(()),
            Err(error) => Err(Failure::new(&error)),
        }
    }
}

/// The parameters of a patch of a pod.
pub(super) fn params() -> PatchParams {
    patch_as(managers::PODS)
}

/// Reads something that a write depends on.
pub(super) async fn read<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    within(DEADLINE, call).await.map_err(|error| Failure::new(&error))
}
