//! A CRD of another version than the operator.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{repository, wait};
use serde_json::{Value, json};

use crate::values::SYSTEM;

/// The CRD's schema in its only version.
const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema/properties";
/// The time within which the operator notices another CRD.
const NOTICED: Duration = Duration::from_mins(1);
/// The window of scale-downs.
const WINDOW: Duration = Duration::from_secs(10);

/// The CRD becomes older under a running operator: it loses fields of the spec and the status, the
/// operator's memory among them. That is told once, the operator goes on scaling, and a restart
/// without the memory shrinks nothing early.
pub(crate) async fn operator_is_newer_than_its_crd(stage: &Stage) -> Result<String> {
    start(stage).await?;
    let gone = [
        ("/spec/properties", "manualChanges"),
        ("/status/properties", "summary"),
        ("/status/properties/targets/items/properties", "history"),
    ];
    change_crd(stage, |schema| {
        for (pointer, name) in gone {
            let fields = schema.pointer_mut(pointer).and_then(Value::as_object_mut);
            fields.context("no such part")?.remove(name).context("no such field")?;
        }
        Ok(())
    })
    .await?;
    stage.waiting("a", 11);
    let text = until_mismatch(stage, "CRDOlder").await?;
    let expected = "it lacks spec.manualChanges, status.summary, status.targets[].history, which";
    ensure!(text.contains(expected), "{text}");
    let metric = "llm_autoscaler_schema_differences{difference=\"missing\"} 3";
    ensure!(stage.operator.metrics().await?.contains(metric), "{metric} is not exposed");
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_ready("a", 3).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    wait::until("the status to have the size", SOON, async || {
        let status = stage.status("a").await?;
        ensure!(status.targets.iter().all(|target| target.history.is_none()), "{status:?}");
        Ok((status.desired_replicas == Some(3)).then_some(()))
    })
    .await?;
    ensure_logged_once(stage)?;

    // Nothing is remembered of the load, so the window begins anew.
    stage.operator.kill();
    stage.waiting("a", 0);
    stage.operator.start()?;
    stage.stays("a", 3, WINDOW).await?;
    stage.until_replicas("a", 1, SOON).await?;
    let refused = stage.operator.log_tail(10_000);
    ensure!(!refused.contains("could not be written"), "{refused}");
    repair(stage).await?;
    Ok("told, and scaled 1 -> 3 -> 1".to_owned())
}

/// The CRD has fields and values that the operator does not know. They are told, and left alone.
pub(crate) async fn operator_is_older_than_its_crd(stage: &Stage) -> Result<String> {
    start(stage).await?;
    change_crd(stage, |schema| {
        let engines = schema.pointer_mut("/spec/properties/engine/enum");
        engines.and_then(Value::as_array_mut).context("no engines")?.push(json!("Next"));
        let field = json!({"type": "string", "default": "x"});
        for pointer in ["/spec/properties", "/status/properties"] {
            schema.pointer_mut(pointer).context("no such part")?["fromTheFuture"] = field.clone();
        }
        Ok(())
    })
    .await?;
    let text = until_mismatch(stage, "CRDNewer").await?;
    let expected = "it has spec.engine: Next, spec.fromTheFuture, status.fromTheFuture, which";
    ensure!(text.contains(expected), "{text}");
    let metric = "llm_autoscaler_schema_differences{difference=\"unknown\"} 3";
    ensure!(stage.operator.metrics().await?.contains(metric), "{metric} is not exposed");
    stage.autoscaler("a", json!({"fromTheFuture": "y", "maxReplicas": 2})).await?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 2, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let kind = GroupVersionKind::gvk("llmautoscaler.io", "v1alpha1", "LLMAutoscaler");
    let kind = ApiResource::from_gvk(&kind);
    let api = Api::<DynamicObject>::namespaced_with(stage.client(), &stage.namespace, &kind);
    let object = api.get("a").await?;
    ensure!(object.data["spec"]["fromTheFuture"] == "y", "{:?}", object.data);
    ensure_logged_once(stage)?;
    repair(stage).await?;
    Ok("told, and scaled 1 -> 2".to_owned())
}

/// Installs config/default and starts an operator with its ServiceAccount, with one target.
async fn start(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    cluster.apply_file(repository().join("config/default")).await?;
    let crd = "crd/llmautoscalers.llmautoscaler.io";
    cluster.kubectl(["wait", "--for=condition=Established", crd, "--timeout=30s"]).await?;
    let kubeconfig = wait::until("the ServiceAccount", SOON, async || {
        Ok(cluster.service_account_kubeconfig(SYSTEM, "llm-autoscaler").await.ok())
    });
    stage.operator.start_as(kubeconfig.await?)?;
    stage.engine("a", 1).await?;
    let window = json!({"scaleDown": {"stabilizationWindowSeconds": WINDOW.as_secs()}});
    stage.autoscaler("a", json!({"behavior": window})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let conditions = stage.status("a").await?.conditions;
    ensure!(
        conditions.iter().all(|condition| condition.type_ != "SchemaMismatch"),
        "{conditions:?}"
    );
    Ok(())
}

/// Replaces the CRD by one with a changed schema.
async fn change_crd(stage: &Stage, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    let text =
        std::fs::read_to_string(repository().join("deploy/helm/llm-autoscaler/files/crd.yaml"))?;
    let mut crd: Value = serde_saphyr::from_str(&text)?;
    change(crd.pointer_mut(SCHEMA).context("no schema")?)?;
    stage.control_plane().apply_yaml(&crd.to_string()).await.map(drop)
}

/// Waits for the condition, which does not touch `Ready`. Returns its message.
async fn until_mismatch(stage: &Stage, reason: &str) -> Result<String> {
    let found = wait::until("the condition SchemaMismatch", NOTICED, async || {
        let conditions = stage.status("a").await?.conditions;
        Ok(conditions.into_iter().find(|condition| condition.type_ == "SchemaMismatch"))
    });
    let found = found.await?;
    ensure!(found.status == "True" && found.reason == reason, "{found:?}");
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    Ok(found.message)
}

/// Fails unless the log has exactly one line about the CRD.
fn ensure_logged_once(stage: &Stage) -> Result<()> {
    let log = stage.operator.log_tail(10_000);
    let lines = log.lines().filter(|line| line.contains("is not that of this operator")).count();
    ensure!(lines == 1, "{lines} lines about the CRD:\n{log}");
    Ok(())
}

/// Installs the operator's CRD again, and waits until the condition is gone.
async fn repair(stage: &Stage) -> Result<()> {
    change_crd(stage, |_| Ok(())).await?;
    wait::until("the condition to be gone", NOTICED, async || {
        let conditions = stage.api::<LLMAutoscaler>().get("a").await?.status.unwrap_or_default();
        let is_there = conditions.conditions.iter().any(|it| it.type_ == "SchemaMismatch");
        Ok((!is_there).then_some(()))
    })
    .await?;
    stage.operator.kill();
    stage
        .control_plane()
        .kubectl(["delete", "-k", &repository().join("config/default").to_string_lossy()])
        .await
        .map(drop)
}
