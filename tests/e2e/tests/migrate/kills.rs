//! `llm-autoscaler migrate`, killed before and after each of its writes.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{Stage, operator_binary};
use llm_autoscaler_testbed::{ApiProxy, api_proxy::HeldWrite};
use serde_json::{Value, json};
use tokio::{process::Command, time::Instant};

use crate::scene::NAME;

/// The longest time of one call.
const CALL: Duration = Duration::from_mins(3);

/// Calls `migrate` until it has nothing left to do. Each call is killed at its first write: in turn
/// before the write reaches the API server, and after the API server has answered. So each write is
/// reached twice, and is done at its second time. Returns the number of kills.
pub(crate) async fn until_done(stage: &Stage, args: &[&str]) -> Result<usize> {
    for kills in 0..30 {
        let at = if kills % 2 == 0 { HeldWrite::Before } else { HeldWrite::After };
        if call(stage, args, at).await.with_context(|| format!("call {kills}"))? == Ended::Itself {
            return Ok(kills);
        }
    }
    anyhow::bail!("the migration does not end")
}

/// Calls `migrate` that many times, each of which is killed at its first write.
pub(crate) async fn killed(stage: &Stage, args: &[&str], times: &[HeldWrite]) -> Result<()> {
    for at in times {
        let ended = call(stage, args, *at).await?;
        ensure!(ended == Ended::Killed, "it was to be killed at a write, and had none left");
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Killed,
    Itself,
}

async fn call(stage: &Stage, args: &[&str], at: HeldWrite) -> Result<Ended> {
    let proxy = ApiProxy::start(stage.control_plane().url()).await?;
    proxy.hold_write(at);
    let mut command = Command::new(operator_binary()?);
    command.args(["migrate", NAME, "-n", &stage.namespace, "--yes"]).args(args);
    command.env("KUBECONFIG", behind(stage, proxy.url())?).kill_on_drop(true);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let began = Instant::now();
    loop {
        if proxy.is_held() {
            // SIGKILL.
            process.kill().await?;
            return Ok(Ended::Killed);
        }
        if process.try_wait()?.is_some() {
            let output = process.wait_with_output().await?;
            let [told, failed] =
                [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
            ensure!(output.status.success(), "{told}{failed}");
            return Ok(Ended::Itself);
        }
        ensure!(began.elapsed() < CALL, "it has not ended after {} s", CALL.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a kubeconfig of the administrator that leads to a proxy.
fn behind(stage: &Stage, url: &str) -> Result<PathBuf> {
    let original = std::fs::read(stage.control_plane().kubeconfig())?;
    let mut config: Value = serde_json::from_slice(&original)?;
    config["clusters"][0]["cluster"]["server"] = json!(url);
    let path = stage.folder()?.join("behind.kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
