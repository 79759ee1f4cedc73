//! Measures what one copy of the operator carries: memory, CPU, the time until all is decided, and
//! requests to the API server, with many pods and many autoscalers.
//!
//! `make scale PODS=100000 AUTOSCALERS=10000 INTERVAL=15` starts the operator three times: with one
//! autoscaler, with a pod for each autoscaler, and with all pods. The differences are the memory of
//! an autoscaler and of a pod. The objects are put into etcd in bulk. One server on loopback gives
//! the pages of all pods, each at an address of its own: a recorded one of vLLM (45 kB).
//!
//! The controller manager is stopped, because its controllers do not keep up with pods that come
//! this fast, and nothing here needs them.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod objects;

use std::{process::ExitCode, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use llm_autoscaler_e2e::{
    Cluster, Stage,
    fleets::Fleets,
    reads::{Reads, SCRAPED, bare_read},
    usage::OwnMetrics,
};
use llm_autoscaler_testbed::{EnginePage, PageServer};
use tokio::time::Instant;

use objects::{Objects, Size};

/// The series of the autoscalers that have decided by samples.
const DECIDED: &str = "llm_autoscaler_conditions{type=\"ScalingActive\",status=\"True\"";
/// The time in which all autoscalers decide, and all pages are read twice.
const SETTLED: Duration = Duration::from_mins(5);
/// The requests of the API server by verb and resource.
const REQUESTS: &str = "apiserver_request_total{";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let pods: u32 = argument("--pods")?.unwrap_or(10_000);
    let autoscalers: u32 = argument("--autoscalers")?.unwrap_or(1_000);
    let interval: u64 = argument("--interval")?.unwrap_or(15);
    let seconds: u64 = argument("--seconds")?.unwrap_or(60);
    let autoscalers = autoscalers.clamp(1, pods);
    let page = EnginePage::Vllm.page(7, 5);
    let server = PageServer::start(&page)?;
    let stage = Stage::create(Arc::new(Cluster::start().await?), "scale").await?;
    stage.operator.kill();
    Fleets::install(&stage, server.port()).await?;
    let mut objects = Objects::new(&stage, server.port(), interval).await?;
    objects.create_namespaces(autoscalers).await?;
    stage.control_plane().stop_controller_manager();
    println!("the controller manager is stopped: its controllers do not keep up");
    stage.operator.watch_all_namespaces();
    // The windows of 100,000 pages take more than the default.
    stage.operator.configure(&["--memory-budget=1Gi"], &[]);
    let one = Size { pods: 1, autoscalers: 1 };
    let narrow = Size { pods: autoscalers, autoscalers };
    let whole = Size { pods, autoscalers };
    let mut measured = Vec::new();
    let mut sizes = vec![one, narrow, whole];
    sizes.dedup();
    for size in sizes {
        let began = Instant::now();
        objects.grow_to(size).await?;
        println!("{size}: created in {:.0} s", began.elapsed().as_secs_f64());
        let figures = measure(&stage, size, Duration::from_secs(seconds)).await?;
        measured.push((size, figures));
    }
    stage.operator.kill();
    print_differences(&measured);
    let bare = bare_read(server.port())?;
    println!("a bare client that connects, receives and closes: {bare:.0} µs of CPU a read");
    Ok(())
}

/// Starts the operator, waits until all is decided and read twice, and measures. Returns the
/// resident memory in MiB.
async fn measure(stage: &Stage, size: Size, time: Duration) -> Result<f64> {
    let operator = &stage.operator;
    let before = requests(stage).await?;
    let began = Instant::now();
    operator.start()?;
    let (mut first, mut last) = (None, None);
    let mut told = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let elapsed = began.elapsed();
        let Ok(page) = OwnMetrics::of(operator).await else { continue };
        let decided = page.sum_of(DECIDED);
        let scraped = page.value(SCRAPED).unwrap_or(0.0);
        first = first.or((decided >= 1.0).then_some(elapsed));
        last = last.or((decided >= f64::from(size.autoscalers)).then_some(elapsed));
        if last.is_some() && scraped >= 2.0 * f64::from(size.pods) {
            break;
        }
        if told.elapsed() > Duration::from_secs(10) {
            println!("  {decided:.0} have decided, {scraped:.0} pages were read");
            told = Instant::now();
        }
        anyhow::ensure!(elapsed < SETTLED, "{decided} decided, {scraped} read in {elapsed:?}");
    }
    let seconds = |at: Option<Duration>| at.unwrap_or_default().as_secs_f64();
    println!("  first decision after {:.2} s, all after {:.2} s", seconds(first), seconds(last));
    println!("  requests until then: {}", since(&requests(stage).await?, &before));
    let before = Reads::of(operator).await?;
    tokio::time::sleep(time).await;
    let spent = Reads::of(operator).await?.since(&before);
    println!("  {}; {} reads failed", spent.text(), spent.failed);
    Ok(spent.memory)
}

/// Prints what an autoscaler with a pod, and what one more pod adds to the resident memory.
fn print_differences(measured: &[(Size, f64)]) {
    let difference = |index: usize, count: fn(&Size) -> u32| {
        let (before, after) = (measured.get(index)?, measured.get(index + 1)?);
        let more = f64::from(count(&after.0) - count(&before.0));
        Some((after.1 - before.1) * 1024.0 / more)
    };
    if let Some(each) = difference(0, |size| size.autoscalers) {
        println!("memory of an autoscaler with a pod: {each:.1} KiB");
    }
    if let Some(each) = difference(1, |size| size.pods) {
        println!("memory of one more pod: {each:.1} KiB");
    }
}

/// The requests of the API server, by verb and resource.
type Requests = Vec<(String, f64)>;

async fn requests(stage: &Stage) -> Result<Requests> {
    let text = stage.control_plane().metrics().await?;
    let mut found = Requests::new();
    for line in text.lines().filter(|line| line.starts_with(REQUESTS)) {
        let label = |name: &str| line.split(&format!("{name}=\"")).nth(1)?.split('"').next();
        let (Some(verb), Some(resource)) = (label("verb"), label("resource")) else { continue };
        let subresource = label("subresource").filter(|it| !it.is_empty());
        let name = match subresource {
            Some(subresource) => format!("{verb} {resource}/{subresource}"),
            None => format!("{verb} {resource}"),
        };
        let count = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0.0);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += count,
            None => found.push((name, count)),
        }
    }
    Ok(found)
}

/// Returns the requests since an earlier moment, those that are many.
fn since(after: &Requests, before: &Requests) -> String {
    let was = |name: &str| before.iter().find(|(known, _)| known == name).map_or(0.0, |it| it.1);
    let mut made: Vec<_> = after.iter().map(|(name, count)| (name, count - was(name))).collect();
    made.retain(|(_, count)| *count >= 10.0);
    made.sort_by(|a, b| b.1.total_cmp(&a.1));
    let texts: Vec<String> =
        made.iter().map(|(name, count)| format!("{count:.0} {name}")).collect();
    texts.join(", ")
}

fn argument<T>(name: &str) -> Result<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let value = std::env::args().skip_while(|argument| argument != name).nth(1);
    value.map(|value| value.parse().with_context(|| format!("{name} {value}"))).transpose()
}
