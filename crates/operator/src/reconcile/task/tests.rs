use kube::ResourceExt;
use llm_autoscaler_api::{LLMAutoscalerStatus, SourceConfig, SourceSpec, TargetConfig, conditions};
use serde_json::{Value, json};

use super::*;
use crate::{
    Config, context,
    kube_api::stand_in::{Answer, Received, StandIn, until},
    reconcile::target_state::TargetState,
    sampling::phase,
    status::role_status::RoleStatus,
};

/// The annotation by which a test makes an autoscaler panic when it begins.
const PANICS: &str = "test/panics";

pub(super) fn panic_if_asked(object: &LLMAutoscaler) {
    assert!(!object.annotations().contains_key(PANICS), "a test asked for it");
}

fn object(generation: i64, annotations: &Value) -> Arc<LLMAutoscaler> {
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "a", "namespace": "ns", "uid": "1", "generation": generation,
            "annotations": annotations},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "maxReplicas": 3, "engine": "VLLM",
            "metrics": [{"signal": "WaitingRequests", "target":
                {"type": "AverageValue", "averageValue": "5"}}],
        },
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

/// Returns the reason of `Ready` in the latest status that was written.
fn ready(api: &StandIn) -> Option<String> {
    let writes = api.received(|request| request.method == "PATCH");
    let status = writes.last()?.body.get("status")?.clone();
    let status: LLMAutoscalerStatus = serde_json::from_value(status).unwrap();
    let ready = conditions::find(&status.conditions, ConditionType::Ready)?;
    assert_eq!(ready.status, "False");
    Some(ready.reason.clone())
}

/// Ten or a hundred pods that are scraped every 5 s used to cause a step at nearly each scrape.
#[test]
fn samples_are_gathered_for_a_part_of_the_interval() {
    for (pods, interval, expected) in [
        (0, 0, 10),
        (1, 1000, 10),
        (2, 1000, 15),
        (10, 1000, 60),
        (100, 1000, 60),
        (300, 1000, 69),
        (1000, 1000, 100),
        (1, 2000, 10),
        (100, 2000, 100),
        (1, 5000, 10),
        (4, 5000, 93),
        (10, 5000, 250),
        (100, 5000, 250),
        (10, 15_000, 750),
        (5000, 15_000, 750),
        (2, 300_000, 121),
        (10, 300_000, 1000),
    ] {
        let window = coalesce_window(pods, Duration::from_millis(interval));
        assert_eq!(window.as_millis(), expected, "{pods} pods, {interval} ms");
    }
}

/// A group of a target's pages makes one step.
#[test]
fn ten_pods_gather_samples_for_as_long_as_a_group_is_scraped() {
    for seconds in [1, 2, 5, 15, 32] {
        let interval = Duration::from_secs(seconds);
        let window = coalesce_window(10, interval);
        assert!(window >= interval.mul_f64(phase::SPREAD), "{seconds} s: {window:?}");
    }
}

/// A sample that came while others were gathered used to cause a step of its own.
#[tokio::test]
async fn samples_that_come_while_others_are_gathered_cause_no_step_of_their_own() {
    let api = StandIn::start(|_: &Received| Answer::refusal(404)).await;
    let context = Arc::new(context(&Config::of_tests(), &api.client, &api.client).unwrap());
    let autoscaler = Autoscaler::new(context, object(1, &json!({})));
    let is_fresh = || autoscaler.fresh.notified().now_or_never().is_some();
    // whether samples are being gathered; whether the one that comes has a step of its own
    for (gathers, expected) in [(true, false), (false, true)] {
        let mut gathered_at = gathers.then(Monotonic::default);
        autoscaler.fresh.notify_one();
        assert_eq!(autoscaler.end_gathering(&mut gathered_at), gathers);
        assert_eq!((gathered_at, is_fresh()), (None, expected), "{gathers}");
    }
}

