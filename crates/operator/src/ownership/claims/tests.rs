mod waits;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Poll, Wake, Waker},
};

use chrono::DateTime;
use k8s_openapi::api::core::v1 as core;
use llm_autoscaler_api::selector;
use llm_autoscaler_observe::pod::Pod;
use serde_json::{Value, json};

use super::*;

fn claimant(namespace: &str, name: &str, second: i64) -> Arc<Claimant> {
    Arc::new(Claimant {
        created: DateTime::from_timestamp(second, 0).unwrap(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{name}-{second}"),
        role: None,
    })
}

/// Registers a claimant, as an autoscaler that searches for its target.
fn guard(claims: &Claims, namespace: &str, name: &str, second: i64) -> ClaimGuard {
    let claimant = claimant(namespace, name, second);
    claims.lock().set(&claimant, Claim::Searching);
    ClaimGuard { claims: claims.clone(), claimant, owner_at: AtomicU64::new(0) }
}

fn target(uid: &str, selector: &str) -> Claim {
    Claim::Target { uid: uid.to_owned(), selector: selector::parse(selector).ok() }
}

fn register(claims: &[(Arc<Claimant>, Claim)]) -> Register {
    let mut register = Register { is_complete: true, ..Register::default() };
    for (claimant, claim) in claims {
        register.set(claimant, claim.clone());
    }
    register
}

#[test]
fn the_oldest_keeps_a_target() {
    let mine = || (claimant("ns", "m", 5), target("t", "a=1"));
    let taken = || Ownership::TakenBy("other".to_owned());
    // the other claimant and its claim; the answer to ours
    let table = [
        (claimant("ns", "other", 4), target("t", "a=1"), taken()),
        (claimant("ns", "other", 6), target("t", "a=1"), Ownership::Owner),
        // Autoscalers of one age are ordered by name.
        (claimant("ns", "a", 5), target("t", ""), Ownership::TakenBy("a".to_owned())),
        (claimant("ns", "z", 5), target("t", ""), Ownership::Owner),
        // Another target, another namespace.
        (claimant("ns", "other", 4), target("u", "a=1"), Ownership::Owner),
        (claimant("elsewhere", "other", 4), target("t", "a=1"), Ownership::Owner),
        // An older one that still searches may turn out to be the owner; a younger one cannot.
        (claimant("ns", "other", 4), Claim::Searching, Ownership::Unsettled),
        (claimant("ns", "other", 6), Claim::Searching, Ownership::Owner),
        (claimant("ns", "other", 4), Claim::Nothing, Ownership::Owner),
        // An older one that only recommends leaves the target to others.
        (claimant("ns", "other", 4), Claim::Beside { uid: "t".to_owned() }, Ownership::Owner),
    ];
    for (other, claim, expected) in table {
        let register = register(&[mine(), (other.clone(), claim.clone())]);
        assert_eq!(register.ownership(&mine().0), expected, "{other:?} {claim:?}");
    }
}

#[test]
fn a_target_has_no_owner_before_all_autoscalers_are_registered() {
    let mine = claimant("ns", "m", 5);
    let mut register = register(&[(mine.clone(), target("t", "a=1"))]);
    register.is_complete = false;
    assert_eq!(register.ownership(&mine), Ownership::Unsettled);
    register.set(&claimant("ns", "older", 1), target("t", "a=1"));
    assert_eq!(register.ownership(&mine), Ownership::TakenBy("older".to_owned()));
}

#[test]
fn the_next_oldest_takes_over_when_the_owner_goes() {
    let [first, second, third] =
        [("a", 3), ("b", 1), ("c", 2)].map(|(name, at)| claimant("ns", name, at));
    let all = [&first, &second, &third];
    let mut register = register(&all.map(|claimant| (claimant.clone(), target("t", ""))));
    let owners =
        |register: &Register| all.map(|claimant| register.ownership(claimant) == Ownership::Owner);
    assert_eq!(owners(&register), [false, true, false]);
    register.remove(&second);
    assert_eq!(owners(&register), [false, false, true]);
    register.set(&third, Claim::Nothing);
    assert_eq!(owners(&register), [true, false, false]);
}

/// Returns one pod with these labels.
fn pods(labels: &Value) -> Members {
    let pod = json!({
        "metadata": {
            "name": "p", "namespace": "ns", "uid": "p", "labels": labels,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": []},
    });
    let pod = Pod::of(&serde_json::from_value::<core::Pod>(pod).unwrap()).unwrap();
    Arc::new(BTreeMap::from([("p".to_owned(), Arc::new(pod))]))
}

#[test]
fn two_targets_with_the_same_pods_overlap() {
    let pods = pods(&json!({"app": "a", "tier": "x"}));
    let mine = claimant("ns", "m", 5);
    let table = [
        (claimant("ns", "other", 9), target("u", "tier=x"), vec!["other".to_owned()]),
        (claimant("ns", "other", 9), target("u", "tier=y"), Vec::new()),
        (claimant("elsewhere", "other", 9), target("u", "tier=x"), Vec::new()),
        // Another autoscaler of this target: age decides, not pods.
        (claimant("ns", "other", 9), target("t", "app=a"), Vec::new()),
        (claimant("ns", "other", 9), Claim::Nothing, Vec::new()),
    ];
    for (other, claim, expected) in table {
        let register = register(&[(mine.clone(), target("t", "app=a")), (other, claim.clone())]);
        assert_eq!(register.overlapping(&mine, &pods), expected, "{claim:?}");
    }
}

#[test]
fn overlapping_targets_are_found_once_claims_or_pods_change() {
    let claims = Claims::default();
    let [mine, other] = [("a", 1), ("b", 2)].map(|(name, at)| guard(&claims, "ns", name, at));
    let selector = |labels| selector::parse(labels).ok();
    mine.claim("t", selector("app=a"));
    let (mut known, one) = (Overlapping::default(), pods(&json!({"app": "a", "tier": "x"})));
    // Returns the names, and whether they are those of another comparison.
    let mut found = |pods: &Members| {
        known.names.push("marked".to_owned());
        mine.find_overlapping(pods, &mut known);
        let is_remembered = known.names.pop_if(|name| name == "marked").is_some();
        (known.names.clone(), !is_remembered)
    };
    let b = || vec!["b".to_owned()];
    assert_eq!(found(&one), (Vec::new(), true));
    other.claim("u", selector("tier=x"));
    assert_eq!(found(&one), (b(), true));
    assert_eq!(found(&one), (b(), false));
    assert_eq!(found(&pods(&json!({"app": "a"}))), (Vec::new(), true), "other pods");
    assert_eq!(found(&one), (b(), true));
    other.release();
    assert_eq!(found(&one), (Vec::new(), true));
}

#[test]
fn a_dropped_claim_is_removed() {
    let claims = Claims::default();
    claims.complete_listing();
    let spec = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {
            "name": "a", "namespace": "ns", "uid": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "engine": "VLLM", "maxReplicas": 3, "metrics": [],
        },
    });
    let older: LLMAutoscaler = serde_json::from_value(spec).unwrap();
    let mut younger = older.clone();
    younger.metadata.name = Some("b".to_owned());
    let (first, second) = (claims.register(&older, None), claims.register(&younger, None));
    second.claim("t", None);
    assert_eq!(second.ownership(), Ownership::Unsettled);
    first.end_search();
    assert_eq!(second.ownership(), Ownership::Owner);
    first.claim("t", None);
    first.end_search();
    assert_eq!(second.ownership(), Ownership::TakenBy("a".to_owned()));
    drop(first);
    assert_eq!(second.ownership(), Ownership::Owner);
    drop(second);
    assert!(claims.lock().namespaces.is_empty());
}

