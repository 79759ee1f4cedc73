//! Measures what one copy of the operator carries: memory, CPU, the time until all is decided, and
//! requests to the API server, with many pods and many autoscalers.
//!
//! `make scale PODS=100000 AUTOSCALERS=10000 INTERVAL=15` starts the operator three times: with one
//! autoscaler, with a pod for each autoscaler, and with all pods. The differences are the memory of
//! an autoscaler and of a pod. The objects are put into etcd in bulk. One server on loopback gives
//! the pages of all pods, each at an address of its own: a recorded one of vLLM (45 kB).
//!
//! `make scale SCALE=--failover` kills the one of two copies that serves. `make scale
//! SCALE="--buckets 8 --copies 3"` divides everything among copies, kills one, and lets it return.
//! `LLM_AUTOSCALER_BIN` may name the binary of another build.
//!
//! The controller manager is stopped, because its controllers do not keep up with pods that come
//! this fast, and nothing here needs them.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod copies;
mod cpu;
mod objects;
mod requests;
mod start;

use std::{process::ExitCode, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use llm_autoscaler_e2e::{Cluster, Stage, fleets::Fleets, reads::bare_read};
use llm_autoscaler_testbed::{EnginePage, PageServer};
use tokio::time::Instant;

use objects::{Objects, Size};

/// The windows of 100,000 pages take more than the default.
const ARGS: &[&str] = &["--memory-budget=1Gi"];

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
    let time = Duration::from_secs(argument("--seconds")?.unwrap_or(60));
    let lease: u64 = argument("--lease")?.unwrap_or(15);
    let buckets: Option<usize> = argument("--buckets")?;
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
    println!("seats of the API server's priority levels: {}", requests::seats(&stage).await?);
    stage.operator.watch_all_namespaces();
    stage.operator.configure(ARGS, &[]);
    let whole = Size { pods, autoscalers };
    let is_failover = std::env::args().any(|argument| argument == "--failover");
    if buckets.is_some() || is_failover {
        create(&mut objects, whole).await?;
        if is_failover {
            copies::failover(&stage, whole, lease, ARGS).await?;
        }
        if let Some(buckets) = buckets {
            let count = argument("--copies")?.unwrap_or(3);
            copies::divide(&stage, whole, (count, buckets, lease), ARGS, time).await?;
        }
        return Ok(());
    }
    let narrow = Size { pods: autoscalers, autoscalers };
    let mut sizes = vec![Size { pods: 1, autoscalers: 1 }, narrow, whole];
    sizes.dedup();
    let mut measured = Vec::new();
    for size in sizes {
        // An operator that runs would see autoscalers whose pods are not there yet.
        stage.operator.kill();
        create(&mut objects, size).await?;
        measured.push(start::measure(&stage, size, time).await?);
    }
    // Its statuses are there now, so that fewer of them are written.
    println!("{whole}, started again");
    measured.push(start::measure(&stage, whole, time).await?);
    stage.operator.kill();
    start::print_table(&measured);
    let bare = bare_read(server.port())?;
    println!("a bare client that connects, receives and closes: {bare:.0} µs of CPU a read");
    Ok(())
}

async fn create(objects: &mut Objects<'_>, size: Size) -> Result<()> {
    let began = Instant::now();
    objects.grow_to(size).await?;
    println!("{size}: created in {:.0} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn argument<T>(name: &str) -> Result<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let value = std::env::args().skip_while(|argument| argument != name).nth(1);
    value.map(|value| value.parse().with_context(|| format!("{name} {value}"))).transpose()
}
