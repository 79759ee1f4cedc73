//! Programs as pods, and load on them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_api::MetricStatus;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{
    Load, LoadGenerator, engine::Command, load::Summary, repository, wait,
};
use tokio::task::JoinSet;

use crate::processes;

/// The name of the target.
pub(crate) const TARGET: &str = "engine";
/// The number of requests in flight: enough for three engines that each run 8 at a time.
const IN_FLIGHT: usize = 24;
/// The time that a replica may take to become ready on a busy machine.
pub(crate) const START: Duration = Duration::from_mins(3);
/// The time that the remaining requests may take, plus the stabilization window after them.
const END: Duration = Duration::from_mins(1);

/// Installs an engine if it is missing, and returns the folder of its scripts. A download of its
/// packages takes minutes and is reported on standard error.
pub(crate) async fn install(engine: &str) -> Result<PathBuf> {
    let folder = repository().join("tests").join(engine).canonicalize()?;
    let script = folder.join("install.sh");
    let installed = tokio::process::Command::new(&script).stdout(Stdio::null()).status().await;
    let installed = installed.with_context(|| format!("running {}", script.display()))?;
    ensure!(installed.success(), "{} failed; the reason is above", script.display());
    Ok(folder)
}

/// Returns the engine that runs a script in each pod.
pub(crate) fn program(stage: &Stage, script: &Path) -> Result<Command> {
    let mut command = Command::shell(&format!(r#"exec "{}""#, script.display()), stage.folder()?);
    let (name, value) = mark(stage)?;
    command.env.push((name.to_owned(), value.into_os_string()));
    Ok(command)
}

/// Returns the environment variable that identifies the programs of a stage.
fn mark(stage: &Stage) -> Result<(&'static str, PathBuf)> {
    Ok(("LLM_AUTOSCALER_STAGE", stage.folder()?))
}

/// A load on an API, which lasts until it is stopped.
pub(crate) struct Traffic {
    generator: LoadGenerator,
    sending: JoinSet<Summary>,
}

impl Traffic {
    /// Keeps [`IN_FLIGHT`] requests in flight.
    pub(crate) fn start(url: &str) -> Self {
        let load = Load { requests: 100_000, concurrency: IN_FLIGHT, ..Load::default() };
        let generator = LoadGenerator::new(url, load);
        let mut sending = JoinSet::new();
        let running = generator.clone();
        sending.spawn(async move { running.run().await });
        Self { generator, sending }
    }

    /// Stops sending requests.
    pub(crate) fn stop(&self) {
        self.generator.stop();
    }

    /// Waits for the requests in flight. Returns the number of answered requests.
    ///
    /// # Errors
    /// Fails if a request failed.
    pub(crate) async fn answered(mut self) -> Result<usize> {
        let summary = self.sending.join_next().await.context("nothing was sent")??;
        ensure!(summary.failed == 0, "{summary}");
        Ok(summary.successful)
    }
}

/// Waits until an API answers a request.
pub(crate) async fn until_served(url: &str) -> Result<()> {
    let load =
        Load { requests: 1, input_tokens: 10, output_tokens: 1, concurrency: 1, ..Load::default() };
    wait::until("the API to answer", SOON, async || {
        let summary = LoadGenerator::new(url, load.clone()).run().await;
        Ok((summary.successful == 1).then_some(()))
    })
    .await
}

/// Puts real load on `url`: the target grows from 1 to 3 replicas, uses all of them while every
/// metric has a value, and shrinks back when the load ends. No request may fail, and when the
/// StatefulSets `all` are deleted no process of them may be left. Returns a summary.
pub(crate) async fn follow(stage: &Stage, url: &str, all: &[&str]) -> Result<String> {
    let began = Instant::now();
    let traffic = Traffic::start(url);
    stage.until_replicas(TARGET, 3, SOON).await?;
    let grown = began.elapsed().as_secs_f64();
    stage.until_ready_within(TARGET, 3, START).await?;
    let ready = began.elapsed().as_secs_f64();
    stage.stays(TARGET, 3, Duration::from_secs(10)).await?;
    let values =
        wait::until("every metric to have a value", SOON, async || values(stage).await).await?;
    let (name, value) = mark(stage)?;
    let groups = processes::groups(name, &value)?;
    let memory = processes::megabytes(&groups)?;

    let ended = Instant::now();
    traffic.stop();
    stage.until_replicas(TARGET, 1, END).await?;
    let shrunk = ended.elapsed().as_secs_f64();
    let answered = traffic.answered().await?;
    stage.until_ready(TARGET, 1).await?;
    until_served(url).await?;

    for name in all {
        stage.delete_engine(name).await?;
    }
    let left = processes::members(&groups)?.len();
    ensure!(left == 0, "{left} processes have outlived their pods");
    Ok(format!(
        "{IN_FLIGHT} in flight: 1 -> 3 after {grown:.1} s, all ready after {ready:.1} s; {values}\n    \
         no more of them: 3 -> 1 after {shrunk:.1} s; {answered} requests answered, none failed; {memory} MB with 3 replicas"
    ))
}

/// Returns each metric's value, target and source from the status; `None` if a metric has no value.
async fn values(stage: &Stage) -> Result<Option<String>> {
    let status = stage.status(TARGET).await?;
    let metrics = status.targets.iter().flat_map(|target| target.metrics.clone());
    let value = |metric: MetricStatus| {
        let (current, source) = (metric.current?, metric.source?);
        Some(format!("{} {current}/{} ({source})", metric.series, metric.target))
    };
    let values: Option<Vec<_>> = metrics.map(value).collect();
    Ok(values.map(|values| values.join(", ")))
}
