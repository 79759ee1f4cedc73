//! Twins: the real HorizontalPodAutoscaler of kube-controller-manager and an LLMAutoscaler under the profile
//! `hpa-exact` scale two StatefulSets that tell the same story. The HPA is fed through the custom metrics API from the
//! pods' pages, the LLMAutoscaler reads them itself.
//!
//! Each has a tick of its own, so times differ; what must not differ is the sequence of sizes, and, whenever both have
//! come to rest, the HPA's conditions and events to the letter. Three things are known and left out:
//!
//! - Why a page could not be read is ours to say: after `unable to get metric NAME:` texts are free.
//! - `SucceededRescale` is left to be read for 15 s by ours, as by an HPA of the usual period, and for one tick by
//!   this HPA. It is compared at the end of a timeline, when these 15 s are over, and so are the values in the status,
//!   which ours writes no more often than that.
//! - How often an event has been repeated.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod pair;
mod timelines;
mod view;

use std::{
    fmt::Write,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{CustomMetrics, controlplane::Options};

use pair::Pair;
use timelines::{Then, Timeline};

/// The tick of both in seconds: as short as the operator's can be, or `TWINS_PERIOD`. Timelines whose windows and policies
/// last for seconds need the short one; the HPA's usual 15 s suits `bounds_and_tolerances`, and takes minutes.
fn period() -> u64 {
    std::env::var("TWINS_PERIOD").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1)
}

/// What a longer tick adds to every wait.
fn longer() -> Duration {
    Duration::from_millis(1200 * (period() - 1))
}

/// How long the twins may take to come to the same rest.
const TO_REST: Duration = Duration::from_secs(30);
/// How long the conditions of a rescale are left to be read, and a tick.
const LAST_WORDS: Duration = Duration::from_secs(17);

#[tokio::main]
async fn main() -> ExitCode {
    let filter =
        std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let chosen: Vec<_> =
        timelines::all().into_iter().filter(|timeline| timeline.name.contains(&filter)).collect();
    println!("\nrunning {} timelines", chosen.len());
    let began = Instant::now();
    let (cluster, _metrics) = match start().await {
        Ok(started) => started,
        Err(error) => {
            eprintln!("the control plane did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("the control plane is ready after {:.1} s", began.elapsed().as_secs_f64());
    let results = join_all(chosen.iter().map(|timeline| run(&cluster, timeline))).await;
    let failed = results.iter().filter(|passed| !**passed).count();
    let (verdict, seconds) =
        (if failed == 0 { "ok" } else { "FAILED" }, began.elapsed().as_secs_f64());
    println!(
        "\ntest result: {verdict}. {} passed; {failed} failed; 0 ignored; finished in {seconds:.2}s\n",
        results.len() - failed
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn start() -> Result<(Arc<Cluster>, CustomMetrics)> {
    let options = Options {
        controller_manager_args: vec![format!(
            "--horizontal-pod-autoscaler-sync-period={}s",
            period()
        )],
        ..Options::default()
    };
    let cluster = Cluster::start_with(options).await?;
    let metrics = CustomMetrics::start(&cluster.control_plane).await?;
    Ok((Arc::new(cluster), metrics))
}

async fn run(cluster: &Arc<Cluster>, timeline: &Timeline) -> bool {
    let began = Instant::now();
    let mut story = String::new();
    let result = tell(cluster, timeline, &mut story).await;
    let (name, seconds) = (timeline.name, began.elapsed().as_secs_f64());
    match &result {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)\n{story}"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n{story}    {error:#}"),
    }
    result.is_ok()
}

/// Plays a timeline to both; the story gets a line for each step.
async fn tell(cluster: &Arc<Cluster>, timeline: &Timeline, story: &mut String) -> Result<()> {
    let period = period().to_string();
    let arguments = ["--profile=hpa-exact", "--sync-period-seconds", &period];
    let namespace = timeline.name.replace('_', "-");
    let stage = Stage::set_with(cluster.clone(), &namespace, &arguments).await?;
    for (pod, twin) in timeline.pending.iter().flat_map(|pod| pair::TWINS.map(|twin| (pod, twin))) {
        stage.leave_pending(&format!("{twin}-{pod}"));
    }
    let mut pair = Pair::start(stage, &timeline.spec).await?;
    for step in &timeline.steps {
        let before = pair.sizes();
        pair.apply(&step.change).await?;
        let result = match step.then {
            Then::For(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Then::Rest { size, calm } => come_to_rest(&pair, size, calm).await,
        };
        let after = pair.sizes();
        let news = |twin: usize| after[twin].get(before[twin].len()..).unwrap_or_default();
        let [hpa, ours] = [0, 1].map(|twin| format!("{:?}", news(twin)));
        let _ = writeln!(story, "    {:<36} HPA {hpa:<14} ours {ours}", step.what);
        if result.is_err() {
            *story += &pair.scene().await;
        }
        result.with_context(|| format!("after {:?}", step.what))?;
    }
    tokio::time::sleep(LAST_WORDS).await;
    pair.agree(true).await.context("at the end")
}

/// Waits until both have that size and say the same, and makes sure that it is so later too: at first they may not have
/// noticed yet that something has happened.
async fn come_to_rest(pair: &Pair, size: i32, calm: Duration) -> Result<()> {
    until_at_rest(pair, size).await?;
    tokio::time::sleep(calm + longer()).await;
    until_at_rest(pair, size).await
}

async fn until_at_rest(pair: &Pair, size: i32) -> Result<()> {
    let deadline = Instant::now() + TO_REST + 2 * longer();
    while let Err(difference) = at_rest(pair, size).await {
        ensure!(Instant::now() < deadline, "{difference:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn at_rest(pair: &Pair, size: i32) -> Result<()> {
    let sizes = pair.sizes();
    let last = sizes.each_ref().map(|sizes| sizes.last().copied());
    ensure!(last == [Some(size); 2], "both were to come to {size} replicas; they went {sizes:?}");
    pair.agree(false).await
}
