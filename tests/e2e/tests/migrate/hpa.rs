//! Migrations from the real HPA.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use llm_autoscaler_api::ScalingMode;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::api_proxy::HeldWrite;

use crate::{
    kills,
    observer::{HPA, OURS, Observer},
    scene::{self, NAME, SIZE},
};

/// The record, the deletion, the record, the adoption and the mode.
const WRITES: usize = 5;
/// The mode, the HPA and the record.
const WRITES_BACK: usize = 3;

/// The size stays as it is from the first call to the last, and back. Before, between and after,
/// one autoscaler follows the load.
pub(crate) async fn killed_between_an_hpa_and_ours(stage: &Stage) -> Result<String> {
    scene::start(stage).await?;
    scene::create_hpa(stage).await?;
    scene::until_agreed(stage, SIZE).await?;
    let observer = Observer::start(stage).await?;

    let told = scene::migrate(stage, &[]).await?;
    ensure!(told.contains("5. adopt spec.replicas of StatefulSet/a as it is: 3"), "{told}");
    ensure!(told.contains("Nothing has been written."), "{told}");
    stage.stays(NAME, SIZE, Duration::from_secs(1)).await?;
    ensure!(stage.api::<HorizontalPodAutoscaler>().get_opt(NAME).await?.is_some(), "a dry run");

    let forward = kills::until_done(stage, &[]).await?;
    ensure!(forward == 2 * WRITES, "{forward} kills, and {WRITES} writes");
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    ensure!(hpas.get_opt(NAME).await?.is_none(), "the HPA is still there");
    ensure!(scene::autoscaler(stage).await?.spec.mode == ScalingMode::Scale, "no switch");
    observer.is_adopted()?;
    observer.sizes_are(&[(SIZE, HPA)])?;
    let again = scene::migrate(stage, &["--yes"]).await?;
    ensure!(again.contains("Nothing is left to do."), "{again}");
    scene::follows(stage, 20, 4).await?;
    observer.sizes_are(&[(SIZE, HPA), (4, OURS)])?;

    let back = kills::until_done(stage, &["--back"]).await?;
    ensure!(back == 2 * WRITES_BACK, "{back} kills, and {WRITES_BACK} writes");
    let hpa = hpas.get(NAME).await?;
    ensure!(hpa.metadata.labels.is_some_and(|all| all.contains_key("team")), "other labels");
    let object = scene::autoscaler(stage).await?;
    ensure!(object.spec.mode == ScalingMode::Recommend, "it still scales");
    let annotations = object.metadata.annotations.unwrap_or_default();
    ensure!(!annotations.contains_key("llmautoscaler.io/migration"), "{annotations:?}");
    observer.sizes_are(&[(4, OURS)])?;
    scene::follows(stage, 25, 5).await?;
    observer.sizes_are(&[(4, OURS), (5, HPA)])?;
    Ok(format!("{} kills", forward + back))
}

/// Between the end of the HPA and the switch nothing scales. The load that grows meanwhile is
/// followed once, by the LLMAutoscaler, after the switch.
pub(crate) async fn load_grows_while_nothing_scales(stage: &Stage) -> Result<()> {
    scene::start(stage).await?;
    scene::create_hpa(stage).await?;
    scene::until_agreed(stage, SIZE).await?;
    let observer = Observer::start(stage).await?;
    let two_writes = [HeldWrite::After, HeldWrite::After];
    kills::killed(stage, &[], &two_writes).await?;
    // A decision that the HPA's controller has begun is still written.
    tokio::time::sleep(Duration::from_secs(10)).await;
    scene::queue(stage, 25);
    stage.stays(NAME, SIZE, Duration::from_secs(5)).await?;
    let told = scene::migrate(stage, &["--yes"]).await?;
    ensure!(told.contains("Done. The LLMAutoscaler a scales its target."), "{told}");
    stage.until_replicas(NAME, 5, Duration::from_secs(30)).await?;
    stage.stays(NAME, 5, Duration::from_secs(3)).await?;
    observer.sizes_are(&[(SIZE, HPA), (5, OURS)])
}
