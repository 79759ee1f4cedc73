//! The course of a drain, and everything that can interrupt it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{engine::Page, wait};
use serde_json::json;

use crate::gated::{self, GATE, running, until_in_service};

/// A time that is long enough to see that nothing happens.
const A_WHILE: Duration = Duration::from_secs(4);

/// Creates three replicas of which two are enough; waits until the last one drains with 5 requests
/// in flight.
async fn begin(stage: &Stage, deadline: i32, change: serde_json::Value) -> Result<()> {
    gated::permit(stage).await?;
    stage.script.set_all(&gated::page(9));
    gated::autoscaler(stage, "a", deadline, change).await?;
    gated::create(stage, "a", 3, 30).await?;
    stage.until_ready("a", 3).await?;
    stage.script.set_all(&gated::page(5));
    until_in_service(stage, "a-2", false).await
}

/// The last replica's requests have been answered; new ones go to the others.
fn last_is_empty(stage: &Stage) {
    running(stage, "a-0", 8);
    running(stage, "a-1", 7);
    running(stage, "a-2", 0);
}

/// The size is written when the last request is answered. Until then the replica serves its
/// requests and gets no new ones.
pub(crate) async fn drained_then_written(stage: &Stage) -> Result<String> {
    begin(stage, 60, json!({})).await?;
    let draining = stage.until_condition("a", "Draining", "True", "RequestsInFlight").await?;
    ensure!(draining.message.starts_with("3 -> 2 waits for a-2 ("), "{}", draining.message);
    stage.stays("a", 3, A_WHILE).await?;
    let status = stage.status("a").await?;
    ensure!(status.desired_replicas == Some(2) && status.current_replicas == Some(3), "{status:?}");
    for pod in ["a-0", "a-1"] {
        ensure!(
            gated::condition(stage, pod, GATE).await?.as_deref() == Some("True"),
            "{pod} is in service"
        );
    }
    // The load moves to the other replicas, so the desired size stays the same.
    last_is_empty(stage);
    let began = std::time::Instant::now();
    stage.until_replicas("a", 2, SOON).await?;
    let took = began.elapsed();
    stage.until_ready("a", 2).await?;
    let draining = stage.until_condition("a", "Draining", "False", "Drained").await?;
    ensure!(gated::drains(stage, "drained").await? == 1, "{}", stage.operator.metrics().await?);
    stage.stays("a", 2, A_WHILE).await?;
    Ok(format!("written {:.1} s after it was empty; {}", took.as_secs_f64(), draining.message))
}

/// For a custom engine the spec names the series that count its requests.
pub(crate) async fn custom_engine_drains(stage: &Stage) -> Result<String> {
    const RUNNING: &str = "vllm:num_requests_running";
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    let series = json!([{"name": RUNNING}, {"name": "vllm:num_requests_waiting"}]);
    let spec = json!({
        "engine": "Custom",
        "metrics": [{"name": "running", "series": {"name": RUNNING}, "target": target}],
        "sources": [{"scrape": {"intervalSeconds": 1}}],
        "drain": {"deadlineSeconds": 60, "requestSeries": series},
    });
    begin(stage, 60, spec).await?;
    stage.until_condition("a", "Draining", "True", "RequestsInFlight").await?;
    stage.stays("a", 3, A_WHILE).await?;
    last_is_empty(stage);
    stage.until_replicas("a", 2, SOON).await?;
    let draining = stage.until_condition("a", "Draining", "False", "Drained").await?;
    Ok(draining.message)
}

/// A replica that never becomes empty is removed at the deadline with its requests.
pub(crate) async fn the_deadline_passes(stage: &Stage) -> Result<()> {
    begin(stage, 5, json!({})).await?;
    stage.until_replicas("a", 2, SOON).await?;
    let draining = stage.until_condition("a", "Draining", "False", "DeadlineExceeded").await?;
    ensure!(draining.message.contains("a-2 (5 requests)"), "{}", draining.message);
    ensure!(gated::drains(stage, "deadline").await? == 1, "{}", stage.operator.metrics().await?);
    wait::until("an event", SOON, async || {
        let events = stage.events("a", "DrainDeadlineExceeded").await?;
        Ok(events.into_iter().find(|note| note.contains("a-2")).map(drop))
    })
    .await
}

