//! Measures the time from a metric's step to the scale write, beside the chain that this operator
//! replaces and beside KEDA.
//!
//! `make reaction STEPS=50 COUNT=600 MORE=2000 PARTS=ours,chain,keda`
//!
//! 1. Autoscalers that sample every 1, 2 and 5 s, HPAs behind Prometheus and prometheus-adapter,
//!    and ScaledObjects of the real KEDA step up `--steps` times each, at random moments.
//! 2. `--more` autoscalers step at once, at each of these intervals. Before that a client that does
//!    nothing else makes as many scale writes at once, which gives the least time that is possible
//!    here.
//! 3. `--count` autoscalers step at once in the same way, then as many HPAs, then as many
//!    ScaledObjects.
//!
//! A step is an engine's queue that jumps from 0 to 11 at a target of 5. It ends when a watch sees
//! that the target requests 3 replicas. The peers have their defaults, and the interval of the
//! usual guides: Prometheus scrapes every 15 s, the controller manager syncs every 15 s and sends
//! 20 requests a second, KEDA polls every 30 s. `--parts` says which of them run; 0 leaves a number
//! of steps or of objects out. `--results` is a file that keeps the figures of earlier runs, so
//! that the table at the end has all parts although each run has only some.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod chain;
mod keda;
mod many;
mod one;
mod peers;
mod results;
mod sizes;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::Cluster;
use llm_autoscaler_testbed::controlplane;
use peers::Peers;
use results::Results;

/// The sample intervals, in seconds.
const INTERVALS: [u32; 3] = [1, 2, 5];

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reaction: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<()> {
    let (steps, count, more) =
        (number("--steps", 50)?, number("--count", 600)?, number("--more", 2000)?);
    let parts = Parts::parse(&argument("--parts").unwrap_or_else(|| "ours,chain,keda".into()))?;
    let mut results = Results::open(argument("--results"))?;
    let defaults = ["--kube-api-qps=20", "--kube-api-burst=30"].map(ToOwned::to_owned);
    let options = controlplane::Options {
        controller_manager_args: defaults.into(),
        ..controlplane::Options::default()
    };
    let cluster = Arc::new(Cluster::start_with(options).await?);
    let peers = Peers::start(&cluster, parts).await?;
    if steps > 0 {
        one::measure(&cluster, &peers, steps, &mut results).await?;
    }
    if more > 0 && parts.ours {
        many::measure(&cluster, &Peers::none(), many::MORE, more, &mut results).await?;
    }
    if count > 0 {
        many::measure(&cluster, &peers, many::MANY, count, &mut results).await?;
    }
    results.print();
    Ok(())
}

/// The autoscalers that are measured.
#[derive(Clone, Copy)]
struct Parts {
    ours: bool,
    chain: bool,
    keda: bool,
}

impl Parts {
    fn parse(text: &str) -> Result<Self> {
        let chosen: Vec<_> = text.split(',').collect();
        let unknown = chosen.iter().find(|part| !["ours", "chain", "keda"].contains(part));
        ensure!(unknown.is_none(), "--parts {text}: the parts are ours, chain and keda");
        let has = |part| chosen.contains(&part);
        Ok(Self { ours: has("ours"), chain: has("chain"), keda: has("keda") })
    }
}

fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn number(name: &str, otherwise: usize) -> Result<usize> {
    let Some(value) = argument(name) else { return Ok(otherwise) };
    value.parse().with_context(|| format!("{name} {value}"))
}
