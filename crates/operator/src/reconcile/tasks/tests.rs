use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use llm_autoscaler_api::SchemaDifference;
use serde_json::{Value, json};

use super::*;
use crate::{
    Config, context,
    kube_api::stand_in::{Answer, Received, StandIn, until},
    lease::Leases,
    schema::InstalledSchema,
};

/// The number of buckets, each with one of the namespaces `a` and `b`.
const BUCKETS: usize = 2;

/// Returns an autoscaler `x` with a status that has a size.
pub(in crate::reconcile) fn object(
    namespace: &str,
    version: &str,
    desired: i32,
) -> DeserializeGuard<LLMAutoscaler> {
    let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x"});
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {
            "name": "x", "namespace": namespace, "uid": namespace, "generation": 1,
            "resourceVersion": version,
        },
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, "engine": "VLLM", "metrics": [{
            "signal": "WaitingRequests", "target": {"type": "AverageValue", "averageValue": "5"},
        }]},
        "status": {"desiredReplicas": desired},
    });
    serde_json::from_value(object).unwrap()
}

fn tasks(api: &StandIn, leases: &Leases) -> Tasks {
    Tasks::new(context_of(api, leases))
}

/// Returns the context of a copy of the operator with these Leases.
pub(in crate::reconcile) fn context_of(api: &StandIn, leases: &Leases) -> Arc<Context> {
    let mut context = context(&Config::of_tests(), &api.client, &api.client).unwrap();
    // No first listing of the pods is under way.
    context.sampling.pods.health().record_failure("no watch".to_owned());
    context.leases = leases.clone();
    let status = Arc::get_mut(&mut context.status).unwrap();
    status.leases = leases.clone();
    // Nothing looks at the installed CRD here, and a first status would wait for that.
    status.schema = InstalledSchema::of_tests(api.client.clone(), SchemaDifference::default());
    Arc::new(context)
}

async fn api() -> StandIn {
    StandIn::start(|request: &Received| match request.method.as_str() {
        "PATCH" => Answer::Json(200, request.body.clone()),
        _ => Answer::refusal(404),
    })
    .await
}

/// Returns the bodies of the statuses that were written in a namespace.
fn statuses(api: &StandIn, namespace: &str) -> Vec<Value> {
    let path = format!("/namespaces/{namespace}/llmautoscalers/x/status");
    let writes = api.received(|request| request.method == "PATCH" && request.path.contains(&path));
    writes.into_iter().map(|write| write.body).collect()
}

fn held(leases: &Leases) -> Vec<bool> {
    leases.changes().borrow().to_vec()
}

#[tokio::test]
async fn a_task_runs_where_the_lease_is_held_and_ends_with_it() {
    let (api, leases) = (api().await, Leases::by_hand(BUCKETS));
    let mut tasks = tasks(&api, &leases);
    let (a, b) = (leases.bucket("a"), leases.bucket("b"));
    assert_ne!(a, b);
    for namespace in ["a", "b"] {
        tasks.apply(object(namespace, "1", 1));
        let key = AutoscalerKey { namespace: namespace.to_owned(), name: "x".to_owned() };
        assert!(tasks.context.wake.is_known(&key), "a call may reach any copy");
    }
    assert_eq!((tasks.count(), tasks.leave_lost(&held(&leases))), (0, vec![]));
    leases.give(a);
    assert_eq!(tasks.leave_lost(&held(&leases)), [a]);
    tasks.serve(&[a]);
    assert_eq!((tasks.count(), tasks.leave_lost(&held(&leases))), (1, vec![]));
    until("the status of a", || !statuses(&api, "a").is_empty()).await;
    assert!(statuses(&api, "b").is_empty());

    leases.give(b);
    leases.take(a);
    assert_eq!(tasks.leave_lost(&held(&leases)), [b]);
    tasks.serve(&[b]);
    assert_eq!(tasks.count(), 1);
    while tasks.are_ending() {
        tokio::task::yield_now().await;
    }
    // A new one of a namespace that is not served stands by.
    tasks.remove(&("a".to_owned(), "x".to_owned()));
    tasks.apply(object("a", "2", 1));
    assert_eq!(tasks.count(), 1);
}

