//! Scale-downs of stateless roles choose the instances: the operator marks those that the
//! controller shall remove.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use super::drains::{autoscaler, gated, out_of_service, permit, running, until_out};
use super::{stays, until_requested};
use crate::groups::{Groups, as_kind, scalable, standalone, stateless};
use crate::stand_in::instances::{COST, instances};

const IN_SERVICE: &str = "llm-autoscaler-in-service";
const COSTS: &str = "llm-autoscaler-instance-deletion-cost";

/// Creates three replicas of which two are enough: the second one has one request, and drains.
async fn begin(groups: &Groups<'_>) -> Result<Vec<String>> {
    begin_with(groups, stateless(gated(standalone(groups.stage, "decode", 3)))).await
}

async fn begin_with(groups: &Groups<'_>, role: Value) -> Result<Vec<String>> {
    let stage = groups.stage;
    stage.script.set_all(&llm_autoscaler_testbed::engine::Page::Vllm {
        running: 9,
        waiting: 0,
        kv: 0.1,
    });
    autoscaler(stage).await?;
    groups.group("pd", &[scalable(role)]).await?;
    let names: Vec<String> = groups.pods_of("pd", "decode").await?.into_keys().collect();
    let conditions = stage.status("decode").await?.conditions;
    let effort = conditions.iter().find(|condition| condition.type_ == "DrainBestEffort");
    ensure!(
        effort.is_none(),
        "the controller removes the marked instances, so there is no DrainBestEffort: {effort:?}"
    );
    for (name, requests) in names.iter().zip([7, 1, 7]) {
        running(stage, name, requests);
    }
    until_out(groups, &[&names[1]]).await?;
    Ok(names)
}

/// Returns the instances that are marked.
async fn marked(groups: &Groups<'_>) -> Result<Vec<String>> {
    let all = instances(groups, "decode").await?;
    Ok(all
        .into_iter()
        .filter(|(_, found)| found.annotations().contains_key(COST))
        .map(|(name, _)| name)
        .collect())
}

async fn until_marked(groups: &Groups<'_>, expected: &[&str]) -> Result<()> {
    wait::until(&format!("{expected:?} to be marked"), SOON, async || {
        Ok((marked(groups).await? == expected).then_some(()))
    })
    .await
}

/// The instance with the fewest requests is chosen, marked when it is empty, and removed. A mark
/// that was left behind is no obstacle.
pub(crate) async fn the_instance_with_the_fewest_requests(stage: &Stage) -> Result<()> {
    permit(stage, &[IN_SERVICE, COSTS]).await?;
    let groups = Groups::start(stage).await?;
    let names = begin(&groups).await?;
    stays(&groups, "pd", "decode", 3, Duration::from_secs(3)).await?;
    ensure!(marked(&groups).await?.is_empty(), "no instance is marked before the size is written");
    // An operator that ends between its mark and its write leaves such a mark.
    let patch = Patch::Merge(json!({"metadata": {"annotations": {COST: "-2000000000"}}}));
    groups.api(Kind::Instance).patch(&names[0], &PatchParams::default(), &patch).await?;
    running(stage, &names[1], 0);
    until_requested(&groups, "pd", "decode", 2).await?;
    groups.until_role("pd", "decode", 2, 2).await?;
    let left: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
    ensure!(left == [names[0].clone(), names[2].clone()], "{left:?} are left of {names:?}");
    ensure!(marked(&groups).await?.is_empty(), "the mark of {} was left behind", names[0]);
    stage.until_condition("decode", "Draining", "False", "Drained").await.map(drop)
}

/// When the load returns before the controller has removed an instance, the marks are removed.
pub(crate) async fn returning_load_removes_the_marks(stage: &Stage) -> Result<()> {
    permit(stage, &[IN_SERVICE, COSTS]).await?;
    let mut groups = Groups::start(stage).await?;
    let names = begin(&groups).await?;
    groups.stop();
    running(stage, &names[1], 0);
    until_requested(&groups, "pd", "decode", 2).await?;
    until_marked(&groups, &[&names[1]]).await?;
    let instance = groups.get(Kind::Instance, &names[1]).await?;
    let writers = instance.managed_fields().iter().filter_map(|entry| entry.manager.clone());
    let writers: Vec<String> = writers.collect();
    ensure!(writers.contains(&"llm-autoscaler-pods".to_owned()), "{writers:?}");
    for name in &names {
        running(stage, name, 15);
    }
    until_requested(&groups, "pd", "decode", 3).await?;
    until_marked(&groups, &[]).await?;
    wait::until("all to be in service", SOON, async || {
        Ok(out_of_service(&groups).await?.is_empty().then_some(()))
    })
    .await
}

/// If the role is a Deployment, its pods are marked.
pub(crate) async fn a_role_that_is_a_deployment(stage: &Stage) -> Result<()> {
    permit(stage, &[IN_SERVICE, "llm-autoscaler-deletion-cost"]).await?;
    let groups = Groups::start(stage).await?;
    let role = as_kind(gated(standalone(stage, "decode", 3)), "apps/v1/Deployment");
    let names = begin_with(&groups, role).await?;
    running(stage, &names[1], 0);
    until_requested(&groups, "pd", "decode", 2).await?;
    let left = wait::until("two pods", SOON, async || {
        let pods: Vec<String> = groups.pods_of("pd", "decode").await?.into_keys().collect();
        Ok((pods.len() == 2).then_some(pods))
    })
    .await?;
    ensure!(left == [names[0].clone(), names[2].clone()], "{left:?} are left of {names:?}");
    Ok(())
}

/// Without the permission the size is written all the same, and a condition says that the choice of
/// instances is then not ours.
pub(crate) async fn without_the_permission(stage: &Stage) -> Result<()> {
    permit(stage, &[IN_SERVICE]).await?;
    let groups = Groups::start(stage).await?;
    let names = begin(&groups).await?;
    running(stage, &names[1], 0);
    until_requested(&groups, "pd", "decode", 2).await?;
    let effort = stage.until_condition("decode", "DrainBestEffort", "True", "NotPermitted").await?;
    ensure!(
        effort.message.contains(&format!("label the ClusterRole {COSTS}")),
        "{}",
        effort.message
    );
    Ok(())
}
