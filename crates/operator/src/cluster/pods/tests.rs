use std::collections::BTreeMap;

use futures::FutureExt;
use llm_autoscaler_api::selector;
use llm_autoscaler_observe::pod::service::Gate;

use super::*;

fn names(view: &mut PodView) -> Vec<String> {
    view.members().keys().cloned().collect()
}

fn view(store: &PodStore, selector: &str) -> PodView {
    store.view("ns", selector::parse(selector).unwrap())
}

/// A store that has listed a cluster without pods, in which the namespace `ns` is followed.
fn store() -> (PodStore, Following) {
    let store = PodStore::new(Clock::start());
    let following = store.follow("ns");
    store.begin_listing();
    store.end_listing(&Listed::new());
    store.health().record_listing();
    (store, following)
}

fn gated(name: &str, gate: Gate) -> Pod {
    let mut pod = Pod::serving(name, "a");
    pod.service.gate = gate;
    pod
}

/// A pod with more labels than are kept.
fn large(name: &str, app: &str) -> Pod {
    let mut pod = Pod::serving(name, app);
    Arc::make_mut(&mut pod.labels)
        .extend((0..300).map(|number| (format!("label-{number}"), String::new())));
    pod
}

#[test]
fn a_view_holds_the_pods_that_its_selector_selects() {
    let (store, _following) = store();
    store.apply(Pod::serving("a-0", "a"));
    store.apply(Pod::serving("b-0", "b"));
    let mut view = view(&store, "app=a");
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
    let (store, _following) = store();
    let _other = store.follow("other");
    store.apply(Pod::serving("a-0", "a"));
    let mut view = view(&store, "app=a");
    view.members();
    store.apply(Pod::serving("a-0", "a"));
    store.apply(Pod { namespace: "other".to_owned(), ..Pod::serving("a-9", "a") });
    store.apply(Pod::serving("b-0", "b"));
    assert!(view.changed().now_or_never().is_none());
}

#[test]
fn a_new_listing_removes_pods_that_are_gone() {
    let (store, _following) = store();
    store.apply(Pod::serving("a-0", "a"));
    store.apply(large("a-1", "a"));
    let mut view = view(&store, "app=a");
    store.end_listing(&Listed::new());
    assert!(names(&mut view).is_empty());
    assert_eq!(view.held_out(), None);
}

#[test]
fn pods_of_a_namespace_that_nobody_follows_are_not_kept() {
    let (store, following) = store();
    assert!(!store.apply(Pod { namespace: "other".to_owned(), ..Pod::serving("a-0", "a") }));
    assert!(store.apply(Pod::serving("a-0", "a")));
    assert_eq!(store.lock().namespaces.len(), 1);
    store.apply(gated("a-1", Gate::Unset));
    drop(view(&store, "app=a"));
    drop(following);
    let unmanaged = store.unmanaged();
    assert_eq!(unmanaged.len(), 1, "its gate is to be opened");
    assert!(unmanaged[0].labels.is_empty());
    store.delete("ns", "a-1");
    assert!(store.lock().namespaces.is_empty());
}

#[test]
fn a_pod_is_unmanaged_until_a_view_manages_its_gate() {
    let (store, _following) = store();
    store.apply(gated("a-0", Gate::Unset));
    store.apply(Pod::serving("a-1", "a"));
    let unmanaged = || store.unmanaged().iter().map(|pod| pod.name.clone()).collect::<Vec<_>>();
    let view = view(&store, "app=a");
    assert_eq!(unmanaged(), ["a-0"], "a view alone manages no gates");
    view.manage_gates(true);
    assert!(unmanaged().is_empty());
    drop(view);
    assert_eq!(unmanaged(), ["a-0"]);
}

