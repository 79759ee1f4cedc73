//! The decisions of the operator, by its log, and those of `evaluate` and `simulate`.

use std::{fs::File, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use llm_autoscaler_e2e::operator_binary;
use serde_json::{Value, json};

/// The decision of one step: the desired size, and the size that was written.
pub(crate) type Decision = (Option<i64>, Option<i64>);

/// A step of the operator.
pub(crate) struct Step {
    pub at: DateTime<Utc>,
    /// Everything that it rests on, as a case has it.
    pub case: Value,
    /// The decision; `None` while the first samples were on their way.
    pub decision: Option<Decision>,
}

impl Step {
    /// Returns the requested size, as the step has read it.
    pub(crate) fn size(&self) -> Option<i64> {
        self.case["roles"][0]["scale"]["specReplicas"].as_i64()
    }
}

/// Reads the steps from the operator's log.
pub(crate) fn steps(log: &str) -> Result<Vec<Step>> {
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let steps = entries.filter(|entry| entry["target"] == "llm_autoscaler::steps");
    let step = |entry: Value| -> Result<Step> {
        let text =
            |field: &str| entry["fields"][field].as_str().context("no text").map(str::to_owned);
        let decisions: Value = serde_json::from_str(&text("decisions")?)?;
        Ok(Step {
            at: entry["timestamp"].as_str().context("no time")?.parse()?,
            case: serde_json::from_str(&text("step")?)?,
            decision: decisions
                .get(0)
                .map(|role| (role["desired"].as_i64(), role["written"].as_i64())),
        })
    };
    steps.map(step).collect()
}

/// Answers the steps of an autoscaler with this spec by `evaluate`.
pub(crate) async fn evaluated(
    folder: &Path,
    spec: &Value,
    steps: &[Step],
) -> Result<Vec<Option<Decision>>> {
    let steps: Vec<&Value> = steps.iter().map(|step| &step.case).collect();
    let case = json!({"mode": "step", "profile": "Default", "spec": spec, "steps": steps});
    let file = folder.join("steps.json");
    std::fs::write(&file, case.to_string())?;
    let mut command = tokio::process::Command::new(operator_binary()?);
    let command = command.arg("evaluate").stdin(Stdio::from(File::open(&file)?));
    let output = command.kill_on_drop(true).output().await?;
    let answer: Value = serde_json::from_slice(&output.stdout).context("the answer of evaluate")?;
    ensure!(answer["error"].is_null(), "{}", answer["error"]);
    let decision = |step: &Value| {
        let desired = step["roles"][0]["decision"]["desired"].as_i64();
        let is_made = step["waitsForSamples"] != true;
        is_made.then(|| (desired, step["writes"][0]["to"].as_i64()))
    };
    Ok(answer["steps"].as_array().context("no steps")?.iter().map(decision).collect())
}

/// Returns the requested size in each second of a simulation, and the number of its writes.
pub(crate) fn simulated(output: &str, seconds: usize) -> Result<(Vec<i64>, usize)> {
    let output: Value = serde_json::from_str(output)?;
    let changes = output["policies"][0]["sizeChanges"].as_array().context("no changes")?;
    let changes: Vec<(f64, i64)> = changes
        .iter()
        .map(|change| Some((change["t"].as_f64()?, change["to"].as_i64()?)))
        .collect::<Option<_>>()
        .context("a change without a time")?;
    Ok((by_second(&changes, seconds), changes.len()))
}

/// Returns the size in each second, by the times at which it changed from 1.
pub(crate) fn by_second(changes: &[(f64, i64)], seconds: usize) -> Vec<i64> {
    let size = |second: usize| {
        let before = changes.iter().take_while(|(at, _)| *at <= second as f64);
        before.last().map_or(1, |(_, size)| *size)
    };
    (0..seconds).map(size).collect()
}
