//! The pods of one namespace, and the views of them.
//!
//! # When the pods of a namespace are known
//!
//! Pods of a namespace without followers are not kept, so the first follower needs a listing. It
//! runs beside the one watch of all pods, and the two tell of different moments. This is how they
//! become one picture without comparing resourceVersions:
//!
//! - A namespace that is followed before a listing of the whole cluster begins is *covered* by it,
//!   and complete when that one is. At the start of the operator this holds for all of them.
//! - Otherwise it has a listing of its own, which only runs while the watch follows changes. When
//!   the watch has to list anew, the listing of the namespace is void: it may show pods that were
//!   deleted before that, and no watch would tell of it any more. It is covered instead.
//! - A pod that the watch tells of while the listing runs is *touched*: the listing's version of it
//!   is not taken, and a pod that was deleted meanwhile stays deleted. If the watch is ahead of the
//!   listing, it has told the newer version. If it is behind, it has yet to tell of everything up
//!   to the listing and beyond, so the older version is replaced in a moment. A view is then as old
//!   as the watch, as it always is.
//! - The listing is consistent: it is not older than the request for it, so it has all pods that
//!   the watch had told of before. If it lacks a pod that is known, the pod has been deleted since,
//!   and the watch will tell.
//!
//! Until then the namespace is not complete, and nothing is decided about its targets.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use kube::core::{Selector, SelectorExt};
use llm_autoscaler_observe::{
    billing::DepartedPod,
    pod::{Members, Pod, service::Gate},
};
use tokio::sync::watch;
use tracing::warn;

use super::departures::Departures;
use crate::{backoff::Backoff, kube_api::is_older};

/// The most labels, annotations, ports and claims of a pod together.
const MOST_ENTRIES: usize = 256;
/// The most bytes of these.
const MOST_BYTES: usize = 16 << 10;
/// The limits, in messages.
pub(super) const LIMITS: &str = "256 labels and ports, 16 KiB";

/// How far the pods of a namespace are known.
#[derive(Debug, Default)]
pub(super) enum Listing {
    /// They have to be listed if the namespace is followed.
    #[default]
    Wanted,
    /// A listing of the namespace runs.
    Running {
        /// The number of the listing.
        id: u64,
        /// The names of pods that the watch has told of meanwhile.
        touched: HashSet<String>,
    },
    /// The last listing has failed, and is tried again after a while.
    Failed {
        /// The number of the listing.
        id: u64,
        /// The error.
        error: String,
    },
    /// The listing of the whole cluster that runs has all of them.
    Covered,
    /// They are known, and the watch tells of changes.
    Complete,
}

/// The pods of one namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    pods: HashMap<String, Arc<Pod>>,
    /// The pod that came last. The next one often has its template, and so shares its labels.
    latest: Option<Arc<Pod>>,
    /// Pods without their labels, annotations and ports, which are in no view: those that are too
    /// large, and those with a gate in a namespace without followers.
    pub(super) stubs: HashMap<String, Arc<Pod>>,
    views: HashMap<u64, View>,
    /// The number of followers, views included.
    pub(super) followers: usize,
    pub(super) listing: Listing,
    /// The number of the request for a listing: earlier ones are less.
    pub(super) wanted_at: u64,
    pub(super) backoff: Backoff,
    /// The versions of all these pods, by name. They are not in the pods, which most new versions
    /// leave as they are.
    versions: HashMap<String, String>,
    /// The pods that have gone.
    departures: Departures,
}

/// The pods of one selector.
#[derive(Debug)]
struct View {
    selector: Selector,
    members: watch::Sender<Members>,
    /// The pods that the selector selects, and that are held out.
    held_out: BTreeSet<String>,
    /// True if the holder of the view writes the readiness gates of its pods.
    manages_gates: bool,
}

