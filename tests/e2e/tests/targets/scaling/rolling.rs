//! Rollouts of roles.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::rbg::Kind;

use super::drains::{autoscaler, gated, permit, running, until_out};
use super::{stays, until_requested};
use crate::groups::{Groups, counts, scalable, standalone};

/// Nothing shrinks while instances are replaced, and a drain that has begun is cancelled; it begins
/// again at the end.
pub(crate) async fn drain_waits_for_a_rollout_of_a_role(stage: &Stage) -> Result<()> {
    permit(stage, &["llm-autoscaler-in-service"]).await?;
    let groups = Groups::start(stage).await?;
    let all_run = |requests: [u64; 3]| {
        for (replica, requests) in requests.into_iter().enumerate() {
            running(stage, &format!("pd-decode-{replica}"), requests);
        }
    };
    all_run([9, 9, 9]);
    autoscaler(stage).await?;
    groups.group("pd", &[scalable(gated(standalone(stage, "decode", 3)))]).await?;
    all_run([5, 5, 5]);
    until_out(&groups, &["pd-decode-2"]).await?;

    // The new instance does not become ready, so the rollout stops there.
    let last = format!("{}/pd-decode-2", stage.namespace);
    stage.script.set_ready(&last, false);
    groups.patch_template("pd", "2").await?;
    let held = stage.until_condition("decode", "Draining", "False", "RolloutInProgress").await?;
    ensure!(held.message.contains("of 3 replicas are updated"), "{}", held.message);
    running(stage, "pd-decode-2", 0);
    stays(&groups, "pd", "decode", 3, Duration::from_secs(4)).await?;

    stage.script.set_ready(&last, true);
    all_run([5, 5, 5]);
    stage.until_condition("decode", "Draining", "True", "RequestsInFlight").await?;
    let seen = counts(&groups.get(Kind::Group, "pd").await?, "decode").context("no status")?;
    ensure!(seen.updated == 3, "it was to wait for the end of the rollout: {seen:?}");
    all_run([8, 7, 0]);
    until_requested(&groups, "pd", "decode", 2).await?;
    groups.until_role("pd", "decode", 2, 2).await
}
