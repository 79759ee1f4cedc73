//! The client of scale targets: finds the API of a kind, and limits the time of each call.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, PatchParams},
    discovery::{self, ApiCapabilities},
};
use llm_autoscaler_api::{ScaleTargetRef, managers};
use llm_autoscaler_core::Monotonic;
use tracing::{debug, warn};

use crate::{
    clock::Clock,
    cluster::watched_versions::{ObjectState, WatchedVersions},
    kube_api::{CallError, DEADLINE, patch_as, reads::Reads, within, writes::Writes},
    lock::lock,
    scale::{
        error::TargetError,
        kinds,
        view::{ScaleLocation, ScaleView},
    },
};

/// The age at which an answer of discovery is asked for again: a CRD may be installed meanwhile.
const MAX_AGE: Duration = Duration::from_mins(1);
/// The time after which a refusal is logged again.
const LOGGED_EVERY: Duration = Duration::from_mins(10);

/// Reads and writes the scales of targets.
pub(crate) struct ScaleClient {
    client: Client,
    versions: WatchedVersions,
    clock: Clock,
    pub(super) writes: Writes,
    pub(super) reads: Reads,
    kinds: Mutex<DiscoveredKinds>,
    /// The refusals that were logged, with the time of each.
    logged: Mutex<HashMap<String, Monotonic>>,
}

/// The discovered kinds, by `apiVersion` and `kind`.
type DiscoveredKinds = HashMap<(String, String), DiscoveredKind>;

struct DiscoveredKind {
    at: Monotonic,
    resource: ApiResource,
}

impl ScaleClient {
    /// Creates a client that has discovered no kind yet.
    pub(crate) fn new(
        client: Client,
        versions: WatchedVersions,
        clock: Clock,
        (reads, writes): (Reads, Writes),
    ) -> Self {
        let (kinds, logged) = (Mutex::default(), Mutex::default());
        Self { client, versions, clock, writes, reads, kinds, logged }
    }

