//! Targets that something else scales: an HPA, a ScaledObject, an owner.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler, core::v1::ConfigMap,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{engine::Page, wait};
use serde_json::{Value, json};

use super::stateful_set;
use crate::groups::{Groups, as_kind, standalone};

/// The timeout for noticing other autoscalers, which are listed every 30 s.
const LISTED: Duration = Duration::from_mins(1);

/// An HPA with the same target is named in a condition, and nothing is written. When it is deleted,
/// the operator scales the target.
pub(crate) async fn hpa_in_the_way_and_gone(stage: &Stage) -> Result<()> {
    let hpa = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "old"},
        "spec": {"scaleTargetRef": stateful_set("a"), "minReplicas": 1, "maxReplicas": 5},
    });
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    hpas.create(&PostParams::default(), &serde_json::from_value(hpa)?).await?;
    stage.engine("a", 1).await?;
    stage.waiting("a", 11);
    // A restarted operator notices the HPA before it writes anything.
    stage.operator.kill();
    stage.autoscaler("a", json!({})).await?;
    stage.operator.start()?;
    let able = stage.until_condition("a", "AbleToScale", "False", "TargetTaken").await?;
    let expected =
        "StatefulSet/a is scaled by the HorizontalPodAutoscaler old: nothing is written to it";
    ensure!(able.message.starts_with(expected), "{}", able.message);
    stage.until_condition("a", "Ready", "False", "TargetTaken").await?;
    let stalled = stage.status("a").await?.conditions.into_iter().find(|c| c.type_ == "Stalled");
    ensure!(stalled.is_none(), "the HPA may go: {stalled:?}");
    stage.stays("a", 1, Duration::from_secs(3)).await?;
    hpas.delete("old", &DeleteParams::default()).await?;
    stage.until_replicas("a", 3, LISTED).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await.map(drop)
}

/// A ScaledObject that is created later takes the target over, and gives it back when it is
/// deleted.
pub(crate) async fn scaled_object_in_the_way_and_gone(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    cluster.apply_yaml(include_str!("../../../fixtures/scaledobject-crd.yaml")).await?;
    let established =
        ["wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=30s"];
    cluster.kubectl(established).await?;
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "queue", "namespace": stage.namespace},
        "spec": {"scaleTargetRef": stateful_set("a")},
    });
    cluster.apply_yaml(&object.to_string()).await?;
    wait::until("the ScaledObject to be noticed", LISTED, async || {
        let conditions = stage.status("a").await?.conditions;
        let expected = "StatefulSet/a is scaled by the ScaledObject queue";
        Ok(conditions
            .iter()
            .any(|c| c.reason == "TargetTaken" && c.message.starts_with(expected))
            .then_some(()))
    })
    .await?;
    stage.waiting("a", 11);
    stage.stays("a", 1, Duration::from_secs(3)).await?;
    cluster.kubectl(["-n", &stage.namespace, "delete", "scaledobjects.keda.sh", "queue"]).await?;
    stage.until_replicas("a", 3, LISTED).await
}

/// An object that a group or another controller created is refused, with the name of the object to
/// scale instead.
pub(crate) async fn owner_that_drives_the_size(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(11));
    groups.group("pd", &[as_kind(standalone(stage, "decode", 1), "apps/v1/StatefulSet")]).await?;
    let sets = stage.api::<StatefulSet>().list(&ListParams::default()).await?;
    let made = sets.items.first().context("no StatefulSet of the group")?.name_any();
    stage.autoscaler("group", json!({"scaleTargetRef": stateful_set(&made)})).await?;
    let refused =
        stage.until_condition("group", "AbleToScale", "False", "TargetControlled").await?;
    let expected = "belongs to the RoleBasedGroup pd, which drives its size: nothing is written to it; scale its role";
    ensure!(refused.message.contains(expected), "{}", refused.message);
    stage.until_condition("group", "Stalled", "True", "TargetControlled").await?;

    stage.engine("a", 1).await?;
    own(stage, "a", &json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "l", "uid": "1"}))
        .await?;
    stage.autoscaler("a", json!({})).await?;
    let refused = stage.until_condition("a", "AbleToScale", "False", "TargetControlled").await?;
    ensure!(
        refused.message.ends_with("scale the LeaderWorkerSet l instead"),
        "{}",
        refused.message
    );
    stage.stays("a", 1, Duration::from_secs(3)).await
}

/// An owner of an unknown kind, as a model server's resource, is no obstacle until it has undone
/// three writes.
pub(crate) async fn owner_that_does_not_drive_the_size(stage: &Stage) -> Result<()> {
    let maps: Api<ConfigMap> = stage.api();
    let mut model = ConfigMap::default();
    model.metadata.name = Some("model".to_owned());
    let uid = maps.create(&PostParams::default(), &model).await?.uid();
    stage.engine("a", 1).await?;
    own(stage, "a", &json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "model", "uid": uid}))
        .await?;
    stage.waiting("a", 11);
    stage.autoscaler("a", json!({})).await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_ready("a", 3).await?;
    let hint = stage.until_condition("a", "Advisory", "True", "UnknownController").await?;
    let expected = "StatefulSet/a is controlled by the ConfigMap model (v1)";
    ensure!(hint.message.starts_with(expected), "{}", hint.message);

    for _ in 0..3 {
        stage.until_replicas("a", 3, SOON).await?;
        let patch = Patch::Merge(json!({"spec": {"replicas": 1}}));
        let params = PatchParams {
            field_manager: Some("model-operator".to_owned()),
            ..PatchParams::default()
        };
        stage.api::<StatefulSet>().patch("a", &params, &patch).await?;
    }
    let refused = stage.until_condition("a", "Stalled", "True", "TargetControlled").await?;
    let expected = "StatefulSet/a belongs to the ConfigMap model (v1), which seems to drive its \
                    size: model-operator changed it again and again, most recently from 3 to 1; ";
    ensure!(refused.message.starts_with(expected), "{}", refused.message);
    stage.stays("a", 1, Duration::from_secs(3)).await
}

/// Sets the owner of a StatefulSet.
async fn own(stage: &Stage, name: &str, owner: &Value) -> Result<()> {
    let mut owner = owner.clone();
    owner["controller"] = json!(true);
    let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
    stage.api::<StatefulSet>().patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}