impl Namespace {
    /// Begins with nothing. `backoff` has the waits between listings.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            pods: HashMap::new(),
            latest: None,
            stubs: HashMap::new(),
            views: HashMap::new(),
            followers: 0,
            listing: Listing::default(),
            wanted_at: 0,
            backoff,
            versions: HashMap::new(),
            departures: Departures::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.stubs.is_empty() && self.followers == 0
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.listing, Listing::Complete)
    }

    /// Begins a view. A stub has lost its labels, so only a listing tells if the selector selects
    /// the pod.
    pub(super) fn add_view(&mut self, id: u64, selector: Selector) -> watch::Receiver<Members> {
        let selected = self.pods.values().filter(|pod| selector.matches(&pod.labels));
        let members = selected.map(|pod| (pod.name.clone(), pod.clone())).collect();
        let (members, receiver) = watch::channel(Arc::new(members));
        let held_out = BTreeSet::new();
        self.views.insert(id, View { selector, members, held_out, manages_gates: false });
        if !self.stubs.is_empty() {
            self.want_listing(id);
        }
        receiver
    }

    /// Begins with one more follower. `now` is a number that is larger than all before.
    pub(super) fn follow(&mut self, now: u64) {
        if self.followers == 0 {
            self.wanted_at = now;
        }
        self.followers += 1;
    }

    /// Asks for a listing.
    pub(super) fn want_listing(&mut self, now: u64) {
        (self.listing, self.wanted_at) = (Listing::Wanted, now);
    }

    pub(super) fn remove_view(&mut self, id: u64) {
        self.views.remove(&id);
    }

    pub(super) fn manage_gates(&mut self, id: u64, manages: bool) {
        if let Some(view) = self.views.get_mut(&id) {
            view.manages_gates = manages;
        }
    }

    /// Returns the pods of a view that have gone after a time.
    pub(super) fn departed_of(&self, id: u64, after: DateTime<Utc>) -> Vec<DepartedPod> {
        let Some(view) = self.views.get(&id) else { return Vec::new() };
        let its = |departed: &&DepartedPod| view.selector.matches(&departed.pod.labels);
        self.departures.after(after).filter(its).cloned().collect()
    }

    /// Returns a pod that a view would have if it were not held out.
    pub(super) fn held_out_of(&self, id: u64) -> Option<&String> {
        self.views.get(&id)?.held_out.first()
    }

    /// Ends the last follower: only pods with a readiness gate are kept, which the operator opens
    /// where no autoscaler does.
    pub(super) fn end_following(&mut self) {
        self.departures.clear();
        self.listing = Listing::Wanted;
        self.backoff.reset();
        self.latest = None;
        let pods = std::mem::take(&mut self.pods).into_values();
        let gated: Vec<_> = pods.filter(|pod| pod.service.has_gate()).collect();
        for pod in gated {
            self.keep_stub(Arc::unwrap_or_clone(pod));
        }
        self.stubs.retain(|_, pod| pod.service.has_gate());
        self.versions.retain(|name, _| self.stubs.contains_key(name));
    }

    /// Records the version of a pod that is kept, if it is not older than the one that is known.
    pub(super) fn record_version(&mut self, name: &str, version: String) {
        let is_kept = self.pods.contains_key(name) || self.stubs.contains_key(name);
        let is_known = self.versions.get(name).is_some_and(|known| is_older(&version, known));
        if is_kept && !is_known {
            self.versions.insert(name.to_owned(), version);
        }
    }

    /// Returns the latest version of a pod; `None` if it is gone, or another one has its name.
    pub(super) fn version(&self, name: &str, uid: &str) -> Option<&String> {
        let pod = self.pods.get(name).or_else(|| self.stubs.get(name))?;
        self.versions.get(name).filter(|_| pod.uid == uid)
    }

    /// Takes a pod that the watch tells of. Returns whether it is kept.
    pub(super) fn apply(&mut self, pod: Pod, now: DateTime<Utc>) -> bool {
        self.touch(&pod.name);
        if self.followers > 0 {
            self.put(pod, now);
        } else if pod.service.has_gate() {
            self.keep_stub(pod);
        } else {
            self.remove(&pod.name, now);
            return false;
        }
        true
    }

    /// Takes a pod of the listing of this number. Returns false if that one is void.
    pub(super) fn add_listed(&mut self, id: u64, pod: Pod, now: DateTime<Utc>) -> bool {
        match &self.listing {
            Listing::Running { id: running, touched } if *running == id => {
                if !touched.contains(&pod.name) {
                    self.put(pod, now);
                }
                true
            }
            _ => false,
        }
    }

    /// Removes a pod that the watch has told to be deleted.
    pub(super) fn delete(&mut self, name: &str, now: DateTime<Utc>) {
        self.touch(name);
        self.remove(name, now);
    }

    /// Removes the pods that a listing of the whole cluster does not have.
    pub(super) fn retain(&mut self, is_listed: impl Fn(&str) -> bool, now: DateTime<Utc>) {
        let names = self.pods.keys().chain(self.stubs.keys());
        let gone: Vec<String> = names.filter(|name| !is_listed(name)).cloned().collect();
        for name in &gone {
            self.remove(name, now);
        }
    }

    /// Returns the pods with a readiness gate that is not open, and that no autoscaler writes. As
    /// long as the pods are not known, neither is which of them an autoscaler writes.
    pub(super) fn unmanaged(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let is_managed = |pod: &Pod| {
            let mut managing = self.views.values().filter(|view| view.manages_gates);
            managing.any(|view| view.selector.matches(&pod.labels))
        };
        // Few pods have a gate that is not open, and to compare all with all selectors takes long.
        let is_closed = |pod: &&Arc<Pod>| {
            pod.service.has_gate() && pod.service.gate != Gate::Open && !pod.replica.deleting
        };
        let is_known = self.followers == 0 || self.is_complete();
        let pods = self.pods.values().filter(is_closed).filter(move |pod| !is_managed(pod));
        pods.chain(self.stubs.values().filter(is_closed)).filter(move |_| is_known)
    }

    fn touch(&mut self, name: &str) {
        if let Listing::Running { touched, .. } = &mut self.listing {
            touched.insert(name.to_owned());
        }
    }

    fn put(&mut self, mut pod: Pod, now: DateTime<Utc>) {
        if let Some(replaced) = self.pods.get(&pod.name).filter(|known| known.uid != pod.uid) {
            self.departures.record(replaced.clone(), now);
        }
        // Readiness that was seen is certain; that a status tells only after some seconds.
        let known = self.pods.get(&pod.name).or_else(|| self.stubs.get(&pod.name));
        let known = known.filter(|known| known.uid == pod.uid);
        pod.was_ready |= known.is_some_and(|known| known.was_ready);
        pod.record_seen(known.map(Arc::as_ref), now);
        // Listings are in the order of names, so the pods of a template come one after the other.
        if let Some(like) = known.or(self.latest.as_ref()) {
            pod.share(like);
        }
        if is_too_large(&pod) {
            self.hold_out(pod);
            return;
        }
        if self.stubs.remove(&pod.name).is_some() {
            self.views.values_mut().for_each(|view| view.let_in(&pod.name));
        }
        let pod = Arc::new(pod);
        if self.pods.get(&pod.name).is_some_and(|known| *known == pod) {
            return;
        }
        self.latest = Some(pod.clone());
        self.pods.insert(pod.name.clone(), pod.clone());
        self.views.values().for_each(|view| view.put(&pod));
    }

    /// Takes note of the views that a pod belongs to, which is too large to be kept: nothing is
    /// decided about their targets.
    fn hold_out(&mut self, pod: Pod) {
        self.views.values_mut().for_each(|view| view.hold_out(&pod));
        // Only the first one is logged, so that a thousand of them do not fill the log.
        if self.stubs.is_empty() {
            warn!(
                namespace = pod.namespace,
                name = pod.name,
                limits = LIMITS,
                "a pod is too large to be kept; nothing is decided about the targets that have it"
            );
        }
        self.keep_stub(pod);
    }

    fn keep_stub(&mut self, mut pod: Pod) {
        self.pods.remove(&pod.name);
        (pod.labels, pod.annotations) = Default::default();
        (pod.ports, pod.unnamed_ports) = Default::default();
        pod.role_instance = None;
        self.stubs.insert(pod.name.clone(), Arc::new(pod));
    }

    fn remove(&mut self, name: &str, now: DateTime<Utc>) {
        if let Some(pod) = self.pods.remove(name) {
            self.departures.record(pod, now);
        }
        self.stubs.remove(name);
        self.versions.remove(name);
        for view in self.views.values_mut() {
            view.let_in(name);
            view.remove(name);
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

    /// Takes note of a pod that is held out, while its labels are still there.
    fn hold_out(&mut self, pod: &Pod) {
        self.remove(&pod.name);
        if !self.selector.matches(&pod.labels) {
            self.let_in(&pod.name);
        } else if self.held_out.insert(pod.name.clone()) {
            self.members.send_modify(|_| {});
        }
    }

    /// A pod is gone, or not too large any more.
    fn let_in(&mut self, name: &str) {
        if self.held_out.remove(name) {
            self.members.send_modify(|_| {});
        }
    }
}

/// Returns whether a pod takes more memory than any real one. Its author chooses the labels, and an
/// object of a megabyte has room for 11,000 of them.
fn is_too_large(pod: &Pod) -> bool {
    let named = pod.labels.len() + pod.annotations.len() + pod.ports.len();
    let maps = pod.labels.iter().chain(&pod.annotations);
    let texts = maps.map(|(key, value)| key.len() + value.len());
    let ports = pod.ports.iter().map(|(name, _)| name.len());
    let owner = pod.role_instance.as_ref().map(|owner| owner.uid.len());
    let claims = pod.claims.iter().map(String::len);
    named + pod.unnamed_ports.len() + pod.claims.len() > MOST_ENTRIES
        || texts.chain(ports).chain(owner).chain(claims).sum::<usize>() > MOST_BYTES
}
