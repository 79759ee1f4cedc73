//! Pods, as far as scaling cares: one watch for all, and views that hold the pods of one selector.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1 as core;
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
    runtime::watcher,
};
use tokio::sync::watch;
use tracing::warn;

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_observe::pod::{Members, Pod, service::Gate};

use crate::{clock::Clock, lock::lock};

/// For how long a failing watch is taken for a hiccup.
const TOLERATED: Duration = Duration::from_secs(30);
/// A watch that has not failed for this long works; it fails at least every 30 s while it does.
const CALM: Duration = Duration::from_mins(1);

/// All pods, and who looks at which of them.
#[derive(Clone, Debug)]
pub struct PodStore {
    namespaces: Arc<Mutex<Namespaces>>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Namespaces {
    by_name: HashMap<String, Namespace>,
    next_view: u64,
    synced: bool,
    failing: Option<Failing>,
}

/// The watch fails, again and again.
#[derive(Debug)]
struct Failing {
    since: Monotonic,
    latest: Monotonic,
    error: String,
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
    /// Who looks at it keeps its pods in service.
    keeps: bool,
}

/// A live view of the pods of one selector; ends when dropped.
#[derive(Debug)]
pub struct PodView {
    store: PodStore,
    namespace: String,
    id: u64,
    members: watch::Receiver<Members>,
}

impl PodView {
    /// The pods as they are now.
    pub fn members(&mut self) -> Members {
        self.members.borrow_and_update().clone()
    }

    /// The pods as they are now, without taking note that they were looked at.
    pub fn latest(&self) -> Members {
        self.members.borrow().clone()
    }

    /// Whoever looks at this view keeps its pods in service, or takes them out of it.
    pub fn keep_in_service(&self) {
        let mut store = self.store.lock();
        let namespace = store.by_name.get_mut(&self.namespace);
        if let Some(view) = namespace.and_then(|namespace| namespace.views.get_mut(&self.id)) {
            view.keeps = true;
        }
    }

    /// Returns when a pod has come, gone or changed.
    pub async fn changed(&mut self) {
        if self.members.changed().await.is_err() {
            // The store lives as long as its views; nothing more will come.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for PodView {
    fn drop(&mut self) {
        let mut store = self.store.lock();
        if let Some(namespace) = store.by_name.get_mut(&self.namespace) {
            namespace.views.remove(&self.id);
        }
        store.tidy(&self.namespace);
    }
}

impl PodStore {
    /// An empty store, before the first listing.
    pub fn new(clock: Clock) -> Self {
        Self { namespaces: Arc::default(), clock }
    }

    /// Begins a view of the pods of `namespace` that `selector` selects.
    pub fn view(&self, namespace: &str, selector: Selector) -> PodView {
        let mut store = self.lock();
        store.next_view += 1;
        let id = store.next_view;
        let entry = store.by_name.entry(namespace.to_owned()).or_default();
        let selected = entry.pods.values().filter(|pod| selector.matches(&pod.labels));
        let members = selected.map(|pod| (pod.name.clone(), pod.clone())).collect();
        let (sender, receiver) = watch::channel(Arc::new(members));
        entry.views.insert(id, View { selector, members: sender, keeps: false });
        PodView { store: self.clone(), namespace: namespace.to_owned(), id, members: receiver }
    }

    /// Why the views cannot be believed: the first listing is not complete, or the watch has been failing for a while.
    pub fn problem(&self) -> Option<String> {
        let now = self.clock.monotonic();
        let store = self.lock();
        let failing = store.failing.as_ref().filter(|failing| now.since(failing.latest) < CALM);
        match failing {
            Some(failing) if !store.synced || now.since(failing.since) > TOLERATED => {
                Some(format!("the pods of the cluster cannot be watched: {}", failing.error))
            }
            _ if !store.synced => Some("the list of pods is not there yet".to_owned()),
            _ => None,
        }
    }

    /// The pods that wait for somebody to put them in service, and that nobody looks after.
    pub fn unmanaged(&self) -> Vec<Arc<Pod>> {
        let store = self.lock();
        let unmanaged = |namespace: &Namespace, pod: &Pod| {
            let kept = namespace
                .views
                .values()
                .any(|view| view.keeps && view.selector.matches(&pod.labels));
            pod.service.has_gate()
                && pod.service.gate != Gate::Open
                && !pod.replica.deleting
                && !kept
        };
        let of = |namespace: &Namespace| -> Vec<Arc<Pod>> {
            namespace.pods.values().filter(|pod| unmanaged(namespace, pod)).cloned().collect()
        };
        store.by_name.values().flat_map(of).collect()
    }

    fn watch_failed(&self, error: String) {
        let mut store = self.lock();
        let now = self.clock.monotonic();
        let before = store.failing.as_ref().filter(|failing| now.since(failing.latest) < CALM);
        let since = before.map_or(now, |failing| failing.since);
        store.failing = Some(Failing { since, latest: now, error });
    }

    fn watch_works(&self) {
        self.lock().failing = None;
    }

    /// Puts a pod in, or a newer state of it.
    pub fn apply(&self, pod: Pod) {
        let mut store = self.lock();
        let namespace = store.by_name.entry(pod.namespace.clone()).or_default();
        let pod = Arc::new(pod);
        if namespace.pods.get(&pod.name).is_some_and(|known| *known == pod) {
            return;
        }
        namespace.pods.insert(pod.name.clone(), pod.clone());
        for view in namespace.views.values() {
            view.put(&pod);
        }
    }

    /// Takes a pod out.
    pub fn delete(&self, namespace_name: &str, name: &str) {
        let mut store = self.lock();
        let Some(namespace) = store.by_name.get_mut(namespace_name) else { return };
        namespace.pods.remove(name);
        for view in namespace.views.values() {
            view.remove(name);
        }
        store.tidy(namespace_name);
    }

    /// Takes out whatever is not in a complete listing.
    fn retain(&self, listed: &HashSet<(String, String)>) {
        let gone: Vec<(String, String)> = {
            let store = self.lock();
            let keys = store.by_name.iter().flat_map(|(namespace, entry)| {
                entry.pods.keys().map(move |name| (namespace.clone(), name.clone()))
            });
            keys.filter(|key| !listed.contains(key)).collect()
        };
        for (namespace, name) in gone {
            self.delete(&namespace, &name);
        }
        self.lock().synced = true;
    }

    fn lock(&self) -> MutexGuard<'_, Namespaces> {
        lock(&self.namespaces)
    }
}

impl Namespaces {
    /// Forgets a namespace that has no pods and that nobody looks at.
    fn tidy(&mut self, name: &str) {
        if self
            .by_name
            .get(name)
            .is_some_and(|entry| entry.pods.is_empty() && entry.views.is_empty())
        {
            self.by_name.remove(name);
        }
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

/// Feeds the store from a watch, for ever.
pub async fn watch(
    store: PodStore,
    events: impl Stream<Item = watcher::Result<watcher::Event<core::Pod>>>,
) {
    let mut events = std::pin::pin!(events);
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                if let Some(pod) = Pod::of(&pod) {
                    listed.insert((pod.namespace.clone(), pod.name.clone()));
                    store.apply(pod);
                }
            }
            Ok(watcher::Event::InitDone) => store.retain(&std::mem::take(&mut listed)),
            Ok(watcher::Event::Apply(pod)) => {
                if let Some(pod) = Pod::of(&pod) {
                    store.apply(pod);
                }
            }
            Ok(watcher::Event::Delete(pod)) => {
                store.delete(&pod.namespace().unwrap_or_default(), &pod.name_any());
            }
            Err(error) => {
                warn!(%error, "watching pods failed; trying again");
                store.watch_failed(error.to_string());
                continue;
            }
        }
        store.watch_works();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm_autoscaler_observe::pod::Pod;

