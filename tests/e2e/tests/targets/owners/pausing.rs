//! Pausing by an annotation.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

async fn annotate(stage: &Stage, name: &str, annotation: &str) -> Result<()> {
    let arguments =
        ["-n", &stage.namespace, "annotate", "--overwrite", "llmautoscalers", name, annotation];
    stage.control_plane().kubectl(arguments).await.map(drop)
}

/// While an autoscaler is paused nothing is written, even after a restart, and the status shows the
/// desired size. Removing the annotation applies it at once.
pub(crate) async fn paused_and_unpaused(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    annotate(stage, "a", "llmautoscaler.io/paused=true").await?;
    stage.until_condition("a", "Paused", "True", "PausedByAnnotation").await?;
    stage.until_condition("a", "Ready", "True", "Paused").await?;
    stage.waiting("a", 11);
    stage.stays("a", 1, Duration::from_secs(4)).await?;
    wait::until("the status to show the desired size", SOON, async || {
        let status = stage.status("a").await?;
        let shows = |text: &str| {
            status.conditions.iter().any(|c| c.type_ == "Paused" && c.message.contains(text))
        };
        let is_told =
            shows("it would be scaled from 1 to 3 now") && status.desired_replicas == Some(3);
        Ok((is_told && status.summary.as_deref() == Some("waiting 11/5")).then_some(()))
    })
    .await?;
    let page = stage.operator.metrics().await?;
    ensure!(page.contains("llm_autoscaler_withheld_total{reason=\"paused\"}"), "{page}");

    stage.operator.kill();
    stage.operator.start()?;
    // A violated bound is not corrected either, nor is a new version of the spec applied.
    stage.autoscaler("a", json!({"minReplicas": 2})).await?;
    stage.stays("a", 1, Duration::from_secs(4)).await?;

    annotate(stage, "a", "llmautoscaler.io/paused-").await?;
    let unpaused = std::time::Instant::now();
    stage.until_replicas("a", 2, Duration::from_secs(3)).await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let paused = stage.status("a").await?.conditions.into_iter().find(|c| c.type_ == "Paused");
    ensure!(
        paused.is_none(),
        "{paused:?}, {:?} after the annotation was removed",
        unpaused.elapsed()
    );
    Ok(())
}

/// After a pause the stabilization window begins anew: recommendations of the paused time do not
/// shrink the target.
pub(crate) async fn nothing_shrinks_at_once_after_a_pause(stage: &Stage) -> Result<()> {
    const WINDOW: u64 = 8;
    stage.engine("a", 3).await?;
    stage.waiting("a", 5);
    stage
        .autoscaler("a", json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW}}}))
        .await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    annotate(stage, "a", "llmautoscaler.io/paused=true").await?;
    stage.until_condition("a", "Paused", "True", "PausedByAnnotation").await?;
    stage.waiting("a", 0);
    stage.stays("a", 3, Duration::from_secs(WINDOW + 4)).await?;
    annotate(stage, "a", "llmautoscaler.io/paused=false").await?;
    stage.stays("a", 3, Duration::from_secs(WINDOW - 2)).await?;
    stage.until_replicas("a", 1, SOON).await
}
