//! A target under another autoscaler, with an LLMAutoscaler that recommends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::PostParams;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::engine::Page;
use serde_json::{Value, json};

/// The name of the target, of the LLMAutoscaler and of the other one.
pub(crate) const NAME: &str = "a";
/// The replicas that the load of [`start`] asks for. The minimum of both autoscalers is 1.
pub(crate) const SIZE: i32 = 3;

/// Returns the spec of an HPA that has 5 waiting requests per replica, and follows at once.
pub(crate) fn hpa_spec() -> Value {
    json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": NAME},
        "minReplicas": 1, "maxReplicas": 6,
        "metrics": [{"type": "Pods", "pods": {
            "metric": {"name": "vllm:num_requests_waiting"},
            "target": {"type": "AverageValue", "averageValue": "5"},
        }}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    })
}

/// Creates the HPA.
pub(crate) async fn create_hpa(stage: &Stage) -> Result<()> {
    let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": NAME, "labels": {"team": "serving"}}, "spec": hpa_spec(),
    }))?;
    stage.api::<HorizontalPodAutoscaler>().create(&PostParams::default(), &hpa).await?;
    Ok(())
}

/// Sets the queue, all of which is at one pod.
pub(crate) fn queue(stage: &Stage, waiting: u64) {
    stage.script.set(&format!("{}/{NAME}-0", stage.namespace), Page::waiting(waiting));
}

/// Creates the target and the LLMAutoscaler.
pub(crate) async fn start(stage: &Stage) -> Result<()> {
    stage.operator.start_with(&["--sync-period-seconds=1"])?;
    queue(stage, 15);
    stage.engine(NAME, 1).await?;
    stage.autoscaler(NAME, json!({"mode": "Recommend", "maxReplicas": 6})).await
}

/// Waits until the target has its size, and the recommendation is the same and beyond doubt.
pub(crate) async fn until_agreed(stage: &Stage, size: i32) -> Result<()> {
    llm_autoscaler_e2e::until_agreed(stage, NAME, size).await
}

/// Returns the LLMAutoscaler.
pub(crate) async fn autoscaler(stage: &Stage) -> Result<LLMAutoscaler> {
    Ok(stage.api::<LLMAutoscaler>().get(NAME).await?)
}

/// Changes the load, and checks that the target follows. Waits first for the time after which a
/// change of size may follow another.
pub(crate) async fn follows(stage: &Stage, waiting: u64, size: i32) -> Result<()> {
    queue(stage, waiting);
    stage.until_replicas(NAME, size, SOON).await.context("after the load has changed")?;
    stage.until_ready(NAME, size).await?;
    stage.stays(NAME, size, Duration::from_secs(2)).await
}

/// Calls `migrate`, and returns what it prints.
pub(crate) async fn migrate(stage: &Stage, args: &[&str]) -> Result<String> {
    let all = [&["migrate", NAME, "-n", &stage.namespace], args].concat();
    stage.run_binary(&all).await
}

/// Calls `migrate`, which is to fail with a text that has this part.
pub(crate) async fn refused(stage: &Stage, args: &[&str], part: &str) -> Result<()> {
    match migrate(stage, args).await {
        Ok(printed) => anyhow::bail!("it was to be refused with {part:?}:\n{printed}"),
        Err(error) => {
            ensure!(format!("{error:#}").contains(part), "{part:?} is not in {error:#}");
            Ok(())
        }
    }
}
