//! The bill of replicas by the reason of their existence.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use llm_autoscaler_testbed::{PodTimes, wait};
use serde_json::{Value, json};

use crate::{
    billing, claims,
    stage::{SOON, Stage},
};

/// The bill adds up to the times of the pods although the operator is killed while pods come and
/// go, and the metrics and the table have its reasons.
pub(super) async fn bill_adds_up_across_a_kill(stage: &Stage) -> Result<String> {
    let times = PodTimes::watch(stage.client(), &stage.namespace, "app=a").await?;
    stage.engine("a", 1).await?;
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    stage.autoscaler("a", json!({"gpusPerReplica": 8, "behavior": behavior})).await?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_ready("a", 3).await?;
    until_billed(stage, 3).await?;

    // A replica is replaced while no operator runs.
    stage.operator.kill();
    stage.api::<Pod>().delete("a-1", &DeleteParams::default()).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.operator.start()?;
    stage.until_ready("a", 3).await?;
    until_billed(stage, 3).await?;

    // The operator is killed as soon as it has removed two replicas.
    stage.waiting("a", 0);
    stage.until_replicas("a", 1, SOON).await?;
    until_billed(stage, 1).await?;
    stage.operator.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.operator.start()?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    until_billed(stage, 1).await?;
    let text = billing::adds_up(stage, "a", &[("a", &times)]).await?;

    let page = stage.operator.metrics().await?;
    for series in ["replica_seconds", "gpu_seconds"] {
        let line = format!("llm_autoscaler_{series}_total{{reason=\"floor\"}} ");
        ensure!(page.contains(&line), "{line} is missing: {page}");
    }
    let namespace = &*stage.namespace;
    let table = ["bill", "-n", namespace, "--price-per-gpu-hour", "2.5"];
    let table = stage.run_binary(&table).await?;
    for word in ["Starting", "(total)", "(static fleet)", "COST"] {
        ensure!(table.contains(word), "{word} is missing: {table}");
    }
    let json = stage.run_binary(&["bill", "-A", "-o", "json"]).await?;
    let json: Value = serde_json::from_str(&json)?;
    let all = json["autoscalers"].as_array().context("no list")?;
    let own = all.iter().find(|it| it["namespace"] == namespace).context("not among all")?;
    let (replicas, gpus) = (own["replicaSeconds"].as_f64(), own["gpuSeconds"].as_f64());
    ensure!(replicas.map(|replicas| 8.0 * replicas) == gpus, "{own}");
    ensure!(own["targets"][0]["peakReplicas"] == 3, "{own}");
    let unknown = stage.run_binary(&["bill", "-n", namespace, "b"]).await;
    let error = unknown.err().context("an unknown name has a bill")?.to_string();
    ensure!(error.contains("there is no LLMAutoscaler b in the namespace"), "{error}");
    Ok(text)
}

/// The GPUs that pods have by ResourceClaims are in the bill once they are allocated, and a number
/// of the spec replaces them.
pub(super) async fn gpus_of_claims_are_billed(stage: &Stage) -> Result<String> {
    claims::create(stage, "a", 2).await?;
    stage.until_ready("a", 2).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    until_billed(stage, 2).await?;
    claims::allocate(stage, "a", 2).await?;
    until_gpus(stage, 4).await?;
    // The next process reads the claims of pods that are there, too.
    stage.operator.kill();
    stage.operator.start()?;
    stage.waiting("a", 11);
    stage.until_ready("a", 3).await?;
    claims::allocate(stage, "a", 3).await?;
    until_gpus(stage, 6).await?;
    stage.autoscaler("a", json!({"gpusPerReplica": 8})).await?;
    until_gpus(stage, 24).await?;
    Ok("2 replicas of 2 GPUs, 3 of 2, and 3 of 8 by gpusPerReplica".to_owned())
}

/// Waits until the status has this many GPUs in its bill. Their number alone causes no write at
/// once, and a claim that is not allocated is read ever less often.
async fn until_gpus(stage: &Stage, gpus: u64) -> Result<()> {
    wait::until(&format!("{gpus} GPUs in the bill"), 4 * SOON, async || {
        let status = stage.status("a").await?;
        let record = status.targets.first().and_then(|target| target.bill.as_ref()?.record());
        let found = record.map(|record| record.open.values().map(|counts| counts.gpus).sum());
        Ok((found == Some(gpus)).then_some(()))
    })
    .await
}

/// Waits until the status has this many replicas in its bill.
async fn until_billed(stage: &Stage, replicas: u32) -> Result<()> {
    wait::until(&format!("{replicas} replicas in the bill"), SOON, async || {
        let status = stage.status("a").await?;
        let target = status.targets.first();
        let record = target.and_then(|target| target.bill.as_ref()?.record());
        Ok(record.is_some_and(|record| record.replicas() == replicas).then_some(()))
    })
    .await
}
