//! The scenario of the guide that this operator replaces: a queue of 11 against a target of 5.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::{Stage, stage::SOON};

const NAME: &str = "vllm-inference";

/// A replica with a queue of 11 grows to 3 with the HPA's conditions and events. When the queue
/// is gone, the target shrinks to 1.
pub(super) async fn queue_grows_and_goes(stage: &Stage) -> Result<()> {
    stage.engine(NAME, 1).await?;
    stage
        .autoscaler(NAME, json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}}))
        .await?;
    stage.until_condition(NAME, "Ready", "True", "Scaling").await?;
    stage.stays(NAME, 1, Duration::from_secs(2)).await?;

    let began = Instant::now();
    stage.waiting(NAME, 11);
    stage.until_replicas(NAME, 3, SOON).await?;
    println!("    1 -> 3 after {:.2} s, sampling every second", began.elapsed().as_secs_f64());
    grown(stage).await?;

    stage.waiting(NAME, 0);
    let emptied = Instant::now();
    stage.until_replicas(NAME, 1, SOON).await?;
    ensure!(
        emptied.elapsed() >= Duration::from_secs(4),
        "shrunk after {:?}, within the window",
        emptied.elapsed()
    );
    let note = "New size: 1; reason: All metrics below target";
    stage.until_event(NAME, "SuccessfulRescale", note).await?;
    stage.until_ready(NAME, 1).await
}

async fn grown(stage: &Stage) -> Result<()> {
    let note = "New size: 3; reason: pods metric vllm:num_requests_waiting above target";
    stage.until_event(NAME, "SuccessfulRescale", note).await?;
    let able = stage.until_condition(NAME, "AbleToScale", "True", "SucceededRescale").await?;
    ensure!(
        able.message == "the HPA controller was able to update the target scale to 3",
        "{}",
        able.message
    );
    let active = stage.until_condition(NAME, "ScalingActive", "True", "ValidMetricFound").await?;
    let message = "the HPA was able to successfully calculate a replica count from pods metric vllm:num_requests_waiting";
    ensure!(active.message == message, "{}", active.message);

    let status = stage.status(NAME).await?;
    let types: Vec<&str> =
        status.conditions.iter().take(3).map(|condition| condition.type_.as_str()).collect();
    ensure!(types == ["AbleToScale", "ScalingActive", "ScalingLimited"], "{types:?}");
    let first = status.targets[0].decisions.iter().rfind(|decision| decision.from == 1);
    ensure!(
        first.is_some_and(|decision| decision.to == 3 && decision.limited_by == "DesiredWithinRange"),
        "{status:?}"
    );
    columns(stage).await?;
    explained(stage).await
}

/// `llm-autoscaler explain` prints the same from the status alone.
async fn explained(stage: &Stage) -> Result<()> {
    let text = stage.run_binary(&["explain", NAME, "--namespace", &stage.namespace]).await?;
    let expected = [
        "keeps StatefulSet/vllm-inference between 1 and 3 replicas",
        "WaitingRequests (vllm:num_requests_waiting): 11 / 5",
        "1 -> 3  DesiredWithinRange",
    ];
    for part in expected {
        ensure!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    Ok(())
}

/// `kubectl get llmautoscalers` shows the columns of the HPA.
async fn columns(stage: &Stage) -> Result<()> {
    let table = stage.control_plane().kubectl(["-n", &stage.namespace, "get", "llmas"]).await?;
    let head: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    let expected = "NAME REFERENCE ENGINE TARGETS MINPODS MAXPODS REPLICAS DESIRED READY AGE";
    ensure!(head.join(" ") == expected, "{table}");
    ensure!(
        table.contains("StatefulSet/vllm-inference") && table.contains("waiting 11/5"),
        "{table}"
    );
    Ok(())
}