#[test]
fn a_namespace_is_a_problem_until_its_pods_are_listed() {
    let (store, _following) = store();
    assert_eq!(store.problem("ns"), None);
    let other = store.follow("other");
    let not_there = "the list of pods of the namespace other is not there yet";
    assert_eq!(store.problem("other").as_deref(), Some(not_there));
    let pod = |gate| Pod { namespace: "other".to_owned(), ..gated("a-0", gate) };
    store.apply(pod(Gate::Unset));
    assert!(store.unmanaged().is_empty(), "who manages it is not known yet");

    let listing = store.next_listing().unwrap();
    assert_eq!((&*listing.namespace, store.next_listing()), ("other", None));
    store.fail(&listing, &CallError::Timeout(Duration::from_secs(10))).unwrap();
    let refused = "the pods of the namespace other cannot be listed: the API server did not answer \
                   within 10 s";
    assert_eq!(store.problem("other").as_deref(), Some(refused));
    assert_eq!((store.problem("ns"), store.next_listing()), (None, None));
    store.retry(&listing);
    let listing = store.next_listing().unwrap();
    store.complete(&listing);
    assert_eq!(store.problem("other"), None);
    assert_eq!(store.unmanaged().len(), 1);

    drop(other);
    let _other = store.follow("other");
    store.complete(&listing);
    assert_eq!(store.problem("other").as_deref(), Some(not_there), "the listing is an old one");
    store.begin_listing();
    store.end_listing(&Listed::new());
    assert_eq!(store.problem("other"), None, "the whole cluster was listed");
}

/// Thousands of pods had their labels and ports each for itself.
#[test]
fn pods_of_a_template_share_what_it_gives_them() {
    let (store, _following) = store();
    for (name, app) in [("a-0", "a"), ("a-1", "a"), ("b-0", "b")] {
        store.apply(Pod::serving(name, app));
    }
    let of = |app: &str| view(&store, app).members();
    let (a, b) = (of("app=a"), of("app=b"));
    assert!(Arc::ptr_eq(&a["a-0"].labels, &a["a-1"].labels));
    assert!(Arc::ptr_eq(&a["a-0"].ports, &b["b-0"].ports));
    assert_eq!(b["b-0"].labels["app"], "b", "and nothing else");
    // The key of its page has the UID, and stays as it is when the pod changes.
    store.apply(Pod { restarts: 1, ..Pod::serving("b-0", "b") });
    let later = of("app=b");
    assert_eq!(later["b-0"].restarts, 1);
    assert!(Arc::ptr_eq(&later["b-0"].uid, &b["b-0"].uid));
}

/// Selectors are compared with all labels of such a pod, and nothing of it is kept.
#[test]
fn a_pod_that_is_too_large_is_held_out_of_its_view_and_of_no_other() {
    let (store, _following) = store();
    let mut views = ["app=a", "app=b", "!label-7"].map(|selector| view(&store, selector));
    let held_out = |views: &[PodView]| -> Vec<bool> {
        views.iter().map(|view| view.held_out().is_some()).collect()
    };
    let wide = Pod {
        ports: (0..300).map(|number| (format!("p{number}"), number)).collect(),
        ..Pod::serving("b-0", "b")
    };
    let long = Pod {
        annotations: BTreeMap::from([("size".to_owned(), "x".repeat(20_000))]),
        ..Pod::serving("c-0", "c")
    };
    // the pod; whether it is held out of each view
    let table = [
        (large("a-0", "a"), [true, false, false]),
        (Pod::serving("a-0", "a"), [false, false, false]),
        (large("a-0", "a"), [true, false, false]),
        (large("a-0", "b"), [false, true, false]),
        (wide, [false, true, true]),
        (long, [false, true, true]),
    ];
    for (pod, expected) in table {
        let is_member = !is_large(&pod);
        let name = pod.name.clone();
        store.apply(pod);
        assert_eq!(held_out(&views), expected, "{name}");
        assert_eq!(names(&mut views[0]).contains(&name), is_member, "{name}");
    }
    let is_bare = |pod: &Pod| pod.labels.is_empty() && pod.ports.is_empty();
    assert!(store.lock().namespaces["ns"].stubs.iter().all(|kept| is_bare(&kept.pod)));
    assert_eq!(store.problem("ns"), None, "those who do not have it are not disturbed");
    for pod in ["a-0", "b-0", "c-0"] {
        store.delete("ns", pod);
    }
    assert_eq!(held_out(&views), [false; 3]);
}

