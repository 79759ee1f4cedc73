//! Measures one autoscaler that steps again and again.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    INTERVALS,
    chain::{self, Chain},
    report,
    sizes::Sizes,
};

/// The timeout of a step.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Runs all series side by side; they hardly influence each other.
pub(crate) async fn measure(cluster: &Arc<Cluster>, steps: usize) -> Result<()> {
    println!("one autoscaler, {steps} steps each");
    let stage = &Stage::create(cluster.clone(), "one").await?;
    let sizes = &Sizes::watch(stage.api());
    stage.create_engine("hpa", 1).await?;
    let _chain = Chain::start(stage).await?;
    chain::create_hpa(stage, "hpa").await?;
    chain::until_active(stage, "hpa").await?;
    let ours = futures::future::try_join_all(INTERVALS.map(|interval| async move {
        let name = format!("every-{interval}");
        stage.create_engine(&name, 1).await?;
        let spec = json!({
            "sources": [{"scrape": {"intervalSeconds": interval, "timeoutSeconds": 1}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            "podMonitor": {"mode": "Disabled"},
        });
        stage.autoscaler(&name, spec).await?;
        stage.until_condition(&name, "Ready", "True", "Scaling").await?;
        let rest = Duration::from_secs(u64::from(interval));
        report(
            &format!("sampled every {interval} s"),
            series(stage, sizes, &name, rest, steps).await?,
        )
    }));
    let theirs = async {
        let times = series(stage, sizes, "hpa", Duration::from_secs(15), steps).await?;
        report("Prometheus, adapter, HPA", times)
    };
    tokio::try_join!(ours, theirs)?;
    Ok(())
}

/// Steps up and back `steps` times. Returns the time that each step up took. `rest` is the polling
/// interval of the autoscaler: steps begin at a random moment of it.
async fn series(
    stage: &Stage,
    sizes: &Sizes,
    name: &str,
    rest: Duration,
    steps: usize,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps {
        until_settled(stage, sizes, name).await?;
        tokio::time::sleep(rest + rest.mul_f64(fastrand::f64())).await;
        let began = Instant::now();
        stage.waiting(name, 11);
        times.push(sizes.until(name, 3, TIMEOUT).await? - began);
        stage.waiting(name, 0);
    }
    Ok(times)
}

/// Waits until one replica is requested and exists.
async fn until_settled(stage: &Stage, sizes: &Sizes, name: &str) -> Result<()> {
    sizes.until(name, 1, TIMEOUT).await?;
    let sets = stage.api::<StatefulSet>();
    wait::until(&format!("one replica of {name}"), TIMEOUT, async || {
        let status = sets.get(name).await?.status.unwrap_or_default();
        Ok((status.replicas == 1 && status.ready_replicas == Some(1)).then_some(()))
    })
    .await
}