/// Another copy may have served in between, although the Lease was never seen to be lost.
#[tokio::test]
async fn a_lease_that_was_lost_and_won_between_two_looks_ends_the_tasks_too() {
    let (api, leases) = (api().await, Leases::by_hand(BUCKETS));
    let mut tasks = tasks(&api, &leases);
    let bucket = leases.bucket("a");
    leases.give(bucket);
    tasks.serve(&[bucket]);
    tasks.apply(object("a", "1", 1));
    assert_eq!((tasks.count(), tasks.leave_lost(&held(&leases))), (1, vec![]));
    leases.take(bucket);
    leases.give(bucket);
    assert_eq!((tasks.leave_lost(&held(&leases)), tasks.count()), (vec![bucket], 0));
}

/// The old holder has written the status a moment ago, and the watch has not shown it yet.
#[tokio::test]
async fn a_task_begins_with_the_latest_status_and_an_older_one_of_the_watch_is_left_out() {
    let (api, leases) = (api().await, Leases::by_hand(BUCKETS));
    let mut tasks = tasks(&api, &leases);
    let bucket = leases.bucket("a");
    tasks.apply(object("a", "9", 1));
    tasks.refresh(object("a", "10", 2));
    // The watch is behind.
    tasks.apply(object("a", "9", 1));
    tasks.refresh(object("b", "1", 1));
    leases.give(bucket);
    tasks.serve(&[bucket]);
    until("the status", || !statuses(&api, "a").is_empty()).await;
    let body = &statuses(&api, "a")[0];
    assert_eq!(body["metadata"]["resourceVersion"], "10");
    assert_eq!(body["status"]["desiredReplicas"], 2);
    assert_eq!(tasks.count(), 1, "what the watch has not told of is left to it");
}

#[tokio::test]
async fn one_that_is_too_much_is_told_so_by_the_copy_that_serves_its_namespace() {
    let (api, leases) = (api().await, Leases::by_hand(BUCKETS));
    let mut tasks = tasks(&api, &leases);
    let bucket = leases.bucket("a");
    tasks.apply(object("a", "1", 1));
    let mut second = object("a", "2", 1);
    if let Ok(second) = &mut second.0 {
        (second.metadata.name, second.metadata.uid) = (Some("y".into()), Some("y".into()));
    }
    tasks.apply(second);
    let told = || api.received(|request| request.path.contains("/llmautoscalers/y/status")).len();
    leases.give(bucket);
    tasks.serve(&[bucket]);
    until("it to be told", || told() == 1).await;
    assert_eq!(tasks.count(), 1);
}

/// A single failure used to leave the former status there, perhaps `Ready=True`.
#[tokio::test]
async fn the_status_of_an_autoscaler_that_waits_is_written_until_it_is_there() {
    let failures = AtomicUsize::new(1);
    let api = StandIn::start(move |request: &Received| {
        let is_status = request.method == "PATCH" && request.path.contains("/llmautoscalers/b/");
        let fail = |left: usize| left.checked_sub(1);
        match is_status.then(|| failures.fetch_update(Relaxed, Relaxed, fail)) {
            Some(Err(_)) => Answer::Json(200, request.body.clone()),
            Some(Ok(_)) => Answer::refusal(500),
            None => Answer::refusal(404),
        }
    })
    .await;
    let named = |name: &str, created: &str| {
        let DeserializeGuard(object) = object("ns", "1", 1);
        let mut object = serde_json::to_value(object.unwrap()).unwrap();
        object["metadata"]["name"] = json!(name);
        object["metadata"]["uid"] = json!(name);
        object["metadata"]["creationTimestamp"] = json!(created);
        DeserializeGuard(Ok(serde_json::from_value(object).unwrap()))
    };
    let mut tasks = tasks(&api, &Leases::solo());
    tasks.apply(named("a", "2026-01-01T00:00:00Z"));
    tasks.apply(named("b", "2026-01-01T00:00:01Z"));
    assert_eq!((tasks.admitted.len(), tasks.waiting.len()), (1, 1));
    let writes = || api.received(|request| request.path.contains("/llmautoscalers/b/status"));
    until("the second write", || writes().len() == 2).await;
    let written = writes()[1].body["status"]["conditions"].to_string();
    assert!(written.contains("TooManyAutoscalers"), "{written}");
    // The API server refuses a version that is null.
    assert!(writes()[1].body["metadata"].get("resourceVersion").is_none());
}
