//! Rollouts without progress.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::gated::{self, GATE, running, until_in_service};

/// A drain waits for a rollout until its controller reports that the progress deadline has passed.
pub(crate) async fn failed_rollout_is_not_waited_for(stage: &Stage) -> Result<()> {
    gated::permit(stage).await?;
    stage.script.set_all(&gated::page(9));
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "plain"});
    gated::autoscaler(stage, "a", 60, json!({"scaleTargetRef": target})).await?;
    create(stage).await?;
    let old = pods(stage).await?;
    for name in &old {
        until_in_service(stage, name, true).await?;
    }
    // No controller opens the other gate, so the new pod never becomes ready.
    let gates = json!([{"conditionType": GATE}, {"conditionType": "example.com/never"}]);
    patch(stage, json!({"template": {"spec": {"readinessGates": gates}}})).await?;
    let new = wait::until("a new pod", SOON, async || {
        let now = pods(stage).await?;
        Ok(now.into_iter().find(|name| !old.contains(name)))
    })
    .await?;
    stage.script.set_all(&gated::page(6));
    running(stage, &new, 0);
    stage.until_condition("a", "Draining", "False", "RolloutInProgress").await?;
    ensure!(replicas(stage).await? == 3, "the rollout was to be waited for");
    let stuck = stage.until_condition("a", "RolloutStuck", "True", "NoProgress").await?;
    ensure!(
        stuck.message.starts_with("the rollout is stuck: 1 of 3 replicas are updated"),
        "{}",
        stuck.message
    );
    wait::until("two replicas", SOON, async || Ok((replicas(stage).await? == 2).then_some(())))
        .await
}

/// Creates three replicas, of which one may be unavailable, with a progress deadline of a few
/// seconds.
async fn create(stage: &Stage) -> Result<()> {
    let strategy =
        "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}\n  progressDeadlineSeconds: 8";
    let gate =
        format!("spec:\n      readinessGates: [{{conditionType: {GATE}}}]\n      containers:");
    let yaml = include_str!("../../fixtures/deployment.yaml")
        .replace("replicas: 1", &format!("replicas: 3\n  {strategy}"))
        .replace("spec:\n      containers:", &gate)
        .replace("PORT", &stage.port().to_string())
        .replace("NAMESPACE", &stage.namespace);
    stage.control_plane().apply_yaml(&yaml).await?;
    wait::until("three pods", SOON, async || Ok((pods(stage).await?.len() == 3).then_some(())))
        .await
}

async fn patch(stage: &Stage, spec: serde_json::Value) -> Result<()> {
    let patch = Patch::Strategic(json!({"spec": spec}));
    stage.api::<Deployment>().patch("plain", &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn replicas(stage: &Stage) -> Result<i32> {
    let spec = stage.api::<Deployment>().get("plain").await?.spec.context("it has a spec")?;
    Ok(spec.replicas.unwrap_or(1))
}

/// Returns the names of the pods that are not being deleted.
async fn pods(stage: &Stage) -> Result<Vec<String>> {
    let list = stage.api::<Pod>().list(&ListParams::default()).await?.items;
    let stays = list.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(stays.map(ResourceExt::name_any).collect())
}