    fn names(view: &mut PodView) -> Vec<String> {
        view.members().keys().cloned().collect()
    }

    #[test]
    fn a_view_follows_what_its_selector_selects() {
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
    fn other_namespaces_and_unchanged_pods_wake_nobody() {
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
    fn a_new_listing_takes_out_what_is_gone() {
        let store = PodStore::new(Clock::start());
        store.apply(Pod::serving("a-0", "a"));
        let mut view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        store.retain(&HashSet::new());
        assert!(names(&mut view).is_empty());
        assert_eq!(store.problem(), None);
    }

    #[test]
    fn a_dropped_view_leaves_nothing_behind() {
        let store = PodStore::new(Clock::start());
        drop(store.view("ns", Selector::default()));
        assert!(store.lock().by_name.is_empty());
    }

    #[test]
    fn pods_that_nobody_keeps_in_service_are_known() {
        let store = PodStore::new(Clock::start());
        let mut gated = Pod::serving("a-0", "a");
        gated.service.gate = Gate::Unset;
        store.apply(gated);
        store.apply(Pod::serving("a-1", "a"));
        let unmanaged = || store.unmanaged().iter().map(|pod| pod.name.clone()).collect::<Vec<_>>();
        let view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        assert_eq!(unmanaged(), ["a-0"], "to be looked at is not enough");
        view.keep_in_service();
        assert!(unmanaged().is_empty());
        drop(view);
        assert_eq!(unmanaged(), ["a-0"]);
    }

    #[test]
    fn a_watch_that_never_worked_is_a_problem_with_a_reason() {
        let store = PodStore::new(Clock::start());
        assert_eq!(store.problem().unwrap(), "the list of pods is not there yet");
        store.watch_failed("pods is forbidden".to_owned());
        assert!(store.problem().unwrap().contains("pods is forbidden"));
        store.watch_works();
        store.retain(&HashSet::new());
        store.watch_failed("a hiccup".to_owned());
        assert_eq!(store.problem(), None);
    }
}