    /// Has the kind of a target watched that may be read soon, where its versions can be. The role
    /// of a group is made known by its first read.
    ///
    /// # Errors
    /// The kind does not exist, or cannot be scaled.
    pub(crate) async fn prepare(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<(), TargetError> {
        if !kinds::is_group_role(target) {
            let resource = self.resource(namespace, target).await?;
            self.versions.want(&resource);
        }
        Ok(())
    }

    /// Has the kind of the object watched that a target's size is written to, so that
    /// [`is_current`](Self::is_current) can be answered.
    pub(crate) fn want_versions(&self, target: &ScaleTargetRef, location: &ScaleLocation) {
        if let Some(resource) = self.watched(target, location) {
            self.versions.want(&resource);
        }
    }

    /// Returns whether the object that a target's size is written to is known to be as it was
    /// read, at this version. Where that is not known it has to be read again.
    ///
    /// The scale of an adapter's role is made of two objects, and always read.
    pub(crate) fn is_current(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        location: &ScaleLocation,
        resource_version: Option<&str>,
    ) -> bool {
        let name = &*target.name;
        let Some(resource_version) = resource_version else { return false };
        self.watched(target, location).is_some_and(|resource| {
            let object = ObjectState { namespace, name, resource_version };
            self.versions.is_current(&resource, object)
        })
    }

    /// Returns whether the object that a target's size is written to is known to be as it was
    /// read, and to have metadata of which nothing needs to be read.
    pub(crate) async fn is_plain(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
        view: &ScaleView,
    ) -> bool {
        let (Some(resource_version), Some(resource)) =
            (view.resource_version.as_deref(), self.watched(target, &view.location))
        else {
            return false;
        };
        let object = ObjectState { namespace, name: &target.name, resource_version };
        self.versions.is_plain(&resource, object).await
    }

    /// Returns the kind of the object that a target's size is written to, where its versions can be
    /// watched.
    fn watched(&self, target: &ScaleTargetRef, location: &ScaleLocation) -> Option<ApiResource> {
        if matches!(location, ScaleLocation::Adapter(_)) {
            return None;
        }
        let key = (target.api_version.clone(), target.kind.clone());
        self.kinds().get(&key).map(|known| known.resource.clone())
    }

    /// Logs that the operator may not read a target's object, every ten minutes at most. Scaling
    /// goes on, with less known about the target.
    pub(crate) fn log_refusal(&self, namespace: &str, target: &str, error: &TargetError) {
        let (text, now) = (error.to_string(), self.clock.monotonic());
        if !error.is_forbidden() {
            debug!(namespace, target, error = text, "cannot read the target's object");
            return;
        }
        if record_refusal(&mut lock(&self.logged), &text, now) {
            warn!(
                namespace,
                target,
                error = text,
                "the operator may not read the target's object, so its owner, the writer of its \
                 size and its rollouts are not known"
            );
        }
    }

    /// Returns the API of a target's kind.
    ///
    /// # Errors
    /// The kind does not exist, or cannot be scaled.
    pub(super) async fn api(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Api<DynamicObject>, TargetError> {
        let resource = self.resource(namespace, target).await?;
        Ok(Api::namespaced_with(self.client.clone(), namespace, &resource))
    }

    async fn resource(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<ApiResource, TargetError> {
        let key = (target.api_version.clone(), target.kind.clone());
        let known = || {
            let kinds = self.kinds();
            let known = kinds.get(&key)?;
            let is_fresh = self.clock.monotonic().since(known.at) < MAX_AGE;
            is_fresh.then(|| known.resource.clone())
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let _turn = self.reads.enter(namespace).await;
        // Of thousands that ask when the operator starts, few do so before one has the answer.
        if let Some(known) = known() {
            return Ok(known);
        }
        let resource = self.discover_without_loss(target).await?;
        let found = DiscoveredKind { at: self.clock.monotonic(), resource: resource.clone() };
        self.kinds().insert(key, found);
        Ok(resource)
    }

    /// Discovers the version of a kind by which it loses no fields. A cluster may serve an older
    /// one only.
    async fn discover_without_loss(
        &self,
        target: &ScaleTargetRef,
    ) -> Result<ApiResource, TargetError> {
        if let Some(newest) = kinds::without_loss(target) {
            match self.discover(&newest).await {
                Err(TargetError::NoSuchKind { .. }) => {}
                found => return found,
            }
        }
        self.discover(target).await
    }

    async fn discover(&self, target: &ScaleTargetRef) -> Result<ApiResource, TargetError> {
        let ScaleTargetRef { api_version, kind, .. } = target.clone();
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        if version.is_empty() || version.contains('/') {
            return Err(TargetError::BadApiVersion(api_version));
        }
        let gvk = GroupVersionKind::gvk(group, version, &kind);
        let found = within_deadline(discovery::pinned_kind(&self.client, &gvk)).await;
        let (resource, capabilities) = match found {
            Err(TargetError::Call(CallError::Api(error))) if is_unknown_kind(&error) => {
                return Err(TargetError::NoSuchKind { api_version, kind });
            }
            result => result?,
        };
        if capabilities.scope != discovery::Scope::Namespaced {
            return Err(TargetError::NotNamespaced { api_version, kind });
        }
        if !has_scale_subresource(&capabilities) && !kinds::scales_without_subresource(target) {
            return Err(TargetError::NotScalable { api_version, kind });
        }
        Ok(resource)
    }

    fn kinds(&self) -> MutexGuard<'_, DiscoveredKinds> {
        lock(&self.kinds)
    }
}

/// Records a refusal. Returns whether it is to be logged: not again for a while.
fn record_refusal(logged: &mut HashMap<String, Monotonic>, text: &str, now: Monotonic) -> bool {
    logged.retain(|_, at| now.since(*at) < LOGGED_EVERY);
    let is_new = !logged.contains_key(text);
    if is_new {
        logged.insert(text.to_owned(), now);
    }
    is_new
}

fn has_scale_subresource(capabilities: &ApiCapabilities) -> bool {
    capabilities.subresources.iter().any(|(subresource, _)| subresource.plural == "scale")
}

fn is_unknown_kind(error: &kube::Error) -> bool {
    match error {
        kube::Error::Discovery(_) => true,
        kube::Error::Api(status) => status.code == 404,
        _ => false,
    }
}

/// Returns the parameters of a patch by the field manager of scales.
pub(super) fn patch_params() -> PatchParams {
    patch_as(managers::SCALE)
}

/// Runs a read for at most the usual deadline.
///
/// # Errors
/// [`TargetError::Call`].
pub(super) async fn within_deadline<T>(
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, TargetError> {
    Ok(within(DEADLINE, call).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_logged_every_ten_minutes() {
        let mut logged = HashMap::new();
        // minute, refusal; logged
        let table = [(0, "a", true), (1, "b", true), (9, "a", false), (10, "a", true)];
        for (minute, text, expected) in table {
            let now = Monotonic(Duration::from_mins(minute));
            assert_eq!(record_refusal(&mut logged, text, now), expected, "{minute} {text}");
        }
        record_refusal(&mut logged, "c", Monotonic(Duration::from_hours(1)));
        assert_eq!(logged.len(), 1, "old ones are forgotten");
    }
}
