use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};

use super::*;
use crate::{
    kube_api::stand_in::{Answer, Received, StandIn, until},
    lease::Leases,
    reconcile::tasks::tests::{context_of, object},
};

/// The number of namespaces, which is that of autoscalers. A first page has 50, and the last
/// namespace of a page may go on with the next one.
const ALL: usize = 60;
/// The namespaces that are complete with the first page.
const PASSED: Range<usize> = 0..49;

/// The answer to the second page of a listing of metadata.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecondPage {
    Given,
    Never,
    /// The first time it is refused as expired.
    Expired,
}

fn namespace(number: usize) -> String {
    format!("ns-{number:02}")
}

/// An API server with an autoscaler in each namespace, and the copy of the operator that is to
/// take them over.
struct Scene {
    api: StandIn,
    leases: Leases,
    context: Arc<Context>,
    tasks: Mutex<Tasks>,
}

impl Scene {
    /// The autoscalers have this version at the API server, and the watch has told of version 9.
    async fn new(buckets: usize, second: SecondPage, version: fn(usize) -> &'static str) -> Self {
        let expired = AtomicUsize::new(0);
        let api = StandIn::start(move |request: &Received| {
            if request.method == "PATCH" {
                return Answer::Json(200, request.body.clone());
            }
            if !request.path.starts_with("/apis/llmautoscaler.io/v1alpha1/llmautoscalers?") {
                return Answer::refusal(404);
            }
            let first = request.number("continue").unwrap_or(0);
            let is_second = request.is_for_metadata() && first > 0;
            match second {
                SecondPage::Never if is_second => return Answer::Never,
                SecondPage::Expired if is_second && expired.fetch_add(1, Relaxed) == 0 => {
                    return Answer::refusal(410);
                }
                _ => {}
            }
            let end = ALL.min(first + request.number("limit").unwrap());
            let items: Vec<Value> = (first..end).map(|number| stored(number, version)).collect();
            let next = if end < ALL { end.to_string() } else { String::new() };
            Answer::Json(200, json!({"metadata": {"continue": next}, "items": items}))
        })
        .await;
        let leases = Leases::by_hand(buckets);
        let context = context_of(&api, &leases);
        context.autoscalers.record_listing();
        let tasks = Mutex::new(Tasks::new(context.clone()));
        (0..ALL).for_each(|number| lock(&tasks).apply(object(&namespace(number), "9", 1)));
        (0..buckets).for_each(|bucket| leases.give(bucket));
        Self { api, leases, context, tasks }
    }

    /// Takes these buckets over until something is true.
    async fn take_over(&self, buckets: &[usize], what: &str, is_true: impl Fn() -> bool) {
        let stored = Stored { client: &self.api.client, namespace: None };
        let taken = take_over(&self.context, &self.tasks, stored, buckets);
        tokio::select! {
            biased;
            () = until(what, is_true) => {}
            () = async { taken.await; std::future::pending().await } => {}
        }
    }

    fn count(&self) -> usize {
        lock(&self.tasks).count()
    }

    /// Returns the buckets that are yet to be taken over.
    fn gained(&self) -> Vec<usize> {
        lock(&self.tasks).leave_lost(&self.leases.changes().borrow().clone())
    }

    /// Returns the statuses that were written in a namespace.
    fn statuses(&self, number: usize) -> Vec<Value> {
        let path = format!("/namespaces/{}/llmautoscalers/x/status", namespace(number));
        let its = |request: &Received| request.method == "PATCH" && request.path.contains(&path);
        self.api.received(its).into_iter().map(|request| request.body).collect()
    }

    fn whole_listings(&self) -> usize {
        let is_whole = |request: &Received| {
            request.path.contains("/llmautoscalers?") && !request.is_for_metadata()
        };
        self.api.received(is_whole).len()
    }
}

/// Returns an autoscaler as the API server has it: a version later than the 9th has another size in
/// its status.
fn stored(number: usize, version: fn(usize) -> &'static str) -> Value {
    let version = version(number);
    let desired = if version == "9" { 1 } else { 2 };
    let DeserializeGuard(object) = object(&namespace(number), version, desired);
    serde_json::to_value(object.unwrap()).unwrap()
}

#[tokio::test]
async fn a_namespace_is_served_when_the_listing_has_passed_it() {
    let scene = Scene::new(1, SecondPage::Never, |_| "9").await;
    scene.take_over(&[0], "the first page", || scene.count() == PASSED.len()).await;
    until("a status", || !scene.statuses(0).is_empty()).await;
    assert_eq!(scene.whole_listings(), 0, "the watch has told everything");
    assert!(scene.statuses(PASSED.end).is_empty());
    // One that comes meanwhile waits where its namespace does, and begins elsewhere.
    let key = |number| (namespace(number), "x".to_owned());
    for number in [3, 55] {
        lock(&scene.tasks).remove(&key(number));
        lock(&scene.tasks).apply(object(&namespace(number), "12", 1));
    }
    assert_eq!(scene.count(), PASSED.len());
    assert_eq!(scene.gained(), [0], "it is not served as a whole");
}

