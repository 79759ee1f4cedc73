//! The pods of the cluster: one watch for all, and views that hold the pods of one selector.
//!
//! Kept are the pods of namespaces that are followed, and those with the operator's readiness gate.
//! A pod of any other namespace costs nothing, whatever its labels are.

mod departures;
mod kept_pod;
mod namespace;
mod view;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use chrono::{DateTime, Utc};
use kube::{ResourceExt, core::Selector, runtime::watcher::Event};
use llm_autoscaler_observe::{
    billing::DepartedPod,
    pod::{Members, Pod},
};
use tokio::sync::Notify;

use self::namespace::{Listing, Namespace};
use crate::{
    backoff::Backoff,
    clock::Clock,
    cluster::{watch::Watch, watch_health::WatchHealth, watched_pod::WatchedPod},
    kube_api::CallError,
    latest,
    lock::lock,
};

/// The waits before the pods of a namespace are listed again.
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// The time between two looks at whether the pods of a namespace are known.
const POLL: Duration = Duration::from_millis(50);

/// The pods that are kept, and the views of them; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PodStore(Arc<Store>);

#[derive(Debug)]
struct Store {
    state: Mutex<State>,
    clock: Clock,
    health: WatchHealth,
    /// Notified when a namespace has to be listed.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    namespaces: HashMap<String, Namespace>,
    next_id: u64,
    /// True while the watch follows changes, and false while it lists the cluster.
    is_following: bool,
}

/// A namespace of which the pods are kept; until dropped.
#[derive(Debug)]
pub(crate) struct Following {
    store: PodStore,
    namespace: String,
}

/// A live view of the pods of one selector; it ends when dropped.
#[derive(Debug)]
pub(crate) struct PodView {
    following: Following,
    id: u64,
    members: latest::Receiver<Members>,
}

/// A listing of the pods of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamespaceListing {
    /// The namespace.
    pub(super) namespace: String,
    id: u64,
}

impl PodView {
    /// Returns the pods as they are now. [`changed`](Self::changed) waits for later changes only.
    pub(crate) fn members(&mut self) -> Members {
        self.members.get_and_update()
    }

    /// Returns the pods as they are now. [`changed`](Self::changed) still returns for changes that
    /// this call has shown.
    pub(crate) fn latest(&self) -> Members {
        self.members.get()
    }

    /// Returns the pods that have gone after a time, as far as they are kept: for five minutes.
    pub(crate) fn departed(&self, after: DateTime<Utc>) -> Vec<DepartedPod> {
        let Following { store, namespace } = &self.following;
        let state = store.lock();
        let namespace = state.namespaces.get(namespace);
        namespace.map(|namespace| namespace.departed_of(self.id, after)).unwrap_or_default()
    }

    /// Returns a pod that the view lacks because it is too large to be kept, and the limits.
    pub(crate) fn held_out(&self) -> Option<(String, &'static str)> {
        let Following { store, namespace } = &self.following;
        store.lock().namespaces.get(namespace)?.held_out_of(self.id)
    }

    /// Records whether the holder of the view writes the readiness gates of its pods, so that
    /// [`PodStore::unmanaged`] leaves them out.
    pub(crate) fn manage_gates(&self, manages: bool) {
        let Following { store, namespace } = &self.following;
        if let Some(namespace) = store.lock().namespaces.get_mut(namespace) {
            namespace.manage_gates(self.id, manages);
        }
    }

