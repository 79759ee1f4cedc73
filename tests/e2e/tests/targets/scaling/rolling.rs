//! Rollouts of roles.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::rbg::Kind;

use super::drains::{autoscaler, gated, permit, running, until_out};
use super::{stays, until_requested};
use crate::groups::{Groups, counts, number, scalable, standalone};

/// Sets the running requests of the three instances of decode.
fn all_run(stage: &Stage, requests: [u64; 3]) {
    for (replica, requests) in requests.into_iter().enumerate() {
        running(stage, &format!("pd-decode-{replica}"), requests);
    }
}

/// A drain that blocks a rollout is given up, and begins again at its end.
///
/// The pod that drains is not ready, which is all that may be unavailable, so no instance is
/// updated; the group's status goes on saying that all are. Only the role's workload tells.
pub(crate) async fn drain_makes_way_for_a_rollout_of_a_role(stage: &Stage) -> Result<()> {
    permit(stage, &["llm-autoscaler-in-service"]).await?;
    let groups = Groups::start(stage).await?;
    all_run(stage, [9, 9, 9]);
    autoscaler(stage).await?;
    groups.group("pd", &[scalable(gated(standalone(stage, "decode", 3)))]).await?;
    all_run(stage, [5, 5, 5]);
    until_out(&groups, &["pd-decode-2"]).await?;

    groups.patch_template("pd", "2").await?;
    let held = stage.until_condition("decode", "Draining", "False", "RolloutInProgress").await?;
    ensure!(held.message.contains("of 3 replicas are updated"), "{}", held.message);
    let is_done = |set: &_| number(set, "/status/updatedReplicas") == Some(3);
    groups.until(Kind::InstanceSet, "pd-decode", "the end of the rollout", is_done).await?;

    until_out(&groups, &["pd-decode-2"]).await?;
    all_run(stage, [8, 7, 0]);
    until_requested(&groups, "pd", "decode", 2).await?;
    groups.until_role("pd", "decode", 2, 2).await
}

/// Nothing shrinks during a rollout that something else blocks: an instance that was not ready
/// before it.
pub(crate) async fn nothing_shrinks_during_a_blocked_rollout(stage: &Stage) -> Result<()> {
    permit(stage, &["llm-autoscaler-in-service"]).await?;
    let groups = Groups::start(stage).await?;
    all_run(stage, [9, 9, 9]);
    groups.group("pd", &[scalable(gated(standalone(stage, "decode", 3)))]).await?;
    autoscaler(stage).await?;
    stage.until_condition("decode", "Draining", "False", "Idle").await?;
    let first = format!("{}/pd-decode-0", stage.namespace);
    stage.script.set_ready(&first, false);
    groups.until_role("pd", "decode", 3, 2).await?;
    groups.patch_template("pd", "2").await?;
    all_run(stage, [5, 5, 5]);
    let held = stage.until_condition("decode", "Draining", "False", "RolloutInProgress").await?;
    ensure!(held.message.contains("0 of 3 replicas are updated"), "{}", held.message);
    let stated = counts(&groups.get(Kind::Group, "pd").await?, "decode").context("no status")?;
    ensure!(stated.updated == 3, "the group's status was to be outdated: {stated:?}");
    stays(&groups, "pd", "decode", 3, Duration::from_secs(4)).await?;

    stage.script.set_ready(&first, true);
    stage.until_condition("decode", "Draining", "True", "RequestsInFlight").await?;
    all_run(stage, [8, 7, 0]);
    until_requested(&groups, "pd", "decode", 2).await
}