/// When the load returns, all pods return to service, and no size is written.
pub(crate) async fn returning_load_cancels_a_drain(stage: &Stage) -> Result<()> {
    begin(stage, 60, json!({})).await?;
    stage.script.set_all(&gated::page(9));
    until_in_service(stage, "a-2", true).await?;
    stage.until_condition("a", "Draining", "False", "Cancelled").await?;
    stage.stays("a", 3, A_WHILE).await?;
    ensure!(gated::drains(stage, "cancelled").await? == 1, "{}", stage.operator.metrics().await?);
    // A scale-up does not wait for anything.
    stage.script.set_all(&gated::page(5));
    until_in_service(stage, "a-2", false).await?;
    gated::autoscaler(stage, "a", 60, json!({"minReplicas": 3, "maxReplicas": 4})).await?;
    until_in_service(stage, "a-2", true).await?;
    stage.script.set_all(&gated::page(14));
    stage.until_replicas("a", 4, SOON).await
}

/// A restart keeps a draining replica out of service, and the drain continues without a new
/// stabilization window.
pub(crate) async fn a_restart_in_the_middle(stage: &Stage) -> Result<()> {
    begin(stage, 60, json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 8}}})).await?;
    stage.operator.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.operator.start()?;
    let end = tokio::time::Instant::now() + A_WHILE + A_WHILE;
    while tokio::time::Instant::now() < end {
        let gate = gated::condition(stage, "a-2", GATE).await?;
        ensure!(gate.as_deref() == Some("False"), "a-2 was put back: {gate:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.until_condition("a", "Draining", "True", "RequestsInFlight").await?;
    last_is_empty(stage);
    stage.until_replicas("a", 2, SOON).await?;
    stage.until_condition("a", "Draining", "False", "Drained").await.map(drop)
}

/// Without the gate the replica's requests are watched all the same, and a condition says that new
/// ones still arrive.
pub(crate) async fn without_the_gate(stage: &Stage) -> Result<()> {
    stage.script.set_all(&gated::page(9));
    stage.engine("a", 3).await?;
    gated::autoscaler(stage, "a", 60, json!({})).await?;
    let effort = stage.until_condition("a", "DrainBestEffort", "True", "NoReadinessGate").await?;
    ensure!(effort.message.ends_with("a-0, a-1, a-2"), "{}", effort.message);
    stage.script.set_all(&gated::page(5));
    stage.until_condition("a", "Draining", "True", "RequestsInFlight").await?;
    stage.stays("a", 3, A_WHILE).await?;
    last_is_empty(stage);
    stage.until_replicas("a", 2, SOON).await
}

/// For a Deployment, the pod with the fewest requests is chosen, marked with a deletion cost when
/// it is empty, and removed.
pub(crate) async fn a_deployment(stage: &Stage) -> Result<()> {
    gated::permit(stage).await?;
    stage.script.set_all(&gated::page(9));
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "plain"});
    gated::autoscaler(stage, "a", 60, json!({"scaleTargetRef": target})).await?;
    let yaml = include_str!("../../fixtures/deployment.yaml").replace("replicas: 1", "replicas: 3");
    let gates =
        format!("spec:\n      readinessGates: [{{conditionType: {GATE}}}]\n      containers:");
    let yaml =
        yaml.replace("spec:\n      containers:", &gates).replace("PORT", &stage.port().to_string());
    stage.control_plane().apply_yaml(&yaml.replace("NAMESPACE", &stage.namespace)).await?;
    let pods = async || {
        let list = stage.api::<Pod>().list(&ListParams::default()).await?.items;
        Ok::<Vec<Pod>, anyhow::Error>(
            list.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect(),
        )
    };
    wait::until("three pods", SOON, async || Ok((pods().await?.len() == 3).then_some(()))).await?;
    let names: Vec<String> = pods().await?.iter().map(ResourceExt::name_any).collect();
    for name in &names {
        until_in_service(stage, name, true).await?;
    }
    running(stage, &names[0], 7);
    running(stage, &names[1], 1);
    running(stage, &names[2], 7);
    until_in_service(stage, &names[1], false).await?;
    let marked = pods().await?.iter().filter(|pod| !pod.annotations().is_empty()).count();
    ensure!(marked == 0, "no pod is marked before the size is written");
    running(stage, &names[1], 0);
    wait::until("two pods", SOON, async || Ok((pods().await?.len() == 2).then_some(()))).await?;
    let left: Vec<String> = pods().await?.iter().map(ResourceExt::name_any).collect();
    ensure!(left == [names[0].clone(), names[2].clone()], "{left:?} are left of {names:?}");
    stage.until_condition("a", "Draining", "False", "Drained").await.map(drop)
}

