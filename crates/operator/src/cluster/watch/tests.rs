use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU16, Ordering::Relaxed},
};

use k8s_openapi::api::core::v1::Pod;
use llm_autoscaler_core::Monotonic;
use serde_json::{Value, json};

use super::*;
use crate::{
    kube_api::stand_in::{Answer, Received, StandIn, until},
    lock::lock,
};

/// The state of the API server in which it answers.
const WORKS: u16 = 200;
/// The state in which it answers nothing.
const HANGS: u16 = 0;

fn pod(name: &str, version: &str) -> Value {
    let metadata = json!({"name": name, "namespace": "ns", "resourceVersion": version});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
}

fn change(type_: &str, object: &Value) -> Value {
    json!({"type": type_, "object": object})
}

fn expired() -> Value {
    change("ERROR", &json!({"kind": "Status", "code": 410, "message": "too old", "reason": ""}))
}

fn listing(pods: &[Value], version: &str, next: &str) -> Answer {
    let metadata = json!({"resourceVersion": version, "continue": next});
    let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": pods});
    Answer::Json(200, list)
}

fn health() -> (WatchHealth, Clock) {
    let clock = Clock::start();
    (WatchHealth::new("pods", clock), clock)
}

/// Follows the pods with limits of milliseconds, and records what it is told.
fn follow(api: &StandIn, health: &WatchHealth, clock: Clock) -> Arc<Mutex<Vec<String>>> {
    let ms = Duration::from_millis;
    let (pods, supervisor) = (Api::all(api.client.clone()), Supervisor::impatient());
    let mut watch = Watch::<Pod>::new(pods, health.clone(), clock, supervisor);
    watch.limits = Limits { page: ms(50), begin: ms(50), silence: ms(50), shortest: ms(0) };
    watch.backoff = Backoff::new(ms(1), ms(10));
    let told = Arc::<Mutex<Vec<String>>>::default();
    let log = told.clone();
    let take = move |event: Event<Pod>| {
        let event = event.to_string();
        assert!(!event.contains("poison"), "a test asked for it");
        lock(&log).push(event);
    };
    #[expect(clippy::disallowed_methods, reason = "a panic fails the test")]
    tokio::spawn(watch.follow(take));
    told
}

/// The moment at which the tolerance for anything that began by now has ended.
fn after_tolerance(clock: Clock) -> Monotonic {
    Monotonic(clock.monotonic().0 + Duration::from_secs(31))
}

#[tokio::test]
async fn a_listing_is_followed_from_its_version_and_from_bookmarks() {
    let api = StandIn::start(|request: &Received| {
        let from = |version: &str| request.path.contains(&format!("resourceVersion={version}"));
        if !request.is_watch() {
            return if request.path.contains("continue=more") {
                listing(&[pod("b", "2")], "5", "")
            } else {
                listing(&[pod("a", "1")], "5", "more")
            };
        }
        if from("5") {
            let marked = json!({"kind": "Pod", "apiVersion": "v1", "metadata":
                {"resourceVersion": "9"}});
            return Answer::Changes(vec![
                change("ADDED", &pod("c", "6")),
                change("DELETED", &pod("a", "7")),
                change("BOOKMARK", &marked),
            ]);
        }
        Answer::Silence(vec![])
    })
    .await;
    let (health, clock) = health();
    let told = follow(&api, &health, clock);
    let resumed = || !api.received(|request| request.path.contains("resourceVersion=9")).is_empty();
    until("the watch to go on from its bookmark", resumed).await;
    let expected = ["Init", "InitApply(a)", "InitApply(b)", "InitDone", "Apply(c)", "Delete(a)"];
    let mut told = lock(&told).clone();
    // On a busy machine a listing may take too long, and is begun again.
    told.dedup();
    assert_eq!(told, expected);
    assert_eq!(health.problem(), None);
}

/// A pod of one tenant must not end the watch of all pods.
#[tokio::test]
async fn an_object_at_which_the_operator_panics_is_left_out() {
    let api = StandIn::start(|request: &Received| {
        if request.is_watch() {
            let changes =
                vec![change("ADDED", &pod("poison", "6")), change("ADDED", &pod("b", "7"))];
            return Answer::Silence(changes);
        }
        listing(&[pod("poison", "1"), pod("a", "2")], "5", "")
    })
    .await;
    let (health, clock) = health();
    let told = follow(&api, &health, clock);
    until("the last pod", || lock(&told).iter().any(|told| told == "Apply(b)")).await;
    assert_eq!(*lock(&told), ["Init", "InitApply(a)", "InitDone", "Apply(b)"]);
    assert_eq!(health.problem(), None);
}

/// A watch that has expired begins with a listing. Where that is refused or never answered, its
/// beginning used to count as a sign of life, and the operator went on by the pods of long ago.
#[tokio::test]
async fn a_watch_that_cannot_list_is_a_problem() {
    for broken in [403, 500, HANGS] {
        let state = Arc::new(AtomicU16::new(WORKS));
        let answers = state.clone();
        let api = StandIn::start(move |request: &Received| match answers.load(Relaxed) {
            WORKS if request.is_watch() => Answer::Silence(vec![]),
            WORKS => listing(&[pod("a", "1")], "5", ""),
            _ if request.is_watch() => Answer::Changes(vec![expired()]),
            HANGS => Answer::Never,
            code => Answer::refusal(code),
        })
        .await;
        let (health, clock) = health();
        let told = follow(&api, &health, clock);
        until("the first listing", || lock(&told).iter().any(|told| told == "InitDone")).await;
        state.store(broken, Relaxed);
        let begun = || lock(&told).iter().filter(|told| *told == "Init").count() >= 4;
        until("three listings to fail", begun).await;
        assert_eq!(health.problem(), None, "it is tolerated for a while");
        let problem = health.problem_at(after_tolerance(clock)).unwrap();
        assert!(problem.starts_with("the pods of the cluster cannot be watched: "), "{problem}");

        state.store(WORKS, Relaxed);
        let works = || health.problem_at(after_tolerance(clock)).is_none();
        until("the watch to recover", works).await;
    }
}

#[tokio::test]
async fn a_watch_that_is_refused_is_a_problem_and_lists_nothing_again() {
    for broken in [403, 500, HANGS] {
        let api = StandIn::start(move |request: &Received| match broken {
            _ if !request.is_watch() => listing(&[], "5", ""),
            HANGS => Answer::Never,
            code => Answer::refusal(code),
        })
        .await;
        let (health, clock) = health();
        let _told = follow(&api, &health, clock);
        until("three watches to fail", || api.received(Received::is_watch).len() > 3).await;
        assert!(health.problem_at(after_tolerance(clock)).is_some(), "{broken}");
        assert_eq!(api.received(|request| !request.is_watch()).len(), 1, "{broken}");
    }
}

#[test]
fn an_api_server_in_trouble_is_not_listed_more_than_ten_times_in_two_minutes() {
    for _ in 0..100 {
        let (mut backoff, mut waited) = (WAITS, Duration::ZERO);
        let mut attempts = 0;
        while waited < Duration::from_mins(2) {
            attempts += 1;
            waited += backoff.next();
        }
        assert!(attempts <= 10, "{attempts}");
    }
}
