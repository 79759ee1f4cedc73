//! Runs two copies of the operator for hours, while pods and autoscalers come and go, and fails if
//! memory, descriptors or tasks of one of them grow.
//!
//! `make soak MINUTES=120 PODS=2000` creates this many pods in targets of a hundred, each with an
//! autoscaler. Every minute a tenth of the pods is replaced by new ones, a tenth of the targets and
//! their autoscalers as well, and the load rises or falls, so that the others are scaled. One
//! server gives all pods the same page, a recorded one of vLLM (45 kB), scraped every 10 s. Every
//! 10 s the resources of both copies are written to a CSV file. Flat is what
//! `llm_autoscaler_testbed::flatness` calls so: the figures of `samples.rs` say how much may grow.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod churn;
mod report;
mod samples;

use std::{path::PathBuf, process::ExitCode, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{
    Cluster, Stage,
    copies::{Copies, Copy},
    fleets::Fleets,
    usage::OwnMetrics,
};
use llm_autoscaler_testbed::{PageServer, wait};

use churn::Churn;
use samples::Samples;

/// The time for which a Lease lasts, in seconds. The machine may be busy, and a handover would
/// change what the copies do.
const LEASE: u64 = 20;
/// The time in which all pages are read at the beginning, and all are followed at the end.
const SETTLED: Duration = Duration::from_mins(3);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let minutes: f64 = argument("--minutes")?.unwrap_or(120.0);
    let pods: usize = argument("--pods")?.unwrap_or(2000);
    let folder: PathBuf = argument("--csv")?.context("--csv FOLDER is missing")?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let server = PageServer::start(&churn::page(false))?;
    let cluster = Arc::new(Cluster::start().await?);
    let stage = Stage::create(cluster, "soak").await?;
    stage.operator.kill();
    let fleets = Fleets::install(&stage, server.port()).await?;
    println!("creating {pods} pods");
    let mut churn = Churn::begin(fleets, server, pods).await?;
    let copies = Copies::start(&stage, LEASE).await?;
    let (serving, _) = copies.holder().await?;
    until_followed(&copies, serving, pods).await?;
    println!("all pages are read; {minutes} minutes begin");
    let mut samples = Samples::new(&folder.join("samples.csv"))?;
    tokio::select! {
        failed = churn.run() => return failed.map(drop).context("replacing pods"),
        result = samples.take(&copies, Duration::from_secs_f64(60.0 * minutes)) => result?,
    }
    let settled = until_followed(&copies, serving, pods).await;
    let verdict = report::print(&samples, &copies, &churn);
    println!("samples: {}", folder.join("samples.csv").display());
    settled?;
    ensure!(verdict.is_empty(), "not flat: {}", verdict.join("; "));
    Ok(())
}

/// Waits until the serving copy scrapes the page of each pod and of no other.
async fn until_followed(copies: &Copies<'_>, serving: Copy, pods: usize) -> Result<()> {
    wait::until(&format!("{pods} pages to be followed"), SETTLED, async || {
        let page = OwnMetrics::of(copies.operator(serving)).await.ok();
        let followed = page.and_then(|page| page.value("llm_autoscaler_pages"));
        Ok((followed == Some(pods as f64)).then_some(()))
    })
    .await
}

fn argument<T>(name: &str) -> Result<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let value = std::env::args().skip_while(|argument| argument != name).nth(1);
    value.map(|value| value.parse().with_context(|| format!("{name} {value}"))).transpose()
}