/// Nothing shrinks during a rollout, and a drain that has begun is cancelled.
pub(crate) async fn drain_waits_for_a_rollout(stage: &Stage) -> Result<()> {
    begin(stage, 60, json!({})).await?;
    // The new a-2 does not become ready, so the rollout stops there.
    stage.script.set_ready(&format!("{}/a-2", stage.namespace), false);
    let template = json!({"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}});
    stage.api::<StatefulSet>().patch("a", &PatchParams::default(), &Patch::Merge(template)).await?;
    let held = stage.until_condition("a", "Draining", "False", "RolloutInProgress").await?;
    ensure!(held.message.contains("of 3 replicas are updated"), "{}", held.message);
    running(stage, "a-2", 0);
    stage.stays("a", 3, A_WHILE).await?;
    stage.script.set_ready(&format!("{}/a-2", stage.namespace), true);
    stage.script.set_all(&gated::page(5));
    stage.until_condition("a", "Draining", "True", "RequestsInFlight").await?;
    let status = stage.api::<StatefulSet>().get("a").await?.status.context("it has a status")?;
    ensure!(
        status.current_revision == status.update_revision,
        "it was to wait for the end of the rollout"
    );
    last_is_empty(stage);
    stage.until_replicas("a", 2, SOON).await
}

/// When the autoscaler is deleted, its pods return to service.
pub(crate) async fn the_autoscaler_is_deleted(stage: &Stage) -> Result<()> {
    begin(stage, 60, json!({})).await?;
    stage.api::<LLMAutoscaler>().delete("a", &DeleteParams::default()).await?;
    until_in_service(stage, "a-2", true).await?;
    // Future pods with the gate become ready, too.
    gated::create(stage, "b", 1, 30).await?;
    stage.until_ready("b", 1).await
}

/// Without the permission, pods with the gate do not become ready, and a condition names the
/// remedy.
pub(crate) async fn not_permitted(stage: &Stage) -> Result<()> {
    stage.script.set_all(&gated::page(9));
    gated::autoscaler(stage, "a", 60, json!({})).await?;
    gated::create(stage, "a", 3, 30).await?;
    let gate = stage.until_condition("a", "ReadinessGateKept", "False", "NotPermitted").await?;
    ensure!(
        gate.message.contains("label the ClusterRole llm-autoscaler-in-service"),
        "{}",
        gate.message
    );
    stage.until_condition("a", "DrainBestEffort", "True", "NotPermitted").await?;
    gated::permit(stage).await?;
    stage.until_ready("a", 3).await?;
    wait::until("the conditions to be gone", SOON, async || {
        let conditions = stage.status("a").await?.conditions;
        let odd = |type_: &str| matches!(type_, "ReadinessGateKept" | "DrainBestEffort");
        Ok((!conditions.iter().any(|condition| odd(&condition.type_))).then_some(()))
    })
    .await
}

/// A warning is given if the grace period is shorter than requests take.
pub(crate) async fn grace_period_is_shorter_than_requests(stage: &Stage) -> Result<()> {
    gated::permit(stage).await?;
    let answered = |count: u64| {
        let name = "vllm:e2e_request_latency_seconds";
        Page::text(format!(
            "vllm:num_requests_running 9\nvllm:num_requests_waiting 0\n# TYPE {name} histogram\n\
             {name}_bucket{{le=\"10.0\"}} 0\n{name}_bucket{{le=\"60.0\"}} {count}\n{name}_bucket{{le=\"+Inf\"}} {count}\n\
             {name}_count {count}\n{name}_sum 0\n"
        ))
    };
    stage.page("a", &answered(0));
    gated::autoscaler(stage, "a", 60, json!({})).await?;
    gated::create(stage, "a", 1, 5).await?;
    stage.until_ready("a", 1).await?;
    let count = std::cell::Cell::new(0);
    wait::until("a warning", SOON, async || {
        count.set(count.get() + 500);
        stage.page("a", &answered(count.get()));
        let conditions = stage.status("a").await?.conditions;
        let advice = conditions.into_iter().find(|condition| condition.type_ == "Advisory");
        Ok(advice
            .filter(|advice| advice.message.contains("a-0 is killed 5 s after its deletion"))
            .map(drop))
    })
    .await
}
