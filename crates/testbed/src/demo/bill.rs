//! The bill of the demo, and a watch of the pods that it has to agree with.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, SubsecRound, Utc};
use llm_autoscaler_testbed::{PodTimes, wait};
use serde_json::Value;

use super::{
    Story,
    stage::{NAME, Stage},
};

/// Watches the pods of the demo.
pub(super) async fn watch(stage: &Stage) -> Result<PodTimes> {
    PodTimes::watch(stage.client(), "default", &format!("app={NAME}")).await
}

/// Prints the bill, and compares its sum with the times of the pods: the difference is at most a
/// second for each, and 0.5 %.
pub(super) async fn compare(
    stage: &Stage,
    binary: &Path,
    times: &PodTimes,
    story: &Story,
) -> Result<()> {
    // The times of a status are whole seconds.
    let began = Utc::now().trunc_subsecs(0);
    // A quiet status is not written for the bill alone, a new generation of the spec is.
    let raise = r#"{"spec": {"maxReplicas": 4}}"#;
    stage.kubectl().run(&["patch", "llmautoscaler", NAME, "--type=merge", "-p", raise]).await?;
    let target = wait::until("the bill to go on", Duration::from_mins(1), async || {
        let status = stage.kubectl().run(&["get", "llmautoscaler", NAME, "-o", "json"]).await?;
        let status: Value = serde_json::from_str(&status)?;
        let until = &status["status"]["targets"][0]["bill"]["until"];
        let until = until.as_str().and_then(|until| until.parse::<DateTime<Utc>>().ok());
        if until.is_none_or(|until| until < began) {
            return Ok(None);
        }
        let printed = run(stage, binary, &["bill", "-o", "json", NAME]).await?;
        let bill: Value = serde_json::from_str(&printed)?;
        Ok(bill["autoscalers"][0]["targets"].get(0).cloned())
    })
    .await?;
    story.show("llm-autoscaler bill", &run(stage, binary, &["bill", NAME]).await?);
    let moment = |field: &str| -> Result<DateTime<Utc>> {
        Ok(target[field].as_str().context("the bill has no times")?.parse()?)
    };
    let (since, until) = (moment("since")?, moment("until")?);
    let billed = target["replicaSeconds"].as_f64().context("the bill has no sum")?;
    let (seen, pods) = (times.seconds(since, until), times.count(since, until));
    story
        .log(&format!("{billed:.2} replica-seconds are billed, a watch of the pods saw {seen:.2}"));
    let allowed = (pods as f64).min(0.005 * seen);
    ensure!((billed - seen).abs() <= allowed, "the bill does not add up within {allowed:.2} s");
    Ok(())
}

/// Runs the binary as the administrator, and returns its output.
async fn run(stage: &Stage, binary: &Path, args: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new(binary);
    command.args(args).env("KUBECONFIG", stage.kubeconfig()).kill_on_drop(true);
    let output = command.output().await.context("running llm-autoscaler")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "llm-autoscaler {args:?}: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
