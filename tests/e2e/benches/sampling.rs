//! Measures the cost of scraping many pods: one operator, thousands of pods, a scrape of each every
//! five seconds.
//!
//! `make sampling PODS=1000` creates this many pods in targets of a hundred, each with an
//! autoscaler. The pods are objects of the API server with addresses of their own. One server gives
//! all of them the same page: a recorded one of vLLM (45 kB), or with `--small` one of 1 kB. It
//! prints the operator's CPU time and memory over a minute, the delay of scrapes, and their
//! duration.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{cell::RefCell, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use llm_autoscaler_e2e::{
    Cluster, Stage,
    fleets::Fleets,
    reads::{Reads, SCRAPED, bare_read},
    usage::OwnMetrics,
};
use llm_autoscaler_testbed::{EnginePage, PageServer, wait};
use serde_json::json;
use tokio::time::Instant;

/// The number of pods of one target.
const TARGET: usize = 100;
/// The length of the measurement.
const MEASURED: Duration = Duration::from_mins(1);
/// The scrape interval in seconds.
const INTERVAL: u64 = 5;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    let small = arguments.iter().any(|argument| argument == "--small");
    match measure(count, small).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sampling: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(count: usize, small: bool) -> Result<()> {
    let full = EnginePage::Vllm.page(7, 5);
    let wanted = |line: &&str| line.contains("num_requests_") || line.contains("kv_cache_usage");
    let page = if small {
        full.lines().filter(wanted).fold(String::new(), |page, line| page + line + "\n")
    } else {
        full
    };
    let server = PageServer::start(&page)?;
    let cluster = Arc::new(Cluster::start().await?);
    let stage = Stage::create(cluster, "sampling").await?;
    stage.operator.kill();
    let fleets = Fleets::install(&stage, server.port()).await?;
    println!("creating {count} pods in {} targets", count.div_ceil(TARGET));
    let began = Instant::now();
    create_targets(&fleets, count).await?;
    create_pods(&fleets, count).await?;
    println!("they are there after {:.0} s; starting the operator", began.elapsed().as_secs_f64());
    stage.operator.start()?;
    let seen = RefCell::new(String::new());
    let read = wait::until("all pods to be read", Duration::from_mins(3), async || {
        let page = OwnMetrics::of(&stage.operator).await;
        let scrapes = page.as_ref().ok().and_then(|page| page.value(SCRAPED));
        *seen.borrow_mut() = match page {
            Ok(_) => format!("scrapes so far: {scrapes:?}"),
            Err(error) => format!("the operator's metrics cannot be read: {error:#}"),
        };
        Ok((scrapes.unwrap_or_default() >= 2.0 * count as f64).then_some(()))
    });
    read.await.with_context(|| seen.take())?;
    let before = Reads::of(&stage.operator).await?;
    tokio::time::sleep(MEASURED).await;
    let spent = Reads::of(&stage.operator).await?.since(&before);
    let (size, text) = (page.len(), spent.text());
    println!("{count} pods, pages of {size} bytes, every {INTERVAL} s: {text}");
    stage.operator.kill();
    let bare = bare_read(server.port())?;
    let ratio = spent.cpu_per_read() / bare;
    println!("a bare client that connects, receives and closes: {bare:.0} µs a read ({ratio:.2})");
    ensure!(spent.failed <= 0.0, "{} reads failed", spent.failed);
    Ok(())
}

async fn create_targets(fleets: &Fleets<'_>, count: usize) -> Result<()> {
    for target in 0..count.div_ceil(TARGET) {
        let name = format!("fleet-{target}");
        fleets.create(&name, TARGET.min(count - target * TARGET)).await?;
        fleets.autoscaler(&name, &name, INTERVAL, json!({})).await?;
    }
    Ok(())
}

async fn create_pods(fleets: &Fleets<'_>, count: usize) -> Result<()> {
    let create = |index: usize| async move {
        let (name, fleet) = (format!("pod-{index}"), format!("fleet-{}", index / TARGET));
        fleets.create_pod(&name, &fleet, index as u32).await
    };
    stream::iter(0..count).map(create).buffer_unordered(16).try_collect::<Vec<()>>().await?;
    Ok(())
}
