//! Twins: the real HorizontalPodAutoscaler of kube-controller-manager and an LLMAutoscaler under
//! the profile `hpa-exact` scale two StatefulSets that get the same load. The HPA reads the pods'
//! pages through the custom metrics API, the LLMAutoscaler reads them itself. The first run has an
//! API of this suite's own, which knows nothing of the operator. In the second run the operator
//! serves it (`--metrics-api`), from the samples of an LLMAutoscaler that only recommends.
//!
//! Each has a sync period of its own, so times differ. The sequences of sizes must be equal, and so
//! must the texts of conditions and events whenever both are at rest. Four known differences are
//! excluded:
//!
//! - The reason why a page could not be read is ours: the text after `unable to get metric NAME:`
//!   is not compared.
//! - Ours keeps `SucceededRescale` for 15 s, like an HPA with the default period; this HPA keeps it
//!   for one period. It is compared at the end of a timeline, when these 15 s are over; so are the
//!   values in the status, which ours writes no more often than that.
//! - The number of repetitions of an event.
//! - Ours records three events of a kind at once, and then one in 10 s, so that a series of sizes
//!   may have an event for some of them only. It never has one that the HPA has not.
//!
//! Two scenarios more of the first run have no twins: an LLMAutoscaler that only recommends stands
//! beside an HPA, and beside a ScaledObject.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

mod beside;
mod pair;
mod scaled_object;
#[path = "../coexist/setting.rs"]
#[expect(dead_code, reason = "the scenarios of the metrics APIs use the rest")]
mod setting;
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
use llm_autoscaler_e2e::{Cluster, Stage, own_address};
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

/// The server of the metrics that the HPA reads. It stops when it is dropped.
enum Feed {
    /// The suite's own, which reads the pages itself.
    Independent { _server: CustomMetrics },
    /// The operator, which serves all namespaces.
    Operator { _stage: Box<Stage> },
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter =
        std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let independent = run_all(&filter, async |cluster| {
        let metrics = CustomMetrics::start(&cluster.control_plane).await?;
        Ok(Feed::Independent { _server: metrics })
    });
    let first = Box::pin(independent).await;
    let second = Box::pin(run_all(&filter, start_operator)).await;
    if first == ExitCode::SUCCESS { second } else { first }
}

/// Runs the chosen timelines on a control plane of its own, with the metrics that `feed` starts.
async fn run_all(filter: &str, feed: impl AsyncFnOnce(&Arc<Cluster>) -> Result<Feed>) -> ExitCode {
    let chosen: Vec<_> =
        timelines::all().into_iter().filter(|timeline| timeline.name.contains(filter)).collect();
    println!("\nrunning {} timelines", chosen.len());
    let began = Instant::now();
    let started = async {
        let cluster = start().await?;
        let feed = feed(&cluster).await?;
        anyhow::Ok((cluster, feed))
    };
    let (cluster, feed) = match started.await {
        Ok(started) => started,
        Err(error) => {
            eprintln!("the control plane or the metrics did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let (name, is_independent) = match feed {
        Feed::Independent { .. } => ("the suite", true),
        Feed::Operator { .. } => ("the operator", false),
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("the control plane is ready after {seconds:.1} s; {name} serves the metrics");
    let timelines = join_all(chosen.iter().map(|timeline| run(&cluster, &feed, timeline)));
    let beside =
        async { if is_independent { run_beside(&cluster, filter).await } else { Vec::new() } };
    let (mut results, beside) = Box::pin(join(timelines, beside)).await;
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

async fn start() -> Result<Arc<Cluster>> {
    let period = format!("--horizontal-pod-autoscaler-sync-period={}s", period());
    let options =
        Options { controller_manager_args: vec![period], audit: true, ..Options::default() };
    Ok(Arc::new(Cluster::start_with(options).await?))
}

/// Starts the operator that serves all timelines, and the metrics besides.
async fn start_operator(cluster: &Arc<Cluster>) -> Result<Feed> {
    let stage = Stage::create_idle(cluster.clone(), "feed").await?;
    let address = own_address();
    let mut arguments = arguments();
    arguments.extend(setting::arguments(address));
    stage.operator.configure(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    stage.operator.serve_all_namespaces()?;
    setting::register(&stage).await?;
    setting::lead_to(&stage, address).await?;
    setting::until_found(&stage).await?;
    Ok(Feed::Operator { _stage: Box::new(stage) })
}

/// Returns the arguments of an operator that is compared with an HPA.
fn arguments() -> Vec<String> {
    vec!["--profile=hpa-exact".to_owned(), format!("--sync-period-seconds={}", period())]
}

async fn run(cluster: &Arc<Cluster>, feed: &Feed, timeline: &Timeline) -> bool {
    let began = Instant::now();
    let mut story = String::new();
    let result = run_timeline(cluster, feed, timeline, &mut story).await;
    let (name, seconds) = (timeline.name, began.elapsed().as_secs_f64());
    match &result {
        Ok(()) => println!("test {name} ... ok ({seconds:.1} s)\n{story}"),
        Err(error) => println!("test {name} ... FAILED ({seconds:.1} s)\n{story}    {error:#}"),
    }
    result.is_ok()
}

/// Runs those of the scenarios without twins that are chosen.
async fn run_beside(cluster: &Arc<Cluster>, filter: &str) -> Vec<bool> {
    let beside_hpa = report(beside::NAME, filter, beside::run(cluster));
    let beside_scaled_object = report(scaled_object::NAME, filter, scaled_object::run(cluster));
    let (one, other) = Box::pin(join(beside_hpa, beside_scaled_object)).await;
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
    feed: &Feed,
    timeline: &Timeline,
    story: &mut String,
) -> Result<()> {
    let namespace = timeline.name.replace('_', "-");
    let is_served = matches!(feed, Feed::Operator { .. });
    let stage = if is_served {
        Stage::create_idle(cluster.clone(), &namespace).await?
    } else {
        let arguments = arguments();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        Stage::create_with(cluster.clone(), &namespace, &arguments).await?
    };
    for (pod, twin) in timeline.pending.iter().flat_map(|pod| pair::TWINS.map(|twin| (pod, twin))) {
        stage.leave_pending(&format!("{twin}-{pod}"));
    }
    let mut pair = Pair::start(stage, &timeline.spec, is_served).await?;
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