#[tokio::test]
async fn a_listing_that_fails_halfway_is_begun_again_and_what_is_served_goes_on() {
    let scene = Scene::new(1, SecondPage::Expired, |_| "9").await;
    scene.take_over(&[0], "all tasks", || scene.count() == ALL).await;
    let first_pages = |request: &Received| {
        request.path.contains("/llmautoscalers?") && request.number("continue").is_none()
    };
    assert_eq!(scene.api.received(first_pages).len(), 2);
    until("a status", || !scene.statuses(0).is_empty()).await;
    assert_eq!(scene.statuses(0).len(), 1, "its task was started once");
    assert!(scene.gained().is_empty());
}

/// The old holder has written statuses a moment ago, and the watch has not shown them yet.
#[tokio::test]
async fn autoscalers_of_a_page_that_the_watch_is_behind_with_are_listed_whole() {
    let later = |number: usize| if number == 52 { "10" } else { "9" };
    let scene = Scene::new(1, SecondPage::Given, later).await;
    let is_written = || [1, 52].iter().all(|number| !scene.statuses(*number).is_empty());
    scene.take_over(&[0], "two statuses", is_written).await;
    assert_eq!(scene.statuses(1)[0]["status"]["desiredReplicas"], 1);
    let status = &scene.statuses(52)[0];
    assert_eq!(status["metadata"]["resourceVersion"], "10");
    assert_eq!(status["status"]["desiredReplicas"], 2);
    assert_eq!(scene.whole_listings(), 1, "its own page, and no other");
}

/// It was created a moment ago, and the old holder has written its status already.
#[tokio::test]
async fn an_autoscaler_that_the_watch_tells_of_late_begins_with_what_was_listed() {
    let scene =
        Scene::new(1, SecondPage::Given, |number| if number == 7 { "11" } else { "9" }).await;
    let key = (namespace(7), "x".to_owned());
    lock(&scene.tasks).remove(&key);
    scene.take_over(&[0], "the others", || scene.count() == ALL - 1).await;
    // Another Lease may come meanwhile.
    lock(&scene.tasks).begin_taking_over();
    lock(&scene.tasks).apply(object(&key.0, "9", 1));
    assert_eq!(scene.count(), ALL - 1, "what was remembered in version 11 is not known yet");
    lock(&scene.tasks).apply(object(&key.0, "11", 2));
    assert_eq!(scene.count(), ALL);
    until("its status", || !scene.statuses(7).is_empty()).await;
    assert_eq!(scene.statuses(7)[0]["status"]["desiredReplicas"], 2);
}

#[tokio::test]
async fn a_lease_that_is_lost_halfway_ends_what_was_begun_and_leaves_other_buckets_alone() {
    let scene = Scene::new(2, SecondPage::Never, |_| "9").await;
    let of = |bucket: usize| {
        let its = |number: &usize| scene.leases.bucket(&namespace(*number)) == bucket;
        PASSED.filter(its).count()
    };
    assert!(of(0) > 0 && of(1) > 0);
    scene.take_over(&[0], "the first page", || scene.count() == of(0)).await;
    // Another Lease comes: what has begun goes on.
    assert_eq!((scene.gained(), scene.count()), (vec![0, 1], of(0)));
    scene.take_over(&[0, 1], "the first page", || scene.count() == PASSED.len()).await;
    scene.leases.take(0);
    assert_eq!((scene.gained(), scene.count()), (vec![1], of(1)));
    // Another copy may have served in between: everything is compared once more.
    scene.leases.take(1);
    scene.leases.give(1);
    assert_eq!((scene.gained(), scene.count()), (vec![1], 0));
    let number = PASSED.clone().find(|it| scene.leases.bucket(&namespace(*it)) == 1).unwrap();
    lock(&scene.tasks).remove(&(namespace(number), "x".to_owned()));
    lock(&scene.tasks).apply(object(&namespace(number), "12", 1));
    assert_eq!(scene.count(), 0, "its namespace is not served any more");
}

#[test]
fn a_namespace_is_passed_when_another_one_follows() {
    let mut passed = Passed::default();
    let mut take = |namespaces: &[&str]| passed.take(namespaces.iter().copied());
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    // As the API server orders them: by "a-b/x" and "a/x".
    assert_eq!(take(&["a-b", "a-b", "a"]), set(&["a-b"]));
    assert_eq!(take(&["a", "a"]), set(&[]));
    assert_eq!(take(&[]), set(&[]));
    assert_eq!(take(&["b", "c", "c"]), set(&["a", "b"]));
}
