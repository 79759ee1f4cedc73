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
use tracing::warn;

use super::{
    departures::Departures,
    kept_pod::{KeptPod, LIMITS, is_too_large, pods_of, stub_of},
    view::View,
};
use crate::{backoff::Backoff, kube_api::is_older, latest};

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
    pods: HashSet<KeptPod>,
    /// The pod that came last. The next one often has its template, and so shares its labels.
    latest: Option<Arc<Pod>>,
    /// Pods without their labels, annotations and ports, which are in no view: those that are too
    /// large, and those with a gate in a namespace without followers.
    pub(super) stubs: HashSet<KeptPod>,
    views: HashMap<u64, View>,
    /// The number of followers, views included.
    pub(super) followers: usize,
    pub(super) listing: Listing,
    /// The number of the request for a listing: earlier ones are less.
    pub(super) wanted_at: u64,
    pub(super) backoff: Backoff,
    /// The pods that have gone.
    departures: Departures,
}

impl Namespace {
    /// Begins with nothing. `backoff` has the waits between listings.
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            pods: HashSet::new(),
            latest: None,
            stubs: HashSet::new(),
            views: HashMap::new(),
            followers: 0,
            listing: Listing::default(),
            wanted_at: 0,
            backoff,
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
    pub(super) fn add_view(&mut self, id: u64, selector: Selector) -> latest::Receiver<Members> {
        let selected = pods_of(&self.pods).filter(|pod| selector.matches(&pod.labels));
        let members = selected.map(|pod| (pod.name.clone(), pod.clone())).collect();
        let (members, receiver) = latest::channel(Arc::new(members));
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

    /// Returns a pod that a view would have if it were not held out, and the limits.
    pub(super) fn held_out_of(&self, id: u64) -> Option<(String, &'static str)> {
        Some((self.views.get(&id)?.held_out.first()?.clone(), LIMITS))
    }

    /// Ends the last follower: only pods with a readiness gate are kept, which the operator opens
    /// where no autoscaler does.
    pub(super) fn end_following(&mut self) {
        self.departures.clear();
        self.listing = Listing::Wanted;
        self.backoff.reset();
        self.latest = None;
        self.stubs.retain(|kept| kept.pod.service.has_gate());
        let pods = std::mem::take(&mut self.pods);
        for kept in pods.into_iter().filter(|kept| kept.pod.service.has_gate()) {
            self.stubs.insert(KeptPod { pod: Arc::new(stub_of(&kept.pod)), ..kept });
        }
    }

    /// Records the version of a pod that is kept, if it is not older than the one that is known.
    pub(super) fn record_version(&mut self, name: &str, version: &str) {
        for all in [&mut self.pods, &mut self.stubs] {
            let Some(kept) = all.take(name) else { continue };
            let is_newer = kept.version.as_ref().is_none_or(|known| !is_older(version, known));
            let version = if is_newer { Some(version.into()) } else { kept.version };
            all.insert(KeptPod { pod: kept.pod, version });
        }
    }

    /// Returns the latest version of a pod; `None` if it is gone, or another one has its name.
    pub(super) fn version(&self, name: &str, uid: &str) -> Option<&str> {
        self.kept(name).filter(|kept| *kept.pod.uid == *uid)?.version.as_deref()
    }

    fn kept(&self, name: &str) -> Option<&KeptPod> {
        self.pods.get(name).or_else(|| self.stubs.get(name))
    }

    /// Takes a pod that the watch tells of. Returns whether it is kept.
    pub(super) fn apply(&mut self, pod: Pod, now: DateTime<Utc>) -> bool {
        self.touch(&pod.name);
        if self.followers > 0 {
            self.put(pod, now);
        } else if pod.service.has_gate() {
            self.keep_stub(&pod);
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
        let names = pods_of(&self.pods).chain(pods_of(&self.stubs)).map(|pod| &pod.name);
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
        let pods = pods_of(&self.pods).filter(is_closed).filter(move |pod| !is_managed(pod));
        pods.chain(pods_of(&self.stubs).filter(is_closed)).filter(move |_| is_known)
    }

    fn touch(&mut self, name: &str) {
        if let Listing::Running { touched, .. } = &mut self.listing {
            touched.insert(name.to_owned());
        }
    }

    fn put(&mut self, mut pod: Pod, now: DateTime<Utc>) {
        let known = self.pods.get(&*pod.name);
        if let Some(replaced) = known.filter(|known| known.pod.uid != pod.uid) {
            self.departures.record(replaced.pod.clone(), now);
        }
        // Readiness that was seen is certain; that a status tells only after some seconds.
        let known = self.kept(&pod.name).map(|known| &known.pod);
        let known = known.filter(|known| known.uid == pod.uid);
        pod.was_ready |= known.is_some_and(|known| known.was_ready);
        pod.record_seen(known.map(Arc::as_ref), now);
        // Listings are in the order of names, so the pods of a template come one after the other.
        if let Some(like) = known.or(self.latest.as_ref()) {
            pod.share(like);
        }
        if is_too_large(&pod) {
            self.hold_out(&pod);
            return;
        }
        let stub = self.stubs.take(&*pod.name);
        if stub.is_some() {
            self.views.values_mut().for_each(|view| view.let_in(&pod.name));
        }
        if self.pods.get(&*pod.name).is_some_and(|known| *known.pod == pod) {
            return;
        }
        let pod = Arc::new(pod);
        self.latest = Some(pod.clone());
        let version = self.pods.take(&*pod.name).or(stub).and_then(|kept| kept.version);
        self.pods.insert(KeptPod { pod: pod.clone(), version });
        self.views.values().for_each(|view| view.put(&pod));
    }

    /// Takes note of the views that a pod belongs to, which is too large to be kept: nothing is
    /// decided about their targets.
    fn hold_out(&mut self, pod: &Pod) {
        self.views.values_mut().for_each(|view| view.hold_out(pod));
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

    fn keep_stub(&mut self, pod: &Pod) {
        let known = self.pods.take(&*pod.name).or_else(|| self.stubs.take(&*pod.name));
        let version = known.and_then(|kept| kept.version);
        self.stubs.insert(KeptPod { pod: Arc::new(stub_of(pod)), version });
    }

    fn remove(&mut self, name: &str, now: DateTime<Utc>) {
        if let Some(kept) = self.pods.take(name) {
            self.departures.record(kept.pod, now);
        }
        self.stubs.remove(name);
        for view in self.views.values_mut() {
            view.let_in(name);
            view.remove(name);
        }
    }
}
