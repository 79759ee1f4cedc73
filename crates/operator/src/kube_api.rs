//! Calls to the API server: how long each may take, how its errors read, under which field manager
//! it writes, and in which scope it reads. Each of these is here once, so that every module of the
//! operator does it alike.

use std::time::Duration;

use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, PatchParams},
    core::NamespaceResourceScope,
};
use llm_autoscaler_core::Monotonic;

/// The time that the API server has for a call, unless the caller says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A call to the API server that failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server refused the call, or could not be reached.
    #[error("{}", error_text(.0))]
    Api(#[from] kube::Error),
    /// The API server did not answer within this time. A write may have been carried out all the
    /// same.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

impl CallError {
    /// The HTTP status of the answer; `None` where there was no answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            Self::Api(_) | Self::Timeout(_) => None,
        }
    }

    /// True for a write that may have been carried out although it failed: there was no answer, or
    /// a server error.
    pub fn is_ambiguous(&self) -> bool {
        self.status().is_none_or(|status| status >= 500)
    }
}

/// Runs a call for at most `deadline`.
///
/// # Errors
/// See [`CallError`].
pub async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::Timeout(deadline)),
    }
}

/// Returns the API server's own sentence where it sent one: `statefulsets.apps "qwen3" not found`.
pub fn error_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// The parameters of a patch by one of the operator's field managers.
pub fn patch_as(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// The parameters of a server-side apply by one of the operator's field managers. It takes fields
/// over that others have set.
pub fn apply_as(manager: &str) -> PatchParams {
    PatchParams::apply(manager).force()
}

/// The API of a kind that is known at compile time, in one namespace or in all of them.
pub fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The API of a kind that is named at run time, in one namespace or in all of them.
pub fn scoped_dynamic(
    client: &Client,
    namespace: Option<&str>,
    kind: &ApiResource,
) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    }
}

/// The permission for one write: it may be carried out until a moment.
///
/// Today one operator serves a cluster, and its permits do not end. Every write takes one all the
/// same, so that a holder that can lose its right to write cannot write without noticing.
#[derive(Clone, Copy, Debug)]
pub struct WritePermit {
    until: Option<Monotonic>,
}

impl WritePermit {
    /// A permit that does not end.
    pub fn unlimited() -> Self {
        Self { until: None }
    }

    /// Returns the time that a write may take from now on; `None` once the permit has ended.
    pub fn deadline(self, now: Monotonic) -> Option<Duration> {
        let Some(until) = self.until else { return Some(DEADLINE) };
        let left = until.since(now);
        (!left.is_zero()).then(|| left.min(DEADLINE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_takes_no_longer_than_its_permit_lasts() {
        let at = |second| Monotonic(Duration::from_secs(second));
        let permit = |until| WritePermit { until: Some(at(until)) };
        // the permit's end, the time, the deadline in seconds
        let table = [(100, 0, Some(10)), (100, 95, Some(5)), (100, 100, None), (100, 101, None)];
        for (until, now, expected) in table {
            let deadline = permit(until).deadline(at(now)).map(|deadline| deadline.as_secs());
            assert_eq!(deadline, expected, "until {until} at {now}");
        }
        assert_eq!(WritePermit::unlimited().deadline(at(1)), Some(DEADLINE));
    }
}
