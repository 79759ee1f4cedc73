//! What kstatus, and Argo CD's script, make of an LLMAutoscaler in each of its states.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, gitops::GitOpsTools, wait};
use serde_json::{Value, json};

use crate::recorded;

/// Before the operator's first look, and after a change of the spec, a pipeline waits.
pub(crate) async fn first_status_is_waited_for(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    stage.operator.kill();
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    expect(stage, &tools, "InProgress", "Progressing").await?;
    recorded::compare(stage, "new").await?;
    stage.operator.start()?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    expect(stage, &tools, "Current", "Healthy").await?;
    recorded::compare(stage, "healthy").await?;

    stage.operator.kill();
    stage.autoscaler("a", json!({"maxReplicas": 4})).await?;
    expect(stage, &tools, "InProgress", "Progressing").await?;
    recorded::compare(stage, "changed").await?;
    stage.operator.start()?;
    until_current(stage, &tools).await
}

/// An autoscaler that is applied before its target, or before the target's kind, is in progress and
/// not failed, and current once the target is there.
pub(crate) async fn target_may_come_later(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    let fleet = json!({"apiVersion": "later.example.com/v1", "kind": "Fleet", "name": "a"});
    stage.autoscaler("a", json!({"scaleTargetRef": fleet})).await?;
    stage.until_condition("a", "Ready", "False", "FailedGetScale").await?;
    expect(stage, &tools, "InProgress", "Progressing").await?;

    stage.autoscaler("a", set_reference()).await?;
    wait::until("the StatefulSet to be missed", SOON, async || {
        let conditions = stage.status("a").await?.conditions;
        let is_missed = |text: &str| text.contains("statefulsets.apps \"a\" not found");
        Ok(conditions.iter().any(|c| c.type_ == "Ready" && is_missed(&c.message)).then_some(()))
    })
    .await?;
    expect(stage, &tools, "InProgress", "Progressing").await?;
    recorded::compare(stage, "target-missing").await?;
    // It stays in progress over further attempts.
    tokio::time::sleep(Duration::from_secs(5)).await;
    expect(stage, &tools, "InProgress", "Progressing").await?;
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    until_current(stage, &tools).await
}

/// An autoscaler of several roles is in progress until each of them has been decided on, although
/// one of them is found at once.
pub(crate) async fn roles_are_waited_for(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    stage.engine("prefill", 1).await?;
    stage.waiting("prefill", 5);
    stage.leave_pending("decode-0");
    stage.create_engine("decode", 1).await?;
    let role = |name: &str| {
        json!({
            "name": name,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "maxReplicas": 2,
            "metrics": [{
                "signal": "WaitingRequests",
                "target": {"type": "AverageValue", "averageValue": "5"},
            }],
        })
    };
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1",
        "kind": "LLMAutoscaler",
        "metadata": {"name": "a", "namespace": stage.namespace},
        "spec": {
            "engine": "VLLM", "maxReplicas": 4,
            "sources": [{"scrape": {"intervalSeconds": 1}}],
            "roles": [role("prefill"), role("decode")],
        },
    });
    let params = PatchParams::apply("user").force();
    stage.api::<LLMAutoscaler>().patch("a", &params, &Patch::Apply(object)).await?;
    // Every version of the object until it is ready.
    let (mut versions, began) = (Vec::new(), std::time::Instant::now());
    loop {
        if began.elapsed() > Duration::from_secs(4) {
            stage.make_room("decode-0");
            stage.waiting("decode", 5);
        }
        let object = object_of(stage).await?;
        if has(&object, "Ready", "True") {
            break;
        }
        ensure!(began.elapsed() < SOON, "never ready: {}", object["status"]);
        if versions.last() != Some(&object) {
            versions.push(object);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(!versions.is_empty(), "the autoscaler was ready at once");
    for object in &versions {
        let found = tools.kstatus(object).await?;
        ensure!(found.status == "InProgress", "{found:?}: {}", object["status"]);
    }
    expect(stage, &tools, "Current", "Healthy").await
}

/// A spec that no waiting helps fails at once; mending it makes the object current.
pub(crate) async fn mistake_fails_until_it_is_mended(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "a"});
    stage.autoscaler("a", json!({"scaleTargetRef": config})).await?;
    stage.until_condition("a", "Stalled", "True", "FailedGetScale").await?;
    expect(stage, &tools, "Failed", "Degraded").await?;
    recorded::compare(stage, "stalled").await?;
    stage.autoscaler("a", set_reference()).await?;
    until_current(stage, &tools).await
}