/// Only a restart used to help, and the last status, perhaps `Ready=True`, stayed.
#[tokio::test]
async fn an_autoscaler_that_panics_says_so_and_begins_again_when_its_spec_changes() {
    let api = StandIn::start(|request: &Received| match request.method.as_str() {
        "PATCH" => Answer::Json(200, request.body.clone()),
        _ => Answer::refusal(404),
    })
    .await;
    let context = Arc::new(context(&Config::of_tests(), &api.client, &api.client).unwrap());
    context.sampling.pods.health().record_failure("no watch".to_owned());
    let (objects, receiver) = latest::channel(object(1, &json!({PANICS: "yes"})));
    let task = run(context.clone(), receiver, Duration::ZERO);
    // It had 43 kB for the report of a panic, as long as the autoscaler existed.
    assert!(size_of_val(&task) < 1500, "{} bytes", size_of_val(&task));
    let task = context.supervisor.spawn(NAME, task);
    until("the status to say so", || ready(&api).as_deref() == Some("InternalError")).await;
    assert!(context.telemetry.open_metrics().contains("panics_total{task=\"autoscaler\"} 1\n"));

    objects.send_replace(object(2, &json!({})));
    // It has not been told of any pod, and says that instead.
    until("it to begin again", || ready(&api).as_deref() == Some("PodsUnknown")).await;
    assert!(context.telemetry.open_metrics().contains("panics_total{task=\"autoscaler\"} 1\n"));
    drop(objects);
    until("its task to end with its object", || task.is_finished()).await;
}

/// Each of ten thousand autoscalers used to write that the pods are not known yet, and again that
/// they are.
#[tokio::test]
async fn nothing_is_read_or_reported_while_the_pods_are_listed_for_the_first_time() {
    let api = StandIn::start(|request: &Received| match request.method.as_str() {
        "PATCH" => Answer::Json(200, request.body.clone()),
        _ => Answer::refusal(404),
    })
    .await;
    let context = Arc::new(context(&Config::of_tests(), &api.client, &api.client).unwrap());
    let (_objects, receiver) = latest::channel(object(1, &json!({})));
    let _task = context.supervisor.spawn(NAME, run(context.clone(), receiver, Duration::ZERO));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(api.received(|_| true).len(), 0);
    context.sampling.pods.health().record_failure("pods is forbidden".to_owned());
    until("it to say so", || ready(&api).as_deref() == Some("PodsUnknown")).await;
}

#[test]
fn wake_calls_read_scales_once_a_second() {
    let at = |millis| Monotonic(Duration::from_millis(millis));
    // the time at which the scales were read, that of the call; the cause of the step
    let table = [
        (None, 5_000, Cause::Tick),
        (Some(5_000), 5_999, Cause::Sample),
        (Some(5_000), 6_000, Cause::Tick),
    ];
    for (read_at, now, expected) in table {
        assert_eq!(cause_of_wake(read_at.map(at), at(now)), expected, "{read_at:?} {now}");
    }
}

/// Ten thousand autoscalers have one of each.
#[tokio::test]
async fn an_idle_autoscaler_takes_no_memory_for_what_is_rare() {
    let api = StandIn::start(|_: &Received| Answer::refusal(404)).await;
    let context = Arc::new(context(&Config::of_tests(), &api.client, &api.client).unwrap());
    let (_objects, receiver) = latest::channel(object(1, &json!({})));
    let autoscaler = Box::new(Autoscaler::new(context, receiver.get()));
    assert_eq!(autoscaler.roles.capacity(), 1, "there is no room for roles to come");
    let future = size_of_val(&autoscaler.run(receiver));
    for (name, bytes, most) in [
        ("Autoscaler", size_of::<Autoscaler>(), 768),
        ("Role", size_of::<Role>(), 896),
        ("TargetState", size_of::<TargetState>(), 1536),
        ("RoleStatus", size_of::<RoleStatus>(), 128),
        ("TargetConfig", size_of::<TargetConfig>(), 552),
        ("SourceSpec", size_of::<SourceSpec>(), 176),
        ("SourceConfig", size_of::<SourceConfig>(), 168),
        ("LLMAutoscaler", size_of::<LLMAutoscaler>(), 1160),
        ("LLMAutoscalerStatus", size_of::<LLMAutoscalerStatus>(), 176),
        ("the future", future, 744),
    ] {
        assert!(bytes <= most, "{name}: {bytes} bytes");
    }
}
