//! Pods, as far as scaling cares: one watch for all, a projection of a dozen fields, and views that hold
//! the pods of one selector.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1 as core;
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
    runtime::watcher,
};
use llm_autoscaler_api::Port;
use llm_autoscaler_core::{Phase, Replica};
use tokio::sync::watch;
use tracing::warn;

/// One pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its UID: a pod that is made again under the same name is another pod.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its address, once it has one.
    pub ip: Option<IpAddr>,
    /// The container ports that have a name.
    pub ports: Vec<(String, u16)>,
    /// What the decision sees of it.
    pub replica: Replica,
    /// When it was created.
    pub created: DateTime<Utc>,
}

impl Pod {
    /// The projection; `None` for a pod without name or UID, which the API server does not send.
    pub fn of(pod: &core::Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let ports = containers
            .flat_map(|container| container.ports.iter().flatten())
            .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
            .collect();
        let created = pod.metadata.creation_timestamp.as_ref();
        Some(Self {
            uid: pod.metadata.uid.clone()?,
            name: pod.metadata.name.clone()?,
            namespace: pod.metadata.namespace.clone()?,
            labels: pod.labels().clone(),
            ip: status.and_then(|status| status.pod_ip.as_ref()).and_then(|ip| ip.parse().ok()),
            ports,
            replica: Replica {
                phase: phase(status.and_then(|status| status.phase.as_deref())),
                deleting: pod.metadata.deletion_timestamp.is_some(),
                ready: is_ready(status),
                stuck: false,
            },
            created: created.map(llm_autoscaler_api::time::from_kubernetes).unwrap_or_default(),
        })
    }

    /// The number of the port that a spec means.
    pub fn port(&self, port: &Port) -> Option<u16> {
        match port {
            Port::Number(number) => Some(*number),
            Port::Name(name) => self.ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number),
        }
    }

    /// Whether it can be asked for its metrics.
    pub fn is_running(&self) -> bool {
        self.replica.phase == Phase::Running && !self.replica.deleting
    }
}

fn phase(phase: Option<&str>) -> Phase {
    match phase {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        _ => Phase::Pending,
    }
}

fn is_ready(status: Option<&core::PodStatus>) -> bool {
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The pods of one selector, by name. Cheap to clone.
pub type Members = Arc<BTreeMap<String, Arc<Pod>>>;

/// All pods, and who looks at which of them.
#[derive(Clone, Debug, Default)]
pub struct PodStore(Arc<Mutex<Namespaces>>);

#[derive(Debug, Default)]
struct Namespaces {
    by_name: HashMap<String, Namespace>,
    next_view: u64,
    synced: bool,
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
        if let Some(namespace) = self.store.lock().by_name.get_mut(&self.namespace) {
            namespace.views.remove(&self.id);
        }
    }
}

impl PodStore {
    /// Begins a view of the pods of `namespace` that `selector` selects.
    pub fn view(&self, namespace: &str, selector: Selector) -> PodView {
        let mut store = self.lock();
        store.next_view += 1;
        let id = store.next_view;
        let entry = store.by_name.entry(namespace.to_owned()).or_default();
        let selected = entry.pods.values().filter(|pod| selector.matches(&pod.labels));
        let members = selected.map(|pod| (pod.name.clone(), pod.clone())).collect();
        let (sender, receiver) = watch::channel(Arc::new(members));
        entry.views.insert(id, View { selector, members: sender });
        PodView { store: self.clone(), namespace: namespace.to_owned(), id, members: receiver }
    }

    /// Whether the first listing of pods is complete: before it, an empty view says nothing.
    pub fn is_synced(&self) -> bool {
        self.lock().synced
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
    pub fn delete(&self, namespace: &str, name: &str) {
        let mut store = self.lock();
        let Some(namespace) = store.by_name.get_mut(namespace) else { return };
        namespace.pods.remove(name);
        for view in namespace.views.values() {
            view.remove(name);
        }
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
pub async fn follow(store: PodStore, events: impl Stream<Item = watcher::Result<watcher::Event<core::Pod>>>) {
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
            Err(error) => warn!(%error, "watching pods failed; trying again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, app: &str) -> Pod {
        Pod {
            uid: name.to_owned(),
            name: name.to_owned(),
            namespace: "ns".to_owned(),
            labels: BTreeMap::from([("app".to_owned(), app.to_owned())]),
            ip: None,
            ports: vec![("http".to_owned(), 8000)],
            replica: Replica::READY,
            created: DateTime::UNIX_EPOCH,
        }
    }

    fn names(view: &mut PodView) -> Vec<String> {
        view.members().keys().cloned().collect()
    }

    #[test]
    fn a_view_follows_what_its_selector_selects() {
        let store = PodStore::default();
        store.apply(pod("a-0", "a"));
        store.apply(pod("b-0", "b"));
        let mut view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        assert_eq!(names(&mut view), ["a-0"]);

        store.apply(pod("a-1", "a"));
        assert_eq!(names(&mut view), ["a-0", "a-1"]);
        store.apply(pod("a-0", "b"));
        assert_eq!(names(&mut view), ["a-1"], "relabelled out of the selector");
        store.delete("ns", "a-1");
        assert!(names(&mut view).is_empty());
    }

    #[test]
    fn other_namespaces_and_unchanged_pods_wake_nobody() {
        let store = PodStore::default();
        store.apply(pod("a-0", "a"));
        let mut view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        view.members();
        store.apply(pod("a-0", "a"));
        store.apply(Pod { namespace: "other".to_owned(), ..pod("a-9", "a") });
        store.apply(pod("b-0", "b"));
        assert!(!view.members.has_changed().unwrap());
    }

    #[test]
    fn a_new_listing_takes_out_what_is_gone() {
        let store = PodStore::default();
        store.apply(pod("a-0", "a"));
        let mut view = store.view("ns", llm_autoscaler_api::selector::parse("app=a").unwrap());
        store.retain(&HashSet::new());
        assert!(names(&mut view).is_empty());
        assert!(store.is_synced());
    }

    #[test]
    fn a_dropped_view_leaves_nothing_behind() {
        let store = PodStore::default();
        drop(store.view("ns", Selector::default()));
        assert!(store.lock().by_name["ns"].views.is_empty());
    }

    #[test]
    fn ports_by_name_and_number() {
        let pod = pod("a-0", "a");
        assert_eq!(pod.port(&Port::Name("http".to_owned())), Some(8000));
        assert_eq!(pod.port(&Port::Name("grpc".to_owned())), None);
        assert_eq!(pod.port(&Port::Number(9)), Some(9));
    }
}
