//! Runs the scenarios: all of them, or those with names that contain the argument.

use std::process::ExitCode;

use llm_autoscaler_e2e::{runner, scenarios};

/// Scenarios mostly wait, so several run at a time.
const AT_A_TIME: usize = 6;

#[tokio::main]
async fn main() -> ExitCode {
    runner::run(scenarios::all(), AT_A_TIME).await
}
