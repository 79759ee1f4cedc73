//! A write to a pod, or to the RoleInstance of a pod, and its failure.

use kube::api::PatchParams;
use llm_autoscaler_api::managers;

use crate::{
    kube_api::{CallError, DEADLINE, patch_as, within, writes::Writes},
    lease::Leases,
    supervise::Panic,
    telemetry::WriteKind,
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

    /// Returns the failure of a write to an object that something else changes all the time.
    pub(super) fn outdated() -> Self {
        let text = "it was changed by something else while it was written".to_owned();
        Self { is_forbidden: false, text }
    }

    /// Returns the failure of a write that panicked.
    pub(super) fn internal(panic: &Panic) -> Self {
        Self { is_forbidden: false, text: panic.to_string() }
    }
}

/// Writes to pods with the permit of their namespace; cheap to clone.
#[derive(Clone)]
pub(super) struct PodWriter {
    pub(super) writes: Writes,
    pub(super) leases: Leases,
}

/// The result of a write that was carried out, or that nothing is left of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The API server has taken it, or the object is gone.
    Done,
    /// The object was changed since the version that the write names, or another one has its name.
    Outdated,
}

impl PodWriter {
    /// Writes to an object of a namespace. One that is gone needs no write.
    ///
    /// # Errors
    /// The permit has ended, or the API server refused the write or did not answer.
    pub(super) async fn write<T>(
        &self,
        kind: WriteKind,
        namespace: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<Written, Failure> {
        match self.writes.send(kind, &self.leases.permit(namespace), call).await {
            Ok(_) => Ok(Written::Done),
            Err(error) if error.status() == Some(404) => Ok(Written::Done),
            Err(error) if error.is_conflict() => Ok(Written::Outdated),
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
