//! Twins: the real HorizontalPodAutoscaler of kube-controller-manager and an LLMAutoscaler under
//! the profile `hpa-exact` scale two StatefulSets that get the same load. The HPA reads the pods'
//! pages through the custom metrics API, the LLMAutoscaler reads them itself.
//!
//! Each has a sync period of its own, so times differ. The sequences of sizes must be equal, and so
//! must the texts of conditions and events whenever both are at rest. Three known differences are
//! excluded:
//!
//! - The reason why a page could not be read is ours: the text after `unable to get metric NAME:`
//!   is not compared.
//! - Ours keeps `SucceededRescale` for 15 s, like an HPA with the default period; this HPA keeps it
//!   for one period. It is compared at the end of a timeline, when these 15 s are over; so are the
//!   values in the status, which ours writes no more often than that.
//! - The number of repetitions of an event.
//!
//! Two scenarios more have no twins: an LLMAutoscaler that only recommends stands beside an HPA,
//! and beside a ScaledObject.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod beside;
mod pair;
mod scaled_object;
mod timelines;
mod view;

use std::{
    fmt::Write,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::{join, join_all};
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{CustomMetrics, controlplane::Options};

use pair::Pair;
use timelines::{Then, Timeline};

/// Returns the sync period of both in seconds: the shortest that the operator allows, or
/// `TWINS_PERIOD`. Timelines with windows and policies of a few seconds need the short one. The
/// HPA's default of 15 s suits `bounds_and_tolerances`, and takes minutes.
fn period() -> u64 {
    std::env::var("TWINS_PERIOD").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1)
}

/// Returns the time that a longer period adds to every wait.
fn longer() -> Duration {
    Duration::from_millis(1200 * (period() - 1))
}

/// The time that the twins may take to reach the same state.
const TO_REST: Duration = Duration::from_secs(30);
/// The time for which a rescale's conditions stay, plus a period.
const RESCALE_CONDITIONS: Duration = Duration::from_secs(17);

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
    let timelines = join_all(chosen.iter().map(|timeline| run(&cluster, timeline)));
    let (mut results, beside) = join(timelines, run_beside(&cluster, &filter)).await;
    results.extend(beside);
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
        audit: true,
        ..Options::default()
    };
    let cluster = Cluster::start_with(options).await?;
    let metrics = CustomMetrics::start(&cluster.control_plane).await?;
    Ok((Arc::new(cluster), metrics))
}

async fn run(cluster: &Arc<Cluster>, timeline: &Timeline) -> bool {
    let began = Instant::now();
    let mut story = String::new();
    let result = run_timeline(cluster, timeline, &mut story).await;
    let (name, seconds) = (timeline.name, began.elapsed().as_secs_f64());
    match &result {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)\n{story}"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n{story}    {error:#}"),
    }
    result.is_ok()
}

/// Runs those of the scenarios without twins that are chosen.
async fn run_beside(cluster: &Arc<Cluster>, filter: &str) -> Vec<bool> {
    let beside_hpa = Box::pin(beside::run(cluster));
    let beside_hpa = report(beside::NAME, filter, beside_hpa);
    let beside_scaled_object = Box::pin(scaled_object::run(cluster));
    let beside_scaled_object = report(scaled_object::NAME, filter, beside_scaled_object);
    let (one, other) = join(beside_hpa, beside_scaled_object).await;
    one.into_iter().chain(other).collect()
}

/// Runs a scenario and prints its result; `None` if it is not chosen.
async fn report(
    name: &str,
    filter: &str,
    scenario: impl Future<Output = Result<()>>,
) -> Option<bool> {
    if !name.contains(filter) {
        return None;
    }
    let (began, result) = (Instant::now(), scenario.await);
    let seconds = began.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}"),
    }
    Some(result.is_ok())
}

/// Applies a timeline to both; `story` gets a line for each step.
async fn run_timeline(
    cluster: &Arc<Cluster>,
    timeline: &Timeline,
    story: &mut String,
) -> Result<()> {
    let period = period().to_string();
    let arguments = ["--profile=hpa-exact", "--sync-period-seconds", &period];
    let namespace = timeline.name.replace('_', "-");
    let stage = Stage::create_with(cluster.clone(), &namespace, &arguments).await?;
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
    tokio::time::sleep(RESCALE_CONDITIONS).await;
    pair.agree(true).await.context("at the end")
}

/// Waits until both have this size and equal conditions, and checks that this lasts: at first they
/// may not have noticed a change yet.
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
    ensure!(
        last == [Some(size); 2],
        "both had to reach {size} replicas; their sizes are {sizes:?}"
    );
    pair.agree(false).await
}
