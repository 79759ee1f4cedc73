//! Waits for what an LLMAutoscaler recommends beside another autoscaler.

use anyhow::Result;
use llm_autoscaler_testbed::wait;

use crate::stage::{SOON, Stage};

/// Waits until a target has its size, and the recommendation of the LLMAutoscaler of the same name
/// is the same and beyond doubt.
///
/// # Errors
/// They are not of one mind in time.
pub async fn until_agreed(stage: &Stage, name: &str, size: i32) -> Result<()> {
    stage.until_replicas(name, size, SOON).await?;
    stage.until_ready(name, size).await?;
    wait::until("a recommendation beyond doubt", 2 * SOON, async || {
        let status = stage.status(name).await?;
        let is = |type_: &str| {
            status.conditions.iter().any(|it| it.type_ == type_ && it.status == "True")
        };
        let is_certain = is("Ready") && is("SamplesComplete") && is("ScalingActive");
        let sizes = (status.current_replicas, status.desired_replicas);
        Ok((is_certain && sizes == (Some(size), Some(size))).then_some(()))
    })
    .await
}
