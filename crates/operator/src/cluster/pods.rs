//! The pods of the cluster: one watch for all, and views that hold the pods of one selector.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use k8s_openapi::api::core::v1 as core;
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
    runtime::watcher::Event,
};
use llm_autoscaler_observe::pod::{Members, Pod, service::Gate};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    cluster::{watch::Watch, watch_health::WatchHealth},
    lock::lock,
};

/// All pods that are watched, and the views of them; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PodStore {
    state: Arc<Mutex<State>>,
    health: WatchHealth,
}

#[derive(Debug, Default)]
struct State {
    namespaces: HashMap<String, Namespace>,
    next_view: u64,
}

#[derive(Debug, Default)]
struct Namespace {
    pods: HashMap<String, Arc<Pod>>,
    views: HashMap<u64, View>,
}

#[derive(Debug)]
struct View {
    selector: Selector,
    members: watch::Sender<Members>,
    /// True if the holder of the view writes the readiness gates of its pods.
    manages_gates: bool,
}

/// A live view of the pods of one selector; it ends when dropped.
#[derive(Debug)]
pub(crate) struct PodView {
    store: PodStore,
    namespace: String,
    id: u64,
    members: watch::Receiver<Members>,
}

impl PodView {
    /// Returns the pods as they are now. [`changed`](Self::changed) waits for later changes only.
    pub(crate) fn members(&mut self) -> Members {
        self.members.borrow_and_update().clone()
    }

    /// Returns the pods as they are now. [`changed`](Self::changed) still returns for changes that
    /// this call has shown.
    pub(crate) fn latest(&self) -> Members {
        self.members.borrow().clone()
    }

    /// Records that the holder of the view writes the readiness gates of its pods, so that
    /// [`PodStore::unmanaged`] leaves them out.
    pub(crate) fn manage_gates(&self) {
        let mut state = self.store.lock();
        let namespace = state.namespaces.get_mut(&self.namespace);
        if let Some(view) = namespace.and_then(|namespace| namespace.views.get_mut(&self.id)) {
            view.manages_gates = true;
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
        let mut state = self.store.lock();
        if let Some(namespace) = state.namespaces.get_mut(&self.namespace) {
            namespace.views.remove(&self.id);
        }
        state.remove_if_empty(&self.namespace);
    }
}

impl PodStore {
    /// Creates an empty store, which waits for the first listing.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), health: WatchHealth::new("pods", clock) }
    }

    /// Returns the health of the watch that feeds the store.
    pub(crate) fn health(&self) -> &WatchHealth {
        &self.health
    }

    /// Begins a view of the pods of `namespace` that `selector` selects.
    pub(crate) fn view(&self, namespace: &str, selector: Selector) -> PodView {
        let mut state = self.lock();
        state.next_view += 1;
        let id = state.next_view;
        let entry = state.namespaces.entry(namespace.to_owned()).or_default();
        let selected = entry.pods.values().filter(|pod| selector.matches(&pod.labels));
        let members = selected.map(|pod| (pod.name.clone(), pod.clone())).collect();
        let (sender, receiver) = watch::channel(Arc::new(members));
        entry.views.insert(id, View { selector, members: sender, manages_gates: false });
        PodView { store: self.clone(), namespace: namespace.to_owned(), id, members: receiver }
    }

    /// Returns why the views cannot be relied on: the first listing is not complete, or the watch
    /// has been failing for a while.
    pub(crate) fn problem(&self) -> Option<String> {
        self.health.problem()
    }

    /// Returns the pods with a readiness gate that is not open, and that no autoscaler writes.
    pub(crate) fn unmanaged(&self) -> Vec<Arc<Pod>> {
        let state = self.lock();
        state.namespaces.values().flat_map(Namespace::unmanaged).cloned().collect()
    }

    /// Adds a pod, or replaces it by a newer version.
    pub(crate) fn apply(&self, mut pod: Pod) {
        let mut state = self.lock();
        let namespace = state.namespaces.entry(pod.namespace.clone()).or_default();
        // Readiness that was seen is certain; that a status tells only after some seconds.
        let known = namespace.pods.get(&pod.name).filter(|known| known.uid == pod.uid);
        pod.was_ready |= known.is_some_and(|known| known.was_ready);
        let pod = Arc::new(pod);
        if namespace.pods.get(&pod.name).is_some_and(|known| *known == pod) {
            return;
        }
        namespace.pods.insert(pod.name.clone(), pod.clone());
        for view in namespace.views.values() {
            view.put(&pod);
        }
    }

    /// Removes a pod.
    pub(crate) fn delete(&self, namespace_name: &str, name: &str) {
        let mut state = self.lock();
        let Some(namespace) = state.namespaces.get_mut(namespace_name) else { return };
        namespace.pods.remove(name);
        for view in namespace.views.values() {
            view.remove(name);
        }
        state.remove_if_empty(namespace_name);
    }

