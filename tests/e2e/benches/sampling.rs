//! Measures the cost of scraping many pods: one operator, thousands of pods, a scrape of each every
//! five seconds.
//!
//! `make sampling PODS=1000` creates this many pods in targets of a hundred, each with an
//! autoscaler. The pods are objects of the API server with addresses of their own. One server gives
//! all of them the same page: a recorded one of vLLM (45 kB), or with `--small` one of 1 kB. It
//! prints the operator's CPU time and memory over a minute, the delay of scrapes, and their
//! duration.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use llm_autoscaler_e2e::{
    Cluster, Stage,
    fleets::Fleets,
    usage::{OwnMetrics, Usage, within},
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
/// The series of pages that were read.
const SCRAPED: &str = "llm_autoscaler_scrapes_total{result=\"ok\"}";

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
    wait::until("all pods to be read", Duration::from_mins(3), async || {
        let page = OwnMetrics::of(&stage.operator).await;
        let scrapes = page.ok().and_then(|page| page.value(SCRAPED)).unwrap_or(0.0);
        Ok((scrapes >= 2.0 * count as f64).then_some(()))
    })
    .await?;
    let before = Figures::of(&stage).await?;
    tokio::time::sleep(MEASURED).await;
    let after = Figures::of(&stage).await?;
    let failed = after.failed - before.failed;
    println!("{}", after.since(&before).text(count, page.len()));
    ensure!(failed <= 0.0, "{failed} reads failed");
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

/// The operator's counters and resource usage at one moment.
struct Figures {
    at: Instant,
    cpu: f64,
    memory: f64,
    scrapes: f64,
    failed: f64,
    decisions: f64,
    /// The histogram of delays: (upper bound in seconds, cumulative number of scrapes).
    late: Vec<(f64, f64)>,
}

impl Figures {
    async fn of(stage: &Stage) -> Result<Self> {
        let usage = Usage::of(&stage.operator)?;
        let page = OwnMetrics::of(&stage.operator).await?;
        let all = page.sum("llm_autoscaler_scrapes_total");
        let scrapes = page.value(SCRAPED).unwrap_or(0.0);
        Ok(Self {
            at: Instant::now(),
            cpu: usage.cpu,
            memory: usage.memory,
            scrapes,
            failed: all - scrapes,
            decisions: page.sum("llm_autoscaler_decisions_total"),
            late: page.buckets("llm_autoscaler_scrape_lateness_seconds"),
        })
    }

    /// Returns the difference from an earlier moment.
    fn since(self, before: &Self) -> Spent {
        let late = self
            .late
            .iter()
            .zip(&before.late)
            .map(|((le, now), (_, then))| (*le, now - then))
            .collect();
        Spent {
            seconds: (self.at - before.at).as_secs_f64(),
            cpu: self.cpu - before.cpu,
            memory: self.memory,
            scrapes: self.scrapes - before.scrapes,
            decisions: self.decisions - before.decisions,
            late,
        }
    }
}

/// The difference between two moments.
struct Spent {
    seconds: f64,
    cpu: f64,
    memory: f64,
    scrapes: f64,
    decisions: f64,
    late: Vec<(f64, f64)>,
}

impl Spent {
    fn text(&self, count: usize, page: usize) -> String {
        let Self { seconds, cpu, memory, scrapes, decisions, late } = self;
        let within = |share: f64| format!("{:.0} ms", within(late, share) * 1000.0);
        format!(
            "{count} pods, pages of {page} bytes, every {INTERVAL} s: {:.0} reads/s, {:.1} decisions/s, \
             {:.1} % of a core, {memory:.0} MB, {:.0} µs of CPU a read, late by at most {} (p50), {} (p99)",
            scrapes / seconds,
            decisions / seconds,
            100.0 * cpu / seconds,
            1e6 * cpu / scrapes,
            within(0.5),
            within(0.99),
        )
    }
}