fn is_large(pod: &Pod) -> bool {
    pod.labels.len() + pod.ports.len() + pod.annotations.len() > 10 || pod.name == "c-0"
}

/// The labels of a pod that is held out are forgotten, so a new selector needs them once more.
#[test]
fn a_new_view_beside_a_pod_that_is_held_out_waits_for_a_listing() {
    let (store, _following) = store();
    store.apply(large("a-0", "a"));
    let view = view(&store, "app=a");
    assert!(store.problem("ns").is_some());
    let listing = store.next_listing().unwrap();
    assert!(store.add_listed(&listing, large("a-0", "a")));
    store.complete(&listing);
    assert_eq!(store.problem("ns"), None);
    assert_eq!(view.held_out().map(|(pod, _)| pod).as_deref(), Some("a-0"));
}

/// The task that lists used to miss such a view, if it had looked for work a moment before.
#[test]
fn a_view_that_needs_a_listing_asks_for_it() {
    let (store, _following) = store();
    store.apply(large("a-0", "a"));
    let following = store.follow("ns");
    assert!(store.wanted().now_or_never().is_some());
    assert_eq!(store.next_listing(), None, "nothing has to be listed yet");
    let _view = store.add_view(following, selector::parse("app=a").unwrap());
    assert!(store.wanted().now_or_never().is_some());
    assert!(store.next_listing().is_some());
}

/// They were listed in the order of a hash map, so that a few could keep the others waiting.
#[test]
fn namespaces_are_listed_in_the_order_in_which_they_asked() {
    let (store, _following) = store();
    let names: Vec<String> = (0..20).map(|number| format!("ns-{number}")).collect();
    let mut held: Vec<_> = names.iter().map(|name| store.follow(name)).collect();
    let mut next = || store.next_listing().map(|listing| listing.namespace);
    assert_eq!(next().as_deref(), Some("ns-0"));
    // It begins anew, behind the others.
    held[0] = store.follow("other");
    held.push(store.follow("ns-0"));
    let expected = names[1..].iter().map(String::as_str).chain(["other", "ns-0"]);
    let found: Vec<_> = std::iter::from_fn(&mut next).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn a_pod_that_was_ready_before_it_was_held_out_is_known_to_have_been() {
    let (store, _following) = store();
    let mut view = view(&store, "app=a");
    let unready = || Pod { was_ready: false, ..Pod::serving("a-0", "a") };
    store.apply(Pod { was_ready: true, ..unready() });
    store.apply(Pod { was_ready: false, ..large("a-0", "a") });
    store.apply(unready());
    assert!(view.members()["a-0"].was_ready);
}

/// Pods by name, with the version of their last change.
type Pods = BTreeMap<String, i64>;

/// An API server with one namespace. Its watch and its listings come late and in parts.
struct Server {
    /// The pods at each version.
    history: Vec<Pods>,
    /// The changes that the watch tells next lead from this version to the next one.
    told: usize,
    /// The version up to which was told before the cluster was listed.
    told_before: usize,
    /// The pods of the whole cluster that are yet to come, and those that came.
    listing: Option<(Vec<Pod>, Listed)>,
    /// A listing of the namespace, with the pods that are yet to come; `None` before its answer.
    own: Option<(NamespaceListing, Option<Vec<Pod>>)>,
}

impl Server {
    fn now(&self) -> &Pods {
        self.history.last().unwrap()
    }

    fn snapshot(&self) -> Vec<Pod> {
        self.now().iter().map(|(name, version)| pod_at(name, *version)).collect()
    }

    fn change(&mut self, random: &mut fastrand::Rng) {
        let (mut pods, version) = (self.now().clone(), self.history.len());
        let name = format!("p{}", random.u8(0..4));
        if random.bool() || pods.remove(&name).is_none() {
            pods.insert(name, i64::try_from(version).unwrap());
        }
        self.history.push(pods);
    }

    /// The watch tells of one change.
    fn tell(&mut self, store: &PodStore) {
        if self.listing.is_some() || self.told + 1 >= self.history.len() {
            return;
        }
        let (before, after) = (&self.history[self.told], &self.history[self.told + 1]);
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            store.delete("ns", name);
        }
        for (name, version) in after.iter().filter(|(name, it)| before.get(*name) != Some(it)) {
            store.apply(pod_at(name, *version));
        }
        self.told += 1;
    }

    /// The watch has expired, and lists anew: it begins, goes on or ends.
    fn list(&mut self, store: &PodStore) {
        let Some((left, listed)) = &mut self.listing else {
            store.begin_listing();
            (self.told_before, self.told) = (self.told, self.history.len() - 1);
            self.listing = Some((self.snapshot(), Listed::new()));
            return;
        };
        if let Some(pod) = left.pop() {
            let name = pod.name.clone();
            if store.apply(pod) {
                listed.entry("ns".to_owned()).or_default().insert(name);
            }
        } else {
            store.end_listing(listed);
            self.listing = None;
        }
    }

    /// The listing of the namespace begins, is answered, goes on or ends.
    fn list_namespace(&mut self, store: &PodStore) {
        let snapshot = self.snapshot();
        match &mut self.own {
            None => self.own = store.next_listing().map(|listing| (listing, None)),
            Some((_, pods @ None)) => *pods = Some(snapshot),
            Some((listing, Some(pods))) => {
                let pod = pods.pop();
                let is_last = pod.is_none();
                if is_last {
                    store.complete(listing);
                }
                if is_last || pod.is_some_and(|pod| !store.add_listed(listing, pod)) {
                    self.own = None;
                }
            }
        }
    }

    /// Everything is told and listed at last.
    fn settle(&mut self, store: &PodStore) {
        while self.listing.is_some() {
            self.list(store);
        }
        while self.told + 1 < self.history.len() {
            self.tell(store);
        }
        (0..20).for_each(|_| self.list_namespace(store));
    }
}

