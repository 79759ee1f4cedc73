//! The real programs that usually connect pods' metrics to an autoscaler: Prometheus, the
//! Prometheus Operator, prometheus-adapter.
//!
//! ```text
//!  PrometheusOperator  turns PodMonitors into an Instance's configuration; makes no pods
//!  Prometheus          runs with a fixed configuration, or with an Instance's, reloaded on change
//!  promtool            checks pages and rules
//!  Adapter             serves the custom metrics API from a Prometheus by rules
//! ```
//!
//! The first use builds them, which takes some minutes.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::script;

mod adapter;
mod configuration;
mod operator;
mod prometheus;

pub use adapter::{Adapter, pods_rule};
pub use configuration::scrape_pods;
pub use operator::{Instance, PrometheusOperator, Selection};
pub use prometheus::{Prometheus, Sample, Target};

/// Runs promtool with this standard input. Returns its output, or an error with it if it fails.
///
/// # Errors
/// It cannot be built or run, or does not succeed.
pub async fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let program = script::folder(BUILD).await?.join("promtool");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "promtool {arguments:?}: {text}");
    Ok(text)
}

/// The script that builds the programs.
const BUILD: &str = "tests/monitoring/build.sh";
