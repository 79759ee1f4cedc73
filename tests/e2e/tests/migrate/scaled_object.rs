//! Migrations from KEDA's ScaledObject.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use llm_autoscaler_api::ScalingMode;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::{
    keda::{self, Keda, ORIGINAL},
    kills,
    observer::{HPA, OURS, Observer},
    scene::{self, NAME, SIZE},
};

/// The HPA of the stand-in.
const ITS_HPA: &str = "keda-hpa-a";
/// The record, the pause, the record, the adoption and the mode.
const WRITES: usize = 5;
/// The mode, the pause and the record.
const WRITES_BACK: usize = 3;

/// A paused ScaledObject has no HPA and keeps the size. A deleted one sets the size that was there
/// before it, where it is to.
pub(crate) async fn the_stand_in_does_what_keda_does(stage: &Stage) -> Result<()> {
    let objects = keda::scaled_objects(stage);
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    scene::queue(stage, 15);
    stage.engine(NAME, ORIGINAL.cast_unsigned()).await?;
    keda::create(stage).await?;
    let _keda = Keda::start(stage);
    stage.until_replicas(NAME, SIZE, SOON).await?;
    let paused = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
    objects.patch(NAME, &PatchParams::default(), &Patch::Merge(paused)).await?;
    wait::until("the ScaledObject to be paused", SOON, async || {
        Ok(hpas.get_opt(ITS_HPA).await?.is_none().then_some(()))
    })
    .await?;
    // A decision that the HPA's controller has begun is still written.
    tokio::time::sleep(Duration::from_secs(10)).await;
    scene::queue(stage, 5);
    stage.stays(NAME, SIZE, Duration::from_secs(3)).await?;
    let resumed = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": null}}});
    objects.patch(NAME, &PatchParams::default(), &Patch::Merge(resumed)).await?;
    stage.until_replicas(NAME, 1, SOON).await?;
    objects.delete(NAME, &DeleteParams::default()).await?;
    stage.until_replicas(NAME, ORIGINAL, SOON).await
}

/// The size stays as it is from the first call to the last, and back, and when the ScaledObject is
/// deleted after the switch.
pub(crate) async fn killed_between_a_scaled_object_and_ours(stage: &Stage) -> Result<String> {
    let objects = keda::scaled_objects(stage);
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    scene::start(stage).await?;
    keda::create(stage).await?;
    let _keda = Keda::start(stage);
    scene::until_agreed(stage, SIZE).await?;
    let observer = Observer::start(stage).await?;
    let before = objects.get(NAME).await?;

    let forward = kills::until_done(stage, &[]).await?;
    ensure!(forward == 2 * WRITES, "{forward} kills, and {WRITES} writes");
    ensure!(hpas.get_opt(ITS_HPA).await?.is_none(), "KEDA's HPA is still there");
    observer.is_adopted()?;
    observer.sizes_are(&[(SIZE, HPA)])?;
    // The paused ScaledObject is no obstacle.
    scene::follows(stage, 20, 4).await?;
    observer.sizes_are(&[(SIZE, HPA), (4, OURS)])?;

    let back = kills::until_done(stage, &["--back"]).await?;
    ensure!(back == 2 * WRITES_BACK, "{back} kills, and {WRITES_BACK} writes");
    let after = objects.get(NAME).await?;
    ensure!(after.data["spec"] == before.data["spec"], "another spec: {:?}", after.data["spec"]);
    ensure!(after.annotations().is_empty(), "{:?}", after.annotations());
    let mode = scene::autoscaler(stage).await?.spec.mode;
    ensure!(mode == ScalingMode::Recommend, "it still scales");
    observer.sizes_are(&[(4, OURS)])?;
    scene::follows(stage, 25, 5).await?;
    observer.sizes_are(&[(4, OURS), (5, HPA)])?;

    // Forward once more, and the ScaledObject goes for good.
    scene::until_agreed(stage, 5).await?;
    scene::migrate(stage, &["--yes"]).await?;
    objects.delete(NAME, &DeleteParams::default()).await?;
    wait::until("the ScaledObject to be gone", SOON, async || {
        Ok(objects.get_opt(NAME).await?.is_none().then_some(()))
    })
    .await?;
    stage.stays(NAME, 5, Duration::from_secs(3)).await?;
    observer.is_adopted()?;
    observer.sizes_are(&[(5, HPA)])?;
    Ok(format!("{} kills", forward + back))
}
