use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerStatus, conditions};
use serde_json::{Value, json};

use super::*;
use crate::{
    Config,
    cluster::{self, watch::Watch},
    context,
    kube_api::stand_in::{Answer, Received, StandIn, until},
    reconcile::context::Context,
};

/// Answers as an API server with the StatefulSet `prefill`, and without the other one.
fn without_decode(request: &Received) -> Answer {
    let resource = |name, kind| json!({"name": name, "kind": kind, "namespaced": true, "verbs": ["get", "patch"]});
    match request.path.split('?').next().unwrap_or_default() {
        "/apis/apps/v1" => Answer::Json(
            200,
            json!({
                "kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [
                    resource("statefulsets", "StatefulSet"),
                    resource("statefulsets/scale", "Scale"),
                ],
            }),
        ),
        "/apis/apps/v1/namespaces/ns/statefulsets/prefill/scale" => Answer::Json(
            200,
            json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": {"name": "prefill", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
                "spec": {"replicas": 1}, "status": {"replicas": 1, "selector": "app=prefill"},
            }),
        ),
        _ => Answer::refusal(404),
    }
}

fn context_of(api: &StandIn) -> Arc<Context> {
    let context = Arc::new(context(&Config::of_tests(), &api.client, &api.client).unwrap());
    // All other autoscalers are known: there are none.
    context.claims.complete_listing();
    context.supervisor.spawn("test", context.other_autoscalers.clone().watch());
    context
}

fn two_roles() -> Arc<LLMAutoscaler> {
    let role = |name: &str| -> Value {
        json!({
            "name": name, "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "metrics": [{"signal": "WaitingRequests", "target":
                {"type": "AverageValue", "averageValue": "5"}}],
        })
    };
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "pd", "namespace": "ns", "uid": "1", "generation": 1},
        "spec": {
            "maxReplicas": 6, "engine": "VLLM", "podMonitor": {"mode": "Disabled"},
            "roles": [role("prefill"), role("decode")],
        },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn one_role() -> Arc<LLMAutoscaler> {
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "p", "namespace": "ns", "uid": "1", "generation": 1},
        "spec": {
            "maxReplicas": 6, "engine": "VLLM", "podMonitor": {"mode": "Disabled"},
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "prefill"},
            "metrics": [{"signal": "WaitingRequests", "target":
                {"type": "AverageValue", "averageValue": "5"}}],
        },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

/// Returns whether `AbleToScale` of a role says that its scale could not be read.
fn is_obstructed(role: &Role) -> bool {
    let status = assemble::assemble(
        &LLMAutoscalerStatus::default(),
        &role.object,
        &[(role.name.as_deref(), &role.status)],
        chrono::DateTime::UNIX_EPOCH,
    );
    let able = conditions::find(&status.conditions, ConditionType::AbleToScale);
    able.is_some_and(|able| able.reason == Reason::FailedGetScale.as_str())
}

/// A role that was found is not outdated any more, and its result was taken for that of the other
/// one, which lost its obstacle.
#[tokio::test]
async fn each_role_keeps_the_result_of_its_own_read() {
    let api = StandIn::start(without_decode).await;
    let mut autoscaler = Autoscaler::new(context_of(&api), two_roles());
    assert!(autoscaler.problem.is_none(), "{:?}", autoscaler.problem);
    for scales in [Scales::Outdated, Scales::Outdated, Scales::All] {
        assert!(autoscaler.locate(scales).await.is_err());
        let [prefill, decode] = &autoscaler.roles[..] else { panic!("not two roles") };
        assert!(prefill.target.is_some() && !is_obstructed(prefill), "{scales:?}");
        assert!(decode.target.is_none() && is_obstructed(decode), "{scales:?}");
    }
    let reads = |name: &str| {
        let path = format!("/statefulsets/{name}/scale");
        api.received(|request| request.path.ends_with(&path)).len()
    };
    assert_eq!((reads("prefill"), reads("decode")), (2, 3), "an outdated scale is read again");
}