    /// Removes all pods that are not in a complete listing.
    fn retain(&self, listed: &HashSet<(String, String)>) {
        let gone: Vec<(String, String)> = {
            let state = self.lock();
            let keys = state.namespaces.iter().flat_map(|(namespace, entry)| {
                entry.pods.keys().map(move |name| (namespace.clone(), name.clone()))
            });
            keys.filter(|key| !listed.contains(key)).collect()
        };
        for (namespace, name) in gone {
            self.delete(&namespace, &name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Removes a namespace without pods and views.
    fn remove_if_empty(&mut self, name: &str) {
        let namespace = self.namespaces.get(name);
        if namespace.is_some_and(|entry| entry.pods.is_empty() && entry.views.is_empty()) {
            self.namespaces.remove(name);
        }
    }
}

impl Namespace {
    fn unmanaged(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().filter(|pod| {
            pod.service.has_gate()
                && pod.service.gate != Gate::Open
                && !pod.replica.deleting
                && !self.is_managed(pod)
        })
    }

    fn is_managed(&self, pod: &Pod) -> bool {
        let mut managing = self.views.values().filter(|view| view.manages_gates);
        managing.any(|view| view.selector.matches(&pod.labels))
    }
}

impl View {
    fn put(&self, pod: &Arc<Pod>) {
        if self.selector.matches(&pod.labels) {
            self.members.send_modify(|members| {
                Arc::make_mut(members).insert(pod.name.clone(), pod.clone());
            });
        } else {
            self.remove(&pod.name);
        }
    }

    fn remove(&self, name: &str) {
        self.members.send_if_modified(|members| {
            members.contains_key(name) && Arc::make_mut(members).remove(name).is_some()
        });
    }
}

/// Feeds the store from a watch, for the life of the process.
pub(crate) async fn watch(store: PodStore, pods: Watch<core::Pod>) {
    let mut listed = HashSet::new();
    let take = |event| match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => {
            if let Some(pod) = Pod::of(&pod) {
                listed.insert((pod.namespace.clone(), pod.name.clone()));
                store.apply(pod);
            }
        }
        Event::InitDone => store.retain(&std::mem::take(&mut listed)),
        Event::Apply(pod) => {
            if let Some(pod) = Pod::of(&pod) {
                store.apply(pod);
            }
        }
        Event::Delete(pod) => {
            store.delete(&pod.namespace().unwrap_or_default(), &pod.name_any());
        }
    };
    pods.follow(take).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(view: &mut PodView) -> Vec<String> {
        view.members().keys().cloned().collect()
    }

    #[test]
    fn a_view_holds_the_pods_that_its_selector_selects() {
        let store = PodStore::new(Clock::start());
        store.apply(Pod::serving("a-0", "a"));
        store.apply(Pod::serving("b-0", "b"));
        let mut view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        assert_eq!(names(&mut view), ["a-0"]);

        store.apply(Pod::serving("a-1", "a"));
        assert_eq!(names(&mut view), ["a-0", "a-1"]);
        store.apply(Pod::serving("a-0", "b"));
        assert_eq!(names(&mut view), ["a-1"], "relabelled out of the selector");
        store.delete("ns", "a-1");
        assert!(names(&mut view).is_empty());
    }

    #[test]
    fn a_view_does_not_change_for_other_namespaces_and_unchanged_pods() {
        let store = PodStore::new(Clock::start());
        store.apply(Pod::serving("a-0", "a"));
        let mut view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        view.members();
        store.apply(Pod::serving("a-0", "a"));
        store.apply(Pod { namespace: "other".to_owned(), ..Pod::serving("a-9", "a") });
        store.apply(Pod::serving("b-0", "b"));
        assert!(!view.members.has_changed().unwrap());
    }

    #[test]
    fn a_new_listing_removes_pods_that_are_gone() {
        let store = PodStore::new(Clock::start());
        store.apply(Pod::serving("a-0", "a"));
        let mut view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        store.retain(&HashSet::new());
        assert!(names(&mut view).is_empty());
    }

    #[test]
    fn a_dropped_view_leaves_nothing_behind() {
        let store = PodStore::new(Clock::start());
        drop(store.view("ns", Selector::default()));
        assert!(store.lock().namespaces.is_empty());
    }

    #[test]
    fn a_pod_is_unmanaged_until_a_view_manages_its_gate() {
        let store = PodStore::new(Clock::start());
        let mut gated = Pod::serving("a-0", "a");
        gated.service.gate = Gate::Unset;
        store.apply(gated);
        store.apply(Pod::serving("a-1", "a"));
        let unmanaged = || store.unmanaged().iter().map(|pod| pod.name.clone()).collect::<Vec<_>>();
        let view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        assert_eq!(unmanaged(), ["a-0"], "a view alone manages no gates");
        view.manage_gates();
        assert!(unmanaged().is_empty());
        drop(view);
        assert_eq!(unmanaged(), ["a-0"]);
    }
}
