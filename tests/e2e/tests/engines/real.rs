//! Programs as pods, and load on them.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_api::MetricStatus;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Load, LoadGenerator, engine::Command, load::Summary, repository, wait};
use tokio::task::JoinSet;

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
    let folder = stage.folder()?;
    let mut command = Command::shell(&format!(r#"exec "{}""#, script.display()), &folder);
    command.env.push((MARK.to_owned(), folder.into_os_string()));
    Ok(command)
}

/// The variable that a stage's programs are known by.
const MARK: &str = "LLM_AUTOSCALER_STAGE";

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
    let load = Load { requests: 1, input_tokens: 10, output_tokens: 1, concurrency: 1, ..Load::default() };
    wait::until("the API to answer", SOON, async || {
        let summary = LoadGenerator::new(url, load.clone()).run().await;
        Ok((summary.successful == 1).then_some(()))
    })
    .await
}

/// Real load at `url`: the target goes from 1 to 3, works with all of them while every metric has a value, and goes back when
/// the load ends. No request fails on the way. Returns the story.
pub async fn follow(stage: &Stage, url: &str) -> Result<String> {
    let began = Instant::now();
    let traffic = Traffic::start(url);
    stage.until_replicas(TARGET, 3, SOON).await?;
    let grown = began.elapsed().as_secs_f64();
    stage.until_ready_within(TARGET, 3, START).await?;
    let ready = began.elapsed().as_secs_f64();
    stage.stays(TARGET, 3, Duration::from_secs(10)).await?;
    let values = wait::until("every metric to have a value", SOON, async || values(stage).await).await?;
    let (_, memory) = running(stage)?;

    let ended = Instant::now();
    traffic.stop();
    stage.until_replicas(TARGET, 1, END).await?;
    let shrunk = ended.elapsed().as_secs_f64();
    let answered = traffic.answered().await?;
    stage.until_ready(TARGET, 1).await?;
    until_served(url).await?;
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

/// Deletes StatefulSets, and makes sure that none of the stage's processes is left.
pub async fn leave_nothing(stage: &Stage, engines: &[&str]) -> Result<()> {
    for engine in engines {
        stage.delete_engine(engine).await?;
    }
    let (processes, _) = running(stage)?;
    ensure!(processes == 0, "{processes} processes have outlived their pods");
    Ok(())
}

/// How many processes the stage's programs are, and their proportional memory in megabytes.
///
/// Each pod has a process group of its own. Its first process has the mark in its environment; others may have overwritten
/// theirs with a title.
fn running(stage: &Stage) -> Result<(usize, u64)> {
    let mark = format!("{MARK}={}\0", stage.folder()?.display());
    let all: Vec<_> = fs::read_dir("/proc")?.flatten().filter_map(|entry| group(&entry.path())).collect();
    let is_marked = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    let groups: HashSet<_> =
        all.iter().filter(|(process, _)| is_marked(process)).map(|(_, group)| group).collect();
    let its: Vec<_> = all.iter().filter(|(_, group)| groups.contains(group)).collect();
    let kilobytes: u64 = its.iter().filter_map(|(process, _)| proportional(process)).sum();
    Ok((its.len(), kilobytes / 1000))
}

/// A process that runs, and its group.
fn group(process: &Path) -> Option<(PathBuf, u32)> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // "pid (name) state parent group ...", where the name may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok()?;
    (state != "Z" && state != "X").then(|| (process.to_owned(), group))
}

/// A process's memory in kilobytes, what it shares divided among those that share it.
fn proportional(process: &Path) -> Option<u64> {
    let rollup = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