    /// Returns when a pod has come, gone or changed.
    pub(crate) async fn changed(&mut self) {
        if self.members.changed().await.is_err() {
            // The store lives as long as its views, so this happens only at the end of the process.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for PodView {
    fn drop(&mut self) {
        let Following { store, namespace } = &self.following;
        if let Some(namespace) = store.lock().namespaces.get_mut(namespace) {
            namespace.remove_view(self.id);
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut state = self.store.lock();
        let Some(namespace) = state.namespaces.get_mut(&self.namespace) else { return };
        namespace.followers -= 1;
        if namespace.followers == 0 {
            namespace.end_following();
        }
        state.remove_if_empty(&self.namespace);
    }
}

impl PodStore {
    /// Creates an empty store, which waits for the first listing.
    pub(crate) fn new(clock: Clock) -> Self {
        let health = WatchHealth::new("pods", clock);
        Self(Arc::new(Store { state: Mutex::default(), clock, health, wanted: Notify::new() }))
    }

    /// Returns the health of the watch that feeds the store.
    pub(crate) fn health(&self) -> &WatchHealth {
        &self.0.health
    }

    /// Begins to keep the pods of a namespace. They are known once [`problem`](Self::problem)
    /// returns none.
    pub(crate) fn follow(&self, namespace: &str) -> Following {
        let mut state = self.lock();
        let id = state.next_id();
        state.entry(namespace).follow(id);
        drop(state);
        self.0.wanted.notify_one();
        Following { store: self.clone(), namespace: namespace.to_owned() }
    }

    /// Begins a view of the pods of `namespace` that `selector` selects.
    pub(crate) fn view(&self, namespace: &str, selector: Selector) -> PodView {
        self.add_view(self.follow(namespace), selector)
    }

    fn add_view(&self, following: Following, selector: Selector) -> PodView {
        let mut state = self.lock();
        let id = state.next_id();
        let members = state.entry(&following.namespace).add_view(id, selector);
        drop(state);
        // The namespace may have to be listed for the view, even if it was complete before.
        self.0.wanted.notify_one();
        PodView { following, id, members }
    }

    /// Returns why the views of a namespace cannot be relied on: its pods are not listed yet, or
    /// the watch has been failing for a while.
    pub(crate) fn problem(&self, namespace: &str) -> Option<String> {
        self.0.health.problem().or_else(|| {
            let state = self.lock();
            Some(match state.namespaces.get(namespace).map(|namespace| &namespace.listing) {
                Some(Listing::Complete) => return None,
                Some(Listing::Failed { error, .. }) => {
                    format!("the pods of the namespace {namespace} cannot be listed: {error}")
                }
                _ => format!("the list of pods of the namespace {namespace} is not there yet"),
            })
        })
    }

    /// Waits until [`problem`](Self::problem) has none for a namespace, for at most this time.
    pub(crate) async fn until_complete(&self, namespace: &str, at_most: Duration) {
        if self.problem(namespace).is_none() {
            return;
        }
        let complete = async {
            // Until then nothing is known of any namespace, and thousands may wait for it.
            self.0.health.listed().await;
            while self.problem(namespace).is_some() {
                tokio::time::sleep(POLL).await;
            }
        };
        let _ = tokio::time::timeout(at_most, complete).await;
    }

    /// Returns the pods with a readiness gate that is not open, and that no autoscaler writes.
    pub(crate) fn unmanaged(&self) -> Vec<Arc<Pod>> {
        let state = self.lock();
        state.namespaces.values().flat_map(Namespace::unmanaged).cloned().collect()
    }

    /// Adds a pod, or replaces it by a newer version. Returns whether it is kept.
    pub(crate) fn apply(&self, pod: Pod) -> bool {
        let now = self.0.clock.now().wall;
        let mut state = self.lock();
        (state.namespaces.contains_key(&pod.namespace) || pod.service.has_gate()) && {
            let namespace = pod.namespace.clone();
            let is_kept = state.entry(&namespace).apply(pod, now);
            state.remove_if_empty(&namespace);
            is_kept
        }
    }

    /// Records the version of a pod, if it is kept.
    pub(crate) fn record_version(&self, namespace: &str, name: &str, version: Option<String>) {
        let Some(version) = version else { return };
        if let Some(namespace) = self.lock().namespaces.get_mut(namespace) {
            namespace.record_version(name, &version);
        }
    }

    /// Returns the latest version of a pod; `None` if it is gone, or another one has its name.
    pub(crate) fn version(&self, pod: &Pod) -> Option<String> {
        self.lock().namespaces.get(&pod.namespace)?.version(&pod.name, &pod.uid).map(str::to_owned)
    }

    /// Removes a pod.
    pub(crate) fn delete(&self, namespace: &str, name: &str) {
        let now = self.0.clock.now().wall;
        let mut state = self.lock();
        if let Some(entry) = state.namespaces.get_mut(namespace) {
            entry.delete(name, now);
        }
        state.remove_if_empty(namespace);
    }

    /// A listing of the whole cluster begins, which has the pods of all namespaces that are
    /// followed now.
    pub(super) fn begin_listing(&self) {
        let mut state = self.lock();
        state.is_following = false;
        for namespace in state.namespaces.values_mut() {
            if namespace.followers > 0 && !namespace.is_complete() {
                namespace.listing = Listing::Covered;
            }
        }
    }

    /// The listing of the whole cluster has ended, with these pods.
    pub(super) fn end_listing(&self, listed: &Listed) {
        let now = self.0.clock.now().wall;
        let mut state = self.lock();
        state.is_following = true;
        for (name, namespace) in &mut state.namespaces {
            namespace.retain(|pod| listed.get(name).is_some_and(|pods| pods.contains(pod)), now);
            if matches!(namespace.listing, Listing::Covered) {
                namespace.listing = Listing::Complete;
            }
        }
        state.namespaces.retain(|_, namespace| !namespace.is_empty());
        drop(state);
        self.0.wanted.notify_one();
    }

    /// Waits until a namespace may have to be listed.
    pub(super) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Begins the listing of the namespace that has needed one for the longest time, so that none
    /// waits for those that need one again and again.
    pub(super) fn next_listing(&self) -> Option<NamespaceListing> {
        let mut state = self.lock();
        if !state.is_following {
            return None;
        }
        let id = state.next_id();
        let wanted = state.namespaces.iter_mut().filter(|(_, namespace)| {
            namespace.followers > 0 && matches!(namespace.listing, Listing::Wanted)
        });
        let (name, namespace) = wanted.min_by_key(|(_, namespace)| namespace.wanted_at)?;
        namespace.listing = Listing::Running { id, touched: HashSet::new() };
        Some(NamespaceListing { namespace: name.clone(), id })
    }

    /// Takes a pod of a listing. Returns false if that one is void: the watch has begun anew, or
    /// the namespace is not followed any more.
    pub(super) fn add_listed(&self, listing: &NamespaceListing, pod: Pod) -> bool {
        let now = self.0.clock.now().wall;
        let mut state = self.lock();
        let namespace = state.namespaces.get_mut(&listing.namespace);
        namespace.is_some_and(|namespace| namespace.add_listed(listing.id, pod, now))
    }

    /// Ends a listing that had all pods, if it is not void.
    pub(super) fn complete(&self, listing: &NamespaceListing) {
        if let Some(namespace) = self.lock().running(listing) {
            namespace.listing = Listing::Complete;
            namespace.backoff.reset();
        }
    }

    /// Ends a listing that has failed. Returns the wait before [`retry`](Self::retry).
    pub(super) fn fail(&self, listing: &NamespaceListing, error: &CallError) -> Option<Duration> {
        let mut state = self.lock();
        let namespace = state.running(listing)?;
        namespace.listing = Listing::Failed { id: listing.id, error: error.to_string() };
        Some(namespace.backoff.next_after(error.retry_after()))
    }

    /// Lets the namespace of a listing that has failed be listed again.
    pub(super) fn retry(&self, listing: &NamespaceListing) {
        let mut state = self.lock();
        let now = state.next_id();
        let Some(namespace) = state.namespaces.get_mut(&listing.namespace) else { return };
        if matches!(&namespace.listing, Listing::Failed { id, .. } if *id == listing.id) {
            namespace.want_listing(now);
        }
    }

    /// Makes all listings void, because the task that ran them has ended.
    pub(super) fn void_listings(&self) {
        for namespace in self.lock().namespaces.values_mut() {
            if matches!(namespace.listing, Listing::Running { .. } | Listing::Failed { .. }) {
                namespace.listing = Listing::Wanted;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

impl State {
    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn entry(&mut self, namespace: &str) -> &mut Namespace {
        let entry = self.namespaces.entry(namespace.to_owned());
        entry.or_insert_with(|| Namespace::new(WAITS))
    }

    /// Returns the namespace of a listing that is not void.
    fn running(&mut self, listing: &NamespaceListing) -> Option<&mut Namespace> {
        let namespace = self.namespaces.get_mut(&listing.namespace)?;
        let is_running =
            matches!(&namespace.listing, Listing::Running { id, .. } if *id == listing.id);
        is_running.then_some(namespace)
    }

    fn remove_if_empty(&mut self, name: &str) {
        if self.namespaces.get(name).is_some_and(Namespace::is_empty) {
            self.namespaces.remove(name);
        }
    }
}

/// The names of the pods of a listing that are kept, by their namespace.
pub(super) type Listed = HashMap<String, HashSet<String>>;

/// Feeds the store from a watch, for the life of the process.
pub(crate) async fn watch(store: PodStore, pods: Watch<WatchedPod>) {
    let mut listed = Listed::new();
    let take = |event: Event<WatchedPod>| match event {
        Event::Init => {
            listed.clear();
            store.begin_listing();
        }
        Event::InitApply(pod) => {
            if let Some((namespace, name)) = apply_watched(&store, &pod) {
                listed.entry(namespace).or_default().insert(name);
            }
        }
        Event::InitDone => store.end_listing(&std::mem::take(&mut listed)),
        Event::Apply(pod) => {
            apply_watched(&store, &pod);
        }
        Event::Delete(pod) => {
            store.delete(&pod.namespace().unwrap_or_default(), &pod.name_any());
        }
    };
    pods.follow(take).await;
}

/// Takes over a pod of the watch, with its version. Returns its namespace and its name if it is
/// kept.
fn apply_watched(store: &PodStore, watched: &WatchedPod) -> Option<(String, String)> {
    let pod = Pod::of(&watched.0)?;
    let (namespace, name) = (pod.namespace.clone(), pod.name.clone());
    let is_kept = store.apply(pod);
    store.record_version(&namespace, &name, watched.0.resource_version());
    is_kept.then_some((namespace, name))
}

#[cfg(test)]
mod tests;