/// Ten thousand autoscalers that begin together wait for older ones of their namespaces. If each
/// claim woke all of them, the start would take their number squared.
#[test]
fn a_claim_wakes_those_that_wait_in_its_own_namespace_only() {
    let claims = Claims::default();
    claims.complete_listing();
    let guard = |namespace, name, second| guard(&claims, namespace, name, second);
    let (first, second) = (guard("a", "first", 1), guard("a", "second", 2));
    let (other, last) = (guard("b", "other", 1), guard("b", "last", 2));
    second.claim("t", None);
    let wakes = count_wakes();
    let mut settled = std::pin::pin!(second.settled_ownership());
    let mut poll = || settled.as_mut().poll(&mut std::task::Context::from_waker(&wakes.0));
    assert!(poll().is_pending());
    other.claim("u", None);
    drop(last);
    assert_eq!(wakes.1.0.load(Ordering::Relaxed), 0, "claims of another namespace");
    first.claim("u", None);
    assert_eq!(wakes.1.0.load(Ordering::Relaxed), 1);
    assert_eq!(poll(), Poll::Ready(Ownership::Owner));
}

/// The number of times that a task was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn count_wakes() -> (Waker, Arc<Wakes>) {
    let wakes = Arc::new(Wakes::default());
    (Waker::from(wakes.clone()), wakes)
}

/// An owner is not sought again while no claim of its namespace changes.
#[test]
fn an_owner_is_one_until_a_claim_of_its_namespace_changes() {
    let claims = Claims::default();
    claims.complete_listing();
    let guard = |namespace, name, second| guard(&claims, namespace, name, second);
    let mine = guard("ns", "m", 5);
    mine.claim("t", None);
    for _ in 0..2 {
        assert_eq!(mine.ownership(), Ownership::Owner);
    }
    let elsewhere = guard("elsewhere", "older", 1);
    elsewhere.claim("t", None);
    assert_eq!(mine.ownership(), Ownership::Owner);
    let older = guard("ns", "older", 1);
    assert_eq!(mine.ownership(), Ownership::Unsettled);
    older.claim("t", None);
    assert_eq!(mine.ownership(), Ownership::TakenBy("older".to_owned()));
    drop(older);
    assert_eq!(mine.ownership(), Ownership::Owner);
    mine.release();
    assert_eq!(mine.ownership(), Ownership::Unsettled);
}
