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

/// What is scaled.
pub const TARGET: &str = "engine";
/// How many requests are in flight: three engines' worth, each of which runs 8 at a time.
const IN_FLIGHT: usize = 24;
/// How long a replica may take to be ready, on a machine that others keep busy.
pub const START: Duration = Duration::from_mins(3);
/// How long the requests under way may take, and the window after them.
const END: Duration = Duration::from_mins(1);

/// Installs an engine, where it is not yet, and returns the folder of its scripts. Without the packages that takes minutes, and is told
/// on standard error.
pub async fn install(engine: &str) -> Result<PathBuf> {
    let folder = repository().join("tests").join(engine).canonicalize()?;
    let script = folder.join("install.sh");
    let installed = tokio::process::Command::new(&script).stdout(Stdio::null()).status().await;
    let installed = installed.with_context(|| format!("running {}", script.display()))?;
    ensure!(installed.success(), "{} failed; the reason is above", script.display());
    Ok(folder)
}

/// A script that becomes the program of a pod.
pub fn program(stage: &Stage, script: &Path) -> Result<Command> {
    let mut command = Command::shell(&format!(r#"exec "{}""#, script.display()), stage.folder()?);
    let (name, value) = mark(stage)?;
    command.env.push((name.to_owned(), value.into_os_string()));
    Ok(command)
}

/// The variable that a stage's programs are known by.
fn mark(stage: &Stage) -> Result<(&'static str, PathBuf)> {
    Ok(("LLM_AUTOSCALER_STAGE", stage.folder()?))
}

/// Load on an API, until it is ended.
pub struct Traffic {
    generator: LoadGenerator,
    sending: JoinSet<Summary>,
}

impl Traffic {
    /// Keeps [`IN_FLIGHT`] requests in flight.
    pub fn start(url: &str) -> Self {
        let load = Load { requests: 100_000, concurrency: IN_FLIGHT, ..Load::default() };
        let generator = LoadGenerator::new(url, load);
        let mut sending = JoinSet::new();
        let running = generator.clone();
        sending.spawn(async move { running.run().await });
        Self { generator, sending }
    }

    /// Sends no more.
    pub fn stop(&self) {
        self.generator.stop();
    }

    /// Waits for what is under way.
    ///
    /// # Errors
    /// A request failed.
    pub async fn answered(mut self) -> Result<usize> {
        let summary = self.sending.join_next().await.context("nothing was sent")??;
        ensure!(summary.failed == 0, "{summary}");
        Ok(summary.successful)
    }
}

/// Waits until an API answers a request.
pub async fn until_served(url: &str) -> Result<()> {
    let load =
        Load { requests: 1, input_tokens: 10, output_tokens: 1, concurrency: 1, ..Load::default() };
    wait::until("the API to answer", SOON, async || {
        let summary = LoadGenerator::new(url, load.clone()).run().await;
        Ok((summary.successful == 1).then_some(()))
    })
    .await
}

/// Real load at `url`: the target goes from 1 to 3, works with all of them while every metric has a value, and goes back when
/// the load ends. No request fails on the way, and when the StatefulSets `all` are deleted nothing of them is left. Returns the
/// story.
pub async fn follow(stage: &Stage, url: &str, all: &[&str]) -> Result<String> {
    let began = Instant::now();
    let traffic = Traffic::start(url);
    stage.until_replicas(TARGET, 3, SOON).await?;
    let grown = began.elapsed().as_secs_f64();
    stage.until_ready_within(TARGET, 3, START).await?;
    let ready = began.elapsed().as_secs_f64();
    stage.stays(TARGET, 3, Duration::from_secs(10)).await?;
    let values =
        wait::until("every metric to have a value", SOON, async || values(stage).await).await?;
    let groups = processes::groups(&mark(stage)?)?;
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

/// Each metric's value, target and source, as the status has them; `None` where one has no value.
async fn values(stage: &Stage) -> Result<Option<String>> {
    let status = stage.status(TARGET).await?;
    let metrics = status.targets.into_iter().flat_map(|target| target.metrics);
    let value = |metric: MetricStatus| {
        let (current, source) = (metric.current?, metric.source?);
        Some(format!("{} {current}/{} ({source})", metric.series, metric.target))
    };
    let values: Option<Vec<_>> = metrics.map(value).collect();
    Ok(values.map(|values| values.join(", ")))
}
