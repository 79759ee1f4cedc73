//! Measures the time from a metric's step to the scale write, beside the chain that this operator
//! replaces.
//!
//! `make reaction STEPS=50 COUNT=600`
//!
//! 1. Autoscalers that sample every 1, 2 and 5 s, and an HPA behind Prometheus and
//!    prometheus-adapter, step up `--steps` times each, at random moments.
//! 2. `--count` autoscalers step at once, at each of these intervals; then as many HPAs. Before
//!    that a client that does nothing else makes as many scale writes at once, which gives the
//!    least time that is possible here.
//!
//! A step is an engine's queue that jumps from 0 to 11 at a target of 5. It ends when a watch sees
//! that the `StatefulSet` requests 3 replicas. The chain has its defaults, and the interval of the
//! usual guides: Prometheus scrapes every 15 s, the controller manager syncs every 15 s and sends
//! 20 requests a second.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod chain;
mod many;
mod one;
mod sizes;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use llm_autoscaler_e2e::Cluster;
use llm_autoscaler_testbed::controlplane;

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
    let (steps, count) = (argument("--steps")?.unwrap_or(50), argument("--count")?.unwrap_or(600));
    let defaults = ["--kube-api-qps=20", "--kube-api-burst=30"].map(ToOwned::to_owned);
    let options = controlplane::Options {
        controller_manager_args: defaults.into(),
        ..controlplane::Options::default()
    };
    let cluster = Arc::new(Cluster::start_with(options).await?);
    if steps > 0 {
        one::measure(&cluster, steps).await?;
    }
    if count > 0 {
        many::measure(&cluster, count).await?;
    }
    Ok(())
}

fn argument(name: &str) -> Result<Option<usize>> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments
        .next()
        .map(|value| value.parse().with_context(|| format!("{name} {value}")))
        .transpose()
}

/// Prints the distribution of the times of steps.
fn report(series: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort();
    let last = times.last().context("no steps")?.as_secs_f64();
    // The percentile is the smallest time that this share of the steps did not exceed.
    let at =
        |share: f64| times[((times.len() as f64 * share).ceil() as usize).max(1) - 1].as_secs_f64();
    let (count, p50, p99) = (times.len(), at(0.5), at(0.99));
    println!(
        "{series:<34} {count:>5} steps: p50 {p50:>7.3} s, p99 {p99:>7.3} s, longest {last:>7.3} s"
    );
    Ok(())
}
