//! Migrations that are not safe, and something that comes in between.

use anyhow::{Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{api_proxy::HeldWrite, engine::Page, wait};
use serde_json::json;

use crate::{
    kills,
    scene::{self, NAME, SIZE, refused},
};

/// Nothing is written where the switch is refused.
pub(crate) async fn unsafe_switches_are_refused(stage: &Stage) -> Result<()> {
    scene::start(stage).await?;
    scene::create_hpa(stage).await?;
    scene::until_agreed(stage, SIZE).await?;
    refused(stage, &["--back", "--yes", "--timeout", "5"], "invalid value").await?;

    stage.autoscaler(NAME, json!({"mode": "Recommend", "maxReplicas": 2})).await?;
    wait::until("the smaller recommendation", SOON, async || {
        let status = stage.status(NAME).await?;
        Ok((status.desired_replicas == Some(2)).then_some(()))
    })
    .await?;
    let jump = "at the switch StatefulSet/a would go from 3 to 2 replicas at once, because of \
                maxReplicas";
    refused(stage, &["--yes"], jump).await?;

    stage.script.set(&format!("{}/{NAME}-1", stage.namespace), Page::text(""));
    stage.autoscaler(NAME, json!({"mode": "Recommend", "maxReplicas": 6})).await?;
    stage.until_condition(NAME, "SamplesComplete", "False", "MissingSamples").await?;
    refused(stage, &["--yes"], "is in doubt (SamplesComplete is False: ").await?;

    stage
        .autoscaler(
            "rival",
            json!({
                "maxReplicas": 6,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": NAME},
            }),
        )
        .await?;
    refused(stage, &["--yes"], "StatefulSet/a is scaled by the LLMAutoscaler rival").await?;

    let hpa = stage.api::<HorizontalPodAutoscaler>().get(NAME).await?;
    ensure!(hpa.spec.is_some_and(|spec| spec.max_replicas == 6), "it is as it was");
    let annotations = scene::autoscaler(stage).await?.metadata.annotations.unwrap_or_default();
    ensure!(!annotations.contains_key("llmautoscaler.io/migration"), "{annotations:?}");
    Ok(())
}

/// An HPA that is created again after it has been stopped keeps the target: there is no switch, and
/// going back leaves it alone.
pub(crate) async fn another_autoscaler_comes_in_between(stage: &Stage) -> Result<()> {
    scene::start(stage).await?;
    scene::create_hpa(stage).await?;
    scene::until_agreed(stage, SIZE).await?;
    kills::killed(stage, &[], &[HeldWrite::After, HeldWrite::After]).await?;
    scene::create_hpa(stage).await?;
    let again = "the HorizontalPodAutoscaler a has been created again";
    refused(stage, &["--yes"], again).await?;
    let told = scene::migrate(stage, &["--back", "--yes"]).await?;
    ensure!(told.contains("Done. The LLMAutoscaler a only recommends."), "{told}");
    scene::until_agreed(stage, SIZE).await?;
    scene::follows(stage, 20, 4).await
}
