//! `testbed demo`: the operator scales a `StatefulSet` from 1 replica to 3 under load, and each
//! step is printed as it happens.

mod bill;
mod load;
mod stage;
mod watchers;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use llm_autoscaler_testbed::process::Process;
use llm_autoscaler_testbed::wait;
use load::Traffic;
use stage::{NAME, Stage};
use watchers::{PodPages, ScaleWatch, TableWatch};

/// The options of `testbed demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The operator's binary, which is started as `PATH run`
    #[arg(long)]
    operator_bin: PathBuf,
    /// The engine that serves in the pods
    #[arg(long, value_enum, default_value_t = EngineKind::Emulated)]
    engine: EngineKind,
}

/// The engines that the demo can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineKind {
    /// A model of vLLM in real time
    Emulated,
    /// Real vLLM on the CPU, with a tiny model (installed once: 1.2 GB to download)
    Vllm,
}

/// The size that the load needs, and the target's queue length per replica.
const REPLICAS: i32 = 3;
const TARGET: f64 = 5.0;

impl Demo {
    /// Runs the demo to its end. Everything that it started is stopped, even if it fails.
    pub(crate) async fn run(self) -> Result<()> {
        let story = Story::begin();
        tokio::select! {
            result = self.perform(&story) => result,
            result = crate::interrupted() => result.and_then(|()| bail!("interrupted")),
        }
    }

    async fn perform(self, story: &Story) -> Result<()> {
        ensure!(self.operator_bin.is_file(), "{}: no such file", self.operator_bin.display());
        let stage = Stage::create(self.engine, story).await?;
        let times = bill::watch(&stage).await?;
        let mut operator = stage.start_operator(&self.operator_bin).await?;
        story.log("the operator runs under its own ServiceAccount");
        let mut result = tokio::select! {
            result = act(&stage, self.engine, story) => result,
            error = ended(&mut operator) => Err(error),
        };
        if result.is_ok() {
            story.log("killing the operator, and starting it again");
            operator.kill()?;
            operator.stop();
            operator = stage.start_operator(&self.operator_bin).await?;
            result = tokio::select! {
                result = bill::compare(&stage, &self.operator_bin, &times, story) => result,
                error = ended(&mut operator) => Err(error),
            };
        }
        if result.is_ok() {
            story.log("done; stopping everything");
        } else {
            eprintln!("\nThe operator's log ends with:\n{}", operator.log_tail(30));
            eprint!("{}", stage.pod_logs());
        }
        result
    }
}

/// Returns only if the operator has exited on its own, with the error to report.
async fn ended(operator: &mut Process) -> Error {
    loop {
        if let Some(status) = operator.exited() {
            return anyhow!("the operator exited with {status}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs the demo from the first request to the last answer.
async fn act(stage: &Stage, engine: EngineKind, story: &Story) -> Result<()> {
    let _table = TableWatch::start(stage.client(), stage.kubectl(), *story);
    let pages = PodPages::watch(stage.client(), TARGET);
    let scale = ScaleWatch::start(stage.client());
    let start = match engine {
        EngineKind::Emulated => "5 s to start, as if it loaded a model",
        EngineKind::Vllm => "some 15 s to start vLLM, twice that if two start at once",
    };
    story.log(&format!("creating StatefulSet {NAME} with one replica; its pod takes {start}"));
    stage.create_workload().await?;
    story.log("the replica is ready");
    stage.create_autoscaler(story).await?;
    story.log("the autoscaler reads the replica's metrics");

    let mut traffic = Traffic::start(engine, stage, story)?;
    let growing = scale_and_drain(stage, story, &pages, &scale);
    let (summary, ()) = tokio::try_join!(traffic.finish(story), growing)?;
    story.show("all requests are answered", &summary);
    Ok(())
}

async fn scale_and_drain(
    stage: &Stage,
    story: &Story,
    pages: &PodPages,
    scale: &ScaleWatch,
) -> Result<()> {
    let stepped = pages.stepped(Duration::from_mins(2)).await?;
    story.log_at(stepped, &format!("the queue exceeds {TARGET} for the first time"));
    let (written, replicas) = scale.changed(Duration::from_mins(1)).await?;
    story.log_at(written, &format!("the StatefulSet is scaled 1 -> {replicas}"));
    // The queue is polled every 20 ms, and the write is noticed when its watch event arrives.
    let reaction = written.saturating_duration_since(stepped).as_secs_f64();
    story.log(&format!(
        "FROM THE METRIC'S CHANGE TO THE SCALE WRITE: {reaction:.2} s \
         (bounded by the sampling interval, 2 s by default)"
    ));
    if replicas != REPLICAS {
        scale.reached(REPLICAS, Duration::from_secs(90)).await?;
        story.log(&format!("the StatefulSet is scaled to {REPLICAS}"));
    }
    story.show("kubectl get events", &stage.rescale_event().await?);
    let described = stage.kubectl().run(&["describe", "llmautoscaler", NAME]).await?;
    story.show("kubectl describe llmautoscaler", &described);
    stage.wait_for_ready_replicas(REPLICAS).await?;
    story.log(&format!("{REPLICAS} replicas are ready"));
    wait::until("the queues to shrink", Duration::from_secs(90), async || {
        Ok((pages.waiting() <= TARGET).then_some(()))
    })
    .await?;
    story.log(&format!("the queues shrink: {} requests wait in total", pages.waiting()));
    Ok(())
}

/// Prints lines that begin with the time since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story(Instant);

impl Story {
    fn begin() -> Self {
        Self(Instant::now())
    }

    /// Prints a line about something that happens now.
    pub(crate) fn log(&self, what: &str) {
        self.log_at(Instant::now(), what);
    }

    /// Prints a line about something that happened at `when`.
    pub(crate) fn log_at(&self, when: Instant, what: &str) {
        println!("{:7.2} s  {what}", when.saturating_duration_since(self.0).as_secs_f64());
    }

    /// Prints a text under a heading as one write, so that lines of other tasks do not split it.
    pub(crate) fn show(&self, what: &str, text: &str) {
        let text: String =
            text.lines().flat_map(|line| ["\n           ", line.trim_end()]).collect();
        self.log(&format!("{what}{text}"));
    }
}
