//! Several autoscalers with the same target, or with the same pods.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{DeleteParams, PostParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::workloads;
use serde_json::json;

use super::stateful_set;
use crate::groups::{Groups, scalable, standalone};

/// Creation timestamps have a resolution of a second.
const A_SECOND: Duration = Duration::from_millis(1100);

/// The oldest autoscaler scales; the others name it, even after a restart. When it is deleted, the
/// next oldest takes over.
pub(crate) async fn oldest_autoscaler_keeps_the_target(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    stage.autoscaler("zz", json!({"scaleTargetRef": stateful_set("a"), "maxReplicas": 2})).await?;
    stage.until_condition("zz", "Ready", "True", "Scaling").await?;
    tokio::time::sleep(A_SECOND).await;
    stage.autoscaler("a", json!({"minReplicas": 3})).await?;
    let able = stage.until_condition("a", "AbleToScale", "False", "TargetTaken").await?;
    ensure!(
        able.message.starts_with("StatefulSet/a belongs to the LLMAutoscaler zz"),
        "{}",
        able.message
    );
    stage.until_condition("a", "Ready", "False", "TargetTaken").await?;
    let stalled = stage.status("a").await?.conditions.into_iter().find(|c| c.type_ == "Stalled");
    ensure!(stalled.is_none(), "the owner may go: {stalled:?}");
    stage.until_event("a", "TargetTaken", "").await?;
    ensure!(stage.events("a", "TargetTaken").await?.len() == 1, "more than one event");

    stage.operator.kill();
    stage.operator.start()?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 2, SOON).await?;
    stage.stays("a", 2, Duration::from_secs(4)).await?;

    stage.api::<LLMAutoscaler>().delete("zz", &DeleteParams::default()).await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await.map(drop)
}

/// A role is one target, by its group as well as by its adapter.
pub(crate) async fn role_by_two_names(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(5));
    groups
        .group("pd", &[scalable(standalone(stage, "decode", 1)), standalone(stage, "prefill", 1)])
        .await?;
    let version = "workloads.x-k8s.io/v1alpha2";
    let role = |name: &str| {
        json!({
            "apiVersion": version,
            "kind": "RoleBasedGroup",
            "name": "pd",
            "role": name,
        })
    };
    let adapter =
        json!({"apiVersion": version, "kind": "RoleBasedGroupScalingAdapter", "name": "pd-decode"});
    stage.autoscaler("first", json!({"scaleTargetRef": adapter})).await?;
    stage.until_condition("first", "Ready", "True", "Scaling").await?;
    tokio::time::sleep(A_SECOND).await;
    stage.autoscaler("second", json!({"scaleTargetRef": role("decode")})).await?;
    stage.autoscaler("other", json!({"scaleTargetRef": role("prefill")})).await?;
    let able = stage.until_condition("second", "AbleToScale", "False", "TargetTaken").await?;
    ensure!(able.message.starts_with("RoleBasedGroup/pd/decode belongs to"), "{}", able.message);
    stage.until_condition("other", "Ready", "True", "Scaling").await.map(drop)
}

/// If the selectors of two targets match the same pods, neither is scaled, as with HPAs.
pub(crate) async fn same_pods_of_two_targets(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let mut other = workloads::stateful_set("a", 1, stage.port())?;
    other.metadata.name = Some("b".to_owned());
    other.metadata.namespace = Some(stage.namespace.clone());
    stage.api::<StatefulSet>().create(&PostParams::default(), &other).await?;
    stage.until_ready("b", 1).await?;
    stage.autoscaler("b", json!({})).await?;
    for name in ["a", "b"] {
        let active =
            stage.until_condition(name, "ScalingActive", "False", "AmbiguousSelector").await?;
        ensure!(
            active
                .message
                .starts_with("pods by selector app=a are controlled by more than one HPA"),
            "{}",
            active.message
        );
    }
    stage.waiting("a", 11);
    stage.waiting("b", 11);
    stage.stays("a", 1, Duration::from_secs(3)).await?;
    stage.api::<LLMAutoscaler>().delete("b", &DeleteParams::default()).await?;
    stage.until_condition("a", "ScalingActive", "True", "ValidMetricFound").await.map(drop)
}
