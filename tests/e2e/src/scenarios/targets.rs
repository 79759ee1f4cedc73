//! Kinds of targets, and missing targets.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::DeleteParams;
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::{Stage, stage::SOON};

/// Waits for the UID of the target in the status, which is written after the size.
async fn uid_in_status(stage: &Stage) -> Result<Option<String>> {
    wait::until("the target to be in the status", SOON, async || {
        Ok(stage.status("a").await?.targets.first().map(|target| target.uid.clone()))
    })
    .await
}

/// A missing target does not make the autoscaler fail: a condition reports it, and scaling begins
/// when the target exists.
pub(super) async fn target_is_deleted_and_created_again(stage: &Stage) -> Result<()> {
    stage.autoscaler("a", json!({})).await?;
    let able = stage.until_condition("a", "AbleToScale", "False", "FailedGetScale").await?;
    let expected = "the HPA controller was unable to get the target's current scale: statefulsets.apps \"a\" not found";
    ensure!(able.message == expected, "{}", able.message);
    let status = stage.status("a").await?;
    ensure!(
        !status.conditions.iter().any(|condition| condition.type_ == "Stalled"),
        "it may come a minute later"
    );

    stage.waiting("a", 11);
    stage.engine("a", 1).await?;
    stage.until_replicas("a", 3, SOON).await?;
    let first = uid_in_status(stage).await?;

    stage.api::<StatefulSet>().delete("a", &DeleteParams::foreground()).await?;
    stage.until_condition("a", "AbleToScale", "False", "FailedGetScale").await?;
    wait::until("the StatefulSet to be gone", SOON, async || {
        Ok(stage.api::<StatefulSet>().get_opt("a").await?.is_none().then_some(()))
    })
    .await?;
    stage.waiting("a", 5);
    stage.engine("a", 1).await?;
    stage.until_condition("a", "AbleToScale", "True", "ReadyForNewScale").await?;
    ensure!(
        stage.replicas("a").await? == 1,
        "what is remembered of the old one does not hold for the new one"
    );
    let second = uid_in_status(stage).await?;
    ensure!(first != second, "the status still speaks of the old one");
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await
}

/// Deployments and unknown kinds are scaled: discovery finds them, and an aggregated role grants
/// the permission.
pub(super) async fn any_kind_with_a_scale_subresource(stage: &Stage) -> Result<()> {
    let port = stage.port();
    let cluster = stage.control_plane();
    cluster.apply_yaml(include_str!("../../fixtures/fleet-crd.yaml")).await?;
    cluster
        .kubectl(["wait", "--for=condition=Established", "crd/fleets.example.com", "--timeout=30s"])
        .await?;
    let fleet = include_str!("../../fixtures/fleet.yaml").replace("PORT", &port.to_string());
    cluster.apply_yaml(&fleet.replace("NAMESPACE", &stage.namespace)).await?;
    stage.script.set(
        &format!("{}/fleet-0", stage.namespace),
        llm_autoscaler_testbed::engine::Page::waiting(11),
    );
    let target = json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": "fleet"});
    stage.autoscaler("fleet", json!({"scaleTargetRef": target})).await?;
    wait::until("the fleet to be scaled to 3", SOON, async || {
        let path = "jsonpath={.spec.size}";
        let size =
            cluster.kubectl(["-n", &stage.namespace, "get", "fleet", "fleet", "-o", path]).await?;
        Ok((size == "3").then_some(()))
    })
    .await?;

    let deployment =
        include_str!("../../fixtures/deployment.yaml").replace("PORT", &port.to_string());
    cluster.apply_yaml(&deployment.replace("NAMESPACE", &stage.namespace)).await?;
    stage.script.set_all(&llm_autoscaler_testbed::engine::Page::waiting(11));
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "plain"});
    stage.autoscaler("plain", json!({"scaleTargetRef": target})).await?;
    wait::until("the Deployment to be scaled to 3", SOON, async || {
        let path = "jsonpath={.spec.replicas}";
        let size = cluster
            .kubectl(["-n", &stage.namespace, "get", "deployment", "plain", "-o", path])
            .await?;
        Ok((size == "3").then_some(()))
    })
    .await
}

/// A reference that can never work is reported as such.
pub(super) async fn kind_without_a_scale_subresource(stage: &Stage) -> Result<()> {
    let target = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "kube-root-ca.crt"});
    stage.autoscaler("a", json!({"scaleTargetRef": target})).await?;
    let stalled = stage.until_condition("a", "Stalled", "True", "FailedGetScale").await?;
    ensure!(
        stalled.message.contains("ConfigMap in v1 has no scale subresource"),
        "{}",
        stalled.message
    );

    let target = json!({"apiVersion": "nobody.example.com/v1", "kind": "Thing", "name": "thing"});
    stage.autoscaler("b", json!({"scaleTargetRef": target})).await?;
    let able = stage.until_condition("b", "AbleToScale", "False", "FailedGetScale").await?;
    ensure!(
        able.message.contains("the cluster has no kind Thing in nobody.example.com/v1"),
        "{}",
        able.message
    );

    // After the correction both scale as usual.
    stage.engine("a", 1).await?;
    stage
        .autoscaler(
            "a",
            json!({
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            }),
        )
        .await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let status = stage.status("a").await?;
    ensure!(!status.conditions.iter().any(|condition| condition.type_ == "Stalled"), "{status:?}");
    Ok(())
}
