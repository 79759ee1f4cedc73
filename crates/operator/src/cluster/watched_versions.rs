//! The versions of targets and PodMonitors, by a watch of the metadata of each kind.
//!
//! An object that is as it was read needs no request. Of an object nothing is kept but a hash of
//! its version under a hash of its name, and whether its metadata is *plain*, so that nothing of it
//! has to be read: some tens of bytes, whatever its metadata has. What is not known, or not known
//! for sure, is read, as if there were no watch.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, PartialObjectMeta},
    runtime::watcher::Event,
};
use llm_autoscaler_core::Monotonic;
use tracing::{debug, info};

use crate::{
    clock::Clock,
    cluster::{
        watch::{NAME, Watch},
        watch_health::WatchHealth,
    },
    kube_api::{
        CallError, DEADLINE,
        pages::{Pages, Part},
    },
    lock::lock,
    supervise::{Panic, Supervisor},
};

/// The largest number of kinds that are watched. The targets of others are read.
const MOST_KINDS: usize = 32;
/// The time after which a watch ends that nothing wants.
const UNWANTED_FOR: Duration = Duration::from_mins(10);
/// The time between two looks whether a watch is wanted.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// The longest time without a page of the first listing of a kind, for which a question waits for
/// the end of that listing. Thousands ask when the operator starts, and each that gives up is a
/// request of its own, while the listing is a few.
const FIRST_WITHIN: Duration = Duration::from_secs(15);
/// The time after which the permission to watch is tried again.
const REFUSED_FOR: Duration = Duration::from_mins(10);

/// An object as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectState<'a> {
    /// The object's namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// The version that was read.
    pub resource_version: &'a str,
}

/// The versions of the objects of all watched kinds. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WatchedVersions {
    client: Client,
    /// The only namespace that the operator serves; all if absent.
    namespace: Option<String>,
    clock: Clock,
    supervisor: Supervisor,
    is_plain: IsPlain,
    kinds: Arc<Mutex<HashMap<KindKey, Arc<Kind>>>>,
}

/// Returns whether nothing of an object's metadata has to be read.
pub(crate) type IsPlain = fn(&ObjectMeta) -> bool;

/// A kind by its `apiVersion` and plural.
type KindKey = (String, String);

/// One kind that is watched.
struct Kind {
    health: WatchHealth,
    clock: Clock,
    /// The time at which it was last wanted.
    wanted: Mutex<Monotonic>,
    versions: Mutex<Versions>,
}

impl WatchedVersions {
    /// Creates the versions of no kind. `client` does not try again by itself.
    pub(crate) fn new(
        (client, is_plain): (Client, IsPlain),
        namespace: Option<String>,
        clock: Clock,
        supervisor: Supervisor,
    ) -> Self {
        Self { client, namespace, clock, supervisor, is_plain, kinds: Arc::default() }
    }

    /// Has the objects of a kind watched from now on, until nothing wants it for ten minutes.
    pub(crate) fn want(&self, resource: &ApiResource) {
        let key = key(resource);
        let mut kinds = lock(&self.kinds);
        if let Some(kind) = kinds.get(&key) {
            *lock(&kind.wanted) = self.clock.monotonic();
        } else if kinds.len() < MOST_KINDS {
            let kind = Arc::new(Kind::new(self.clock));
            kinds.insert(key.clone(), kind.clone());
            let (versions, resource) = (self.clone(), resource.clone());
            self.supervisor.spawn(NAME, async move {
                let start = || versions.watch(&kind, &resource);
                versions.supervisor.repeat(NAME, start, |panic| kind.forget(panic)).await;
                lock(&versions.kinds).remove(&key);
            });
        }
    }

    /// Returns whether an object is known to be as it was read. That is known of kinds that are
    /// [wanted](Self::want).
    pub(crate) fn is_current(&self, resource: &ApiResource, object: ObjectState<'_>) -> bool {
        let kind = lock(&self.kinds).get(&key(resource)).cloned();
        kind.is_some_and(|kind| kind.is_current(object))
    }

    /// Returns whether an object is known to be as it was read, with plain metadata. Waits for
    /// the first listing of its kind while its pages come, if that is [wanted](Self::want).
    pub(crate) async fn is_plain(&self, resource: &ApiResource, object: ObjectState<'_>) -> bool {
        let Some(kind) = lock(&self.kinds).get(&key(resource)).cloned() else { return false };
        kind.health.begun(FIRST_WITHIN).await;
        kind.health.is_working() && lock(&kind.versions).has_plain(object)
    }

