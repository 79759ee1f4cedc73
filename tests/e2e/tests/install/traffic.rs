//! The load of a target, while copies of the operator come and go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::copies::Copies;

/// The target.
pub(crate) const NAME: &str = "vllm-inference";

/// Plays the guide's scenario, a queue of 11 against a target of 5, with the leader killed while
/// three replicas run. Returns the time from its death to the next decision of the other copy.
pub(crate) async fn grow_and_lose_the_leader(
    stage: &Stage,
    copies: &mut Copies<'_>,
) -> Result<Duration> {
    stage.engine(NAME, 1).await?;
    let window = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3}}});
    stage.autoscaler(NAME, window).await?;
    let ready = stage.until_condition(NAME, "Ready", "True", "Scaling").await;
    ready.with_context(|| copies.logs())?;
    grow(stage).await.with_context(|| copies.logs())?;

    let killed = copies.kill_leader().await?;
    let began = Instant::now();
    stage.waiting(NAME, 0);
    stage.until_replicas(NAME, 1, SOON).await.with_context(|| copies.logs())?;
    let gap = began.elapsed();
    until_reported(stage, 1).await?;
    copies.restart(killed).await?;
    ensure!(copies.leader().await? != killed, "the copy that was restarted took the Lease back");
    Ok(gap)
}

/// Fills the queue, and waits for three replicas, and for the status that says so.
pub(crate) async fn grow(stage: &Stage) -> Result<()> {
    stage.waiting(NAME, 11);
    stage.until_replicas(NAME, 3, SOON).await?;
    until_reported(stage, 3).await?;
    stage.until_ready(NAME, 3).await
}

/// Empties the queue, and waits for one replica.
pub(crate) async fn shrink(stage: &Stage) -> Result<()> {
    stage.waiting(NAME, 0);
    stage.until_replicas(NAME, 1, SOON).await?;
    until_reported(stage, 1).await?;
    stage.until_ready(NAME, 1).await
}

/// Waits until the status has a size, which is written after the size itself.
async fn until_reported(stage: &Stage, replicas: i32) -> Result<()> {
    wait::until("the status to have the size", SOON, async || {
        let desired = stage.status(NAME).await?.desired_replicas;
        Ok((desired == Some(replicas)).then_some(()))
    })
    .await
}

/// Fails if the target or its autoscaler has suffered from an uninstallation.
pub(crate) async fn ensure_left_alone(stage: &Stage, replicas: i32) -> Result<()> {
    let found = stage.replicas(NAME).await?;
    ensure!(found == replicas, "{NAME} has {found} replicas");
    let status = stage.status(NAME).await?;
    ensure!(status.desired_replicas == Some(replicas), "{status:?}");
    stage.until_ready(NAME, replicas).await
}