fn pod_at(name: &str, version: i64) -> Pod {
    Pod { restarts: version, ..Pod::serving(name, "a") }
}

/// Whatever comes first, a complete view has each pod as it was at some moment since that up to
/// which the watch has told, and at last as it is.
#[test]
fn a_complete_view_is_never_older_than_the_watch() {
    let mut compared = 0;
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (store, following) = store();
        drop(following);
        let history = vec![Pods::new()];
        let mut server = Server { history, told: 0, told_before: 0, listing: None, own: None };
        let mut held = None;
        for step in 0..100 {
            match random.u8(0..16) {
                0..5 => server.change(&mut random),
                5..8 => server.tell(&store),
                8 => server.list(&store),
                9..11 if server.listing.is_some() => server.list(&store),
                9..14 => server.list_namespace(&store),
                14 if random.bool() => held = None,
                _ => held = held.or_else(|| Some(view(&store, "app=a"))),
            }
            let Some(view) = held.as_mut().filter(|_| store.problem("ns").is_none()) else {
                continue;
            };
            compared += 1;
            let told = if server.listing.is_some() { server.told_before } else { server.told };
            let members = view.members();
            for name in ["p0", "p1", "p2", "p3"] {
                let seen = members.get(name).map(|pod| pod.restarts);
                let was = |pods: &Pods| pods.get(name).copied() == seen;
                let found = server.history[told..].iter().any(was);
                assert!(found, "seed {seed}, step {step}: {name} is {seen:?}");
            }
        }
        let mut view = held.unwrap_or_else(|| view(&store, "app=a"));
        server.settle(&store);
        assert_eq!(store.problem("ns"), None, "seed {seed}");
        let members = view.members();
        let seen = members.iter().map(|(name, pod)| (name.clone(), pod.restarts));
        assert_eq!(&seen.collect::<Pods>(), server.now(), "seed {seed}");
    }
    assert!(compared > 20_000, "{compared}");
}