    /// Watches one kind for as long as it is wanted.
    async fn watch(&self, kind: &Arc<Kind>, resource: &ApiResource) {
        let api: Api<PartialObjectMeta<DynamicObject>> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        };
        while !kind.is_unwanted() {
            if let Err(error) = try_list(&api).await {
                report_refusal(resource, &error);
                kind.health.record_failure(error.to_string());
                tokio::time::sleep(REFUSED_FOR).await;
                continue;
            }
            let health = kind.health.clone();
            let watch = Watch::new(api.clone(), health, self.clock, self.supervisor.clone());
            let followed = watch.of_metadata().follow(|event| kind.take(event, self.is_plain));
            tokio::select! {
                () = followed => {}
                () = kind.unwanted() => {}
            }
        }
    }
}

fn key(resource: &ApiResource) -> KindKey {
    (resource.api_version.clone(), resource.plural.clone())
}

/// Asks for one object, to learn whether the operator may.
async fn try_list(api: &Api<PartialObjectMeta<DynamicObject>>) -> Result<(), CallError> {
    Pages::of_part(api.clone(), Part::Metadata, DEADLINE).limited(1).next().await.map(drop)
}

fn report_refusal(resource: &ApiResource, error: &CallError) {
    let kind = &*resource.kind;
    if error.status() == Some(403) {
        info!(
            kind, %error,
            "objects of this kind cannot be watched, so the scales of targets are read in each \
             period: allow the operator to list and watch them to have fewer requests"
        );
    } else {
        debug!(kind, %error, "objects of this kind cannot be listed");
    }
}

impl Kind {
    fn new(clock: Clock) -> Self {
        Self {
            health: WatchHealth::new("targets", clock),
            clock,
            wanted: Mutex::new(clock.monotonic()),
            versions: Mutex::default(),
        }
    }

    fn is_current(&self, object: ObjectState<'_>) -> bool {
        self.health.is_working() && lock(&self.versions).has(object)
    }

    fn is_unwanted(&self) -> bool {
        self.clock.monotonic().since(*lock(&self.wanted)) >= UNWANTED_FOR
    }

    /// Returns once nothing has wanted it for a while.
    async fn unwanted(&self) {
        while !self.is_unwanted() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Forgets everything, after a panic.
    fn forget(&self, panic: &Panic) {
        lock(&self.versions).begin();
        self.health.record_failure(panic.to_string());
    }

    fn take(&self, event: Event<PartialObjectMeta<DynamicObject>>, is_plain: IsPlain) {
        let mut versions = lock(&self.versions);
        match event {
            Event::Init => versions.begin(),
            Event::InitApply(object) | Event::Apply(object) => {
                let namespace = object.namespace().unwrap_or_default();
                let resource_version = object.resource_version().unwrap_or_default();
                let state = ObjectState {
                    namespace: &namespace,
                    name: &object.name_any(),
                    resource_version: &resource_version,
                };
                versions.set(state, is_plain(&object.metadata));
            }
            Event::Delete(object) => {
                versions.remove(&object.namespace().unwrap_or_default(), &object.name_any());
            }
            Event::InitDone => {}
        }
    }
}

/// The hashes of versions by the hashes of names; the lowest bit of a version's hash says whether
/// the metadata is plain instead. The keys of the hashes are drawn at random, so
/// that no two names or versions can be chosen that have the same.
#[derive(Default)]
struct Versions {
    hasher: RandomState,
    known: HashMap<u64, u64>,
}

impl Versions {
    /// Forgets all objects: a listing begins.
    fn begin(&mut self) {
        self.known = HashMap::new();
    }

    fn set(&mut self, object: ObjectState<'_>, is_plain: bool) {
        let key = self.key(object.namespace, object.name);
        self.known.insert(key, self.version(object) | u64::from(is_plain));
    }

    fn remove(&mut self, namespace: &str, name: &str) {
        let key = self.key(namespace, name);
        self.known.remove(&key);
    }

    fn has(&self, object: ObjectState<'_>) -> bool {
        let known = self.known.get(&self.key(object.namespace, object.name));
        known.is_some_and(|known| known & !1 == self.version(object))
    }

    fn has_plain(&self, object: ObjectState<'_>) -> bool {
        let known = self.known.get(&self.key(object.namespace, object.name));
        known == Some(&(self.version(object) | 1))
    }

    /// Returns the hash of an object's version, with an even number.
    fn version(&self, object: ObjectState<'_>) -> u64 {
        self.hasher.hash_one(object.resource_version) & !1
    }

    fn key(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }
}

#[cfg(test)]
mod tests;