/// A missing sample and a pause leave the object current; metrics that are missing as a whole are
/// waited for.
pub(crate) async fn missing_samples_and_pauses(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    stage.engine("a", 2).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({"minReplicas": 2})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let silent = format!("{}/a-1", stage.namespace);
    stage.script.set(&silent, Page::Refuse);
    stage.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;
    expect(stage, &tools, "Current", "Healthy").await?;

    stage.page("a", &Page::Refuse);
    stage.until_condition("a", "Ready", "False", "FailedGetPodsMetric").await?;
    expect(stage, &tools, "InProgress", "Progressing").await?;
    stage.waiting("a", 5);
    until_current(stage, &tools).await?;

    let pause = ["-n", &stage.namespace, "annotate", "llmas", "a", "llmautoscaler.io/paused=true"];
    stage.control_plane().kubectl(pause).await?;
    stage.until_condition("a", "Paused", "True", "PausedByAnnotation").await?;
    stage.until_condition("a", "Ready", "True", "Paused").await?;
    expect(stage, &tools, "Current", "Suspended").await?;
    recorded::compare(stage, "paused").await
}

/// An object that a foreign finalizer keeps is being deleted, and nothing else.
pub(crate) async fn deletion_is_awaited(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    set_finalizers(stage, json!(["example.com/kept"])).await?;
    stage.api::<LLMAutoscaler>().delete("a", &DeleteParams::default()).await?;
    expect(stage, &tools, "Terminating", "Progressing").await?;
    set_finalizers(stage, json!([])).await?;
    wait::until("the object to be gone", SOON, async || {
        Ok(stage.api::<LLMAutoscaler>().get_opt("a").await?.is_none().then_some(()))
    })
    .await
}

async fn set_finalizers(stage: &Stage, finalizers: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    stage.api::<LLMAutoscaler>().patch("a", &PatchParams::default(), &patch).await?;
    Ok(())
}

fn set_reference() -> Value {
    json!({"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"}})
}

fn has(object: &Value, type_: &str, status: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == type_ && c["status"] == status))
}

/// Returns the autoscaler `a` as the API server has it.
pub(crate) async fn object_of(stage: &Stage) -> Result<Value> {
    let kind = ApiResource::erase::<LLMAutoscaler>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client(), &stage.namespace, &kind);
    Ok(serde_json::to_value(api.get("a").await?)?)
}

/// Fails unless kstatus and Argo CD's script say this of the autoscaler `a`.
pub(crate) async fn expect(
    stage: &Stage,
    tools: &GitOpsTools,
    kstatus: &str,
    health: &str,
) -> Result<()> {
    let object = object_of(stage).await?;
    let (found, judged) = (tools.kstatus(&object).await?, tools.health(&object).await?);
    ensure!(found.status == kstatus, "expected {kstatus}, got {found:?}: {}", object["status"]);
    ensure!(judged.0 == health, "expected {health}, got {judged:?}: {}", object["status"]);
    Ok(())
}

/// Waits until kstatus says that the autoscaler `a` is current.
pub(crate) async fn until_current(stage: &Stage, tools: &GitOpsTools) -> Result<()> {
    wait::until("kstatus to say Current", SOON, async || {
        let found = tools.kstatus(&object_of(stage).await?).await?;
        Ok((found.status == "Current").then_some(()))
    })
    .await?;
    expect(stage, tools, "Current", "Healthy").await
}
