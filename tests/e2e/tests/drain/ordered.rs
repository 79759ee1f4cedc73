//! StatefulSets that create and remove one pod after the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::gated::{self, GATE, PodSettings, running, until_in_service};

const ORDERED: PodSettings<'_> =
    PodSettings { grace: 30, gates: &[GATE], management: "OrderedReady", pre_stop: None };

/// The highest existing ordinal is drained; an ordinal that has not been created yet is not waited
/// for.
pub(crate) async fn highest_existing_ordinal_drains(stage: &Stage) -> Result<()> {
    gated::permit(stage).await?;
    stage.script.set_all(&gated::page(9));
    let last = format!("{}/a-2", stage.namespace);
    stage.script.set_ready(&last, false);
    gated::autoscaler(stage, "a", 60, json!({"maxReplicas": 4})).await?;
    gated::create_with(stage, "a", 4, &ORDERED).await?;
    wait::until("a-1", SOON, async || Ok(stage.api::<Pod>().get_opt("a-1").await?.map(drop)))
        .await?;
    until_in_service(stage, "a-1", true).await?;
    stage.until_condition("a", "ScalingActive", "True", "ValidMetricFound").await?;
    stage.stays("a", 4, Duration::from_secs(2)).await?;
    let not_there = stage.api::<Pod>().get_opt("a-3").await?;
    ensure!(not_there.is_none(), "a-3 was to wait for a-2");
    gated::autoscaler(stage, "a", 60, json!({"maxReplicas": 3})).await?;
    stage.until_replicas("a", 3, SOON).await?;
    let gate = gated::condition(stage, "a-2", GATE).await?;
    ensure!(gate.as_deref() == Some("True"), "a-2 was not to go: {gate:?}");

    stage.script.set_ready(&last, true);
    stage.until_ready("a", 3).await?;
    stage.script.set_all(&gated::page(5));
    until_in_service(stage, "a-2", false).await?;
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    running(stage, "a-0", 8);
    running(stage, "a-1", 7);
    running(stage, "a-2", 0);
    stage.until_replicas("a", 2, SOON).await?;
    stage.until_ready("a", 2).await
}

/// Several pods are drained one after the other from the highest ordinal, because an `OrderedReady`
/// StatefulSet removes no pod while a lower one is not ready.
pub(crate) async fn several_pods_drain_one_by_one(stage: &Stage) -> Result<()> {
    gated::permit(stage).await?;
    stage.script.set_all(&gated::page(9));
    gated::autoscaler(stage, "a", 60, json!({})).await?;
    gated::create_with(stage, "a", 3, &ORDERED).await?;
    stage.until_ready("a", 3).await?;
    stage.script.set_all(&gated::page(2));
    until_in_service(stage, "a-2", false).await?;
    for ordinal in 0..3 {
        running(stage, &format!("a-{ordinal}"), 0);
    }
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_ready("a", 1).await
}