/// Whether a pod that is too large is one of a new target is only known once it was listed again.
/// The step that found the target used to decide without it.
#[tokio::test]
async fn nothing_is_decided_while_the_pods_of_a_new_target_are_listed() {
    let api = StandIn::start(|request: &Received| {
        if !request.path.starts_with("/api/v1/pods?") {
            return without_decode(request);
        } else if request.is_watch() {
            return Answer::Silence(Vec::new());
        }
        let mut labels: serde_json::Map<_, _> =
            (0..300).map(|number| (format!("l{number}"), json!(""))).collect();
        labels.insert("app".to_owned(), json!("prefill"));
        let metadata = json!({"name": "p-0", "namespace": "ns", "uid": "2", "labels": labels});
        let pod = json!({"metadata": metadata, "spec": {"containers": []}});
        Answer::Json(200, json!({"metadata": {"resourceVersion": "5"}, "items": [pod]}))
    })
    .await;
    let context = context_of(&api);
    let pods = &context.sampling.pods;
    let mut autoscaler = Autoscaler::new(context.clone(), one_role());
    let (all, health) = (kube::Api::all(api.client.clone()), pods.health().clone());
    let watch = Watch::new(all, health, context.clock, context.supervisor.clone());
    context.supervisor.spawn("test", cluster::pods::watch(pods.clone(), watch));
    until("the pods", || pods.problem("ns").is_none()).await;

    assert!(autoscaler.step(Cause::Tick).await.is_err());
    assert!(autoscaler.roles[0].target.is_some());
    let status = autoscaler.status.status();
    let ready = conditions::find(&status.conditions, ConditionType::Ready).unwrap();
    assert_eq!(ready.reason, Reason::PodsUnknown.as_str());
}

/// A pod with a page on loopback that has so many waiting requests.
async fn start_page(waiting: Arc<AtomicU32>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let page = axum::Router::new().fallback(move || {
        let waiting = waiting.load(Relaxed);
        async move { format!("vllm:num_requests_waiting{{model_name=\"m\"}} {waiting}\n") }
    });
    #[expect(clippy::disallowed_methods, reason = "a panic fails the test")]
    tokio::spawn(async move { axum::serve(listener, page).await.unwrap() });
    port
}

fn pod_with_page(port: u16) -> Value {
    json!({
        "metadata": {"name": "p-0", "namespace": "ns", "uid": "2", "labels": {"app": "prefill"}},
        "spec": {"containers": [
            {"name": "e", "ports": [{"name": "http", "containerPort": port}]},
        ]},
        "status": {
            "phase": "Running", "podIP": "127.0.0.1", "startTime": "2026-11-28T10:00:00Z",
            "conditions": [{
                "type": "Ready", "status": "True", "lastTransitionTime": "2026-11-28T10:01:00Z",
            }],
        },
    })
}

/// Samples make several steps an interval, and each step used to write the texts of a status.
#[tokio::test]
async fn a_step_of_samples_that_decides_what_the_last_one_did_is_reported_later() {
    let waiting = Arc::new(AtomicU32::new(4));
    let port = start_page(waiting.clone()).await;
    let api = StandIn::start(move |request: &Received| {
        if !request.path.starts_with("/api/v1/pods?") {
            return without_decode(request);
        } else if request.is_watch() {
            return Answer::Silence(Vec::new());
        }
        let items = [pod_with_page(port)];
        Answer::Json(200, json!({"metadata": {"resourceVersion": "5"}, "items": items}))
    })
    .await;
    let context = context_of(&api);
    let pods = &context.sampling.pods;
    let mut object = one_role();
    let spec = &mut Arc::make_mut(&mut object).spec;
    spec.mode = llm_autoscaler_api::ScalingMode::Recommend;
    spec.sources = serde_json::from_value(json!([{"scrape": {"intervalSeconds": 1}}])).unwrap();
    let mut autoscaler = Autoscaler::new(context.clone(), object);
    let (all, health) = (kube::Api::all(api.client.clone()), pods.health().clone());
    let watch = Watch::new(all, health, context.clock, context.supervisor.clone());
    context.supervisor.spawn("test", cluster::pods::watch(pods.clone(), watch));
    context.autoscalers.record_listing();
    until("the pods", || pods.problem("ns").is_none()).await;

    while autoscaler.reported.is_none() {
        let result = autoscaler.step(Cause::Tick).await;
        assert!(result.is_ok(), "{:?}", autoscaler.status.status().conditions);
        autoscaler.fresh.notified().await;
    }
    let current = |autoscaler: &Autoscaler| {
        let status = autoscaler.status.status();
        (status.targets[0].metrics[0].current.clone().unwrap(), status.desired_replicas)
    };
    assert_eq!(current(&autoscaler), ("4".to_owned(), Some(1)));
    let mut sampled = async |waits, cause| {
        waiting.store(waits, Relaxed);
        // The first of them may be of a page from before.
        autoscaler.fresh.notified().await;
        autoscaler.fresh.notified().await;
        let _ = autoscaler.step(cause).await;
        current(&autoscaler)
    };
    // the waiting requests, the cause; what the status says of the metric, and the desired replicas
    assert_eq!(sampled(3, Cause::Sample).await, ("4".to_owned(), Some(1)), "nothing but a value");
    assert_eq!(sampled(3, Cause::Tick).await, ("3".to_owned(), Some(1)), "each tick is reported");
    assert_eq!(sampled(30, Cause::Sample).await, ("30".to_owned(), Some(4)), "another size");
}
