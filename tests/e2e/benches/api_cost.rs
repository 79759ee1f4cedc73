//! Counts what quiet autoscalers cost the API server: the operator's requests in its audit log,
//! while nothing happens.
//!
//! `make api-cost` creates COUNT targets of a pod each, the half of them with a PodMonitor,
//! waits until everything is decided, and counts the requests of MINUTES by verb and resource, an
//! autoscaler and an hour. `LLM_AUTOSCALER_BIN` is the operator that is measured.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{
    collections::BTreeMap, path::Path, process::ExitCode, str::FromStr, sync::Arc, time::Duration,
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{Cluster, Stage, fleets::Fleets};
use llm_autoscaler_testbed::{EnginePage, PageServer, controlplane::Options};
use serde_json::{Value, json};

/// The operator's user, as config/default installs it.
const USER: &str = "system:serviceaccount:llm-autoscaler-system:llm-autoscaler";
/// The time after which everything has been decided and reported.
const SETTLED: Duration = Duration::from_secs(150);
/// The scrape interval in seconds.
const INTERVAL: u64 = 5;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api-cost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let count: u32 = argument("--count")?.unwrap_or(40);
    let minutes: f64 = argument("--minutes")?.unwrap_or(5.0);
    // Engines without requests: those that have some and answer none would be wedged.
    let server = PageServer::start(&EnginePage::Vllm.page(0, 0))?;
    let cluster = Cluster::start_with(Options { audit: true, ..Options::default() }).await?;
    let stage = Stage::create(Arc::new(cluster), "api-cost").await?;
    stage.operator.kill();
    stage.control_plane().apply_yaml(include_str!("../fixtures/podmonitor-crd.yaml")).await?;
    let fleets = Fleets::install(&stage, server.port()).await?;
    for index in 0..count {
        let name = format!("fleet-{index}");
        fleets.create(&name, 1).await?;
        fleets.create_pod(&format!("pod-{index}"), &name, index).await?;
        let mode = if index % 2 == 0 { "Create" } else { "Disabled" };
        fleets.autoscaler(&name, &name, INTERVAL, json!({"podMonitor": {"mode": mode}})).await?;
    }
    stage.operator.start()?;
    println!("{count} autoscalers settle for {} s", SETTLED.as_secs());
    tokio::time::sleep(SETTLED).await;
    let log = stage.control_plane().audit_log();
    let before = requests(&log)?;
    println!("counting for {minutes} minutes");
    tokio::time::sleep(Duration::from_secs_f64(60.0 * minutes)).await;
    let after = requests(&log)?;
    ensure!(stage.operator.pid().is_some(), "the operator does not run");
    print(&before, &after, 60.0 / minutes, count);
    Ok(())
}

/// Prints the requests between two counts: those that name an object, and so grow with the number
/// of autoscalers, an autoscaler and an hour; and those of the operator as a whole, an hour.
fn print(before: &Counts, after: &Counts, an_hour: f64, count: u32) {
    let mut sum = 0.0;
    println!("| requests | an hour, of the operator | an hour, of an autoscaler |\n|---|---|---|");
    for (key, all) in after {
        let made = f64::from(all - before.get(key).copied().unwrap_or_default()) * an_hour;
        if made == 0.0 {
            continue;
        }
        let each = if key.names_object { made / f64::from(count) } else { 0.0 };
        sum += each;
        let each = if key.names_object { format!("{each:.1}") } else { "shared".to_owned() };
        println!("| {} {} | {made:.0} | {each} |", key.verb, key.resource);
    }
    println!("| all that name an object | | {sum:.1} |");
}

type Counts = BTreeMap<Key, u32>;

/// A kind of requests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    names_object: bool,
    resource: String,
    verb: String,
}

/// Counts the operator's requests in the audit log so far.
fn requests(log: &Path) -> Result<Counts> {
    let text = std::fs::read_to_string(log)
        .with_context(|| format!("reading the audit log {}", log.display()))?;
    let mut counts = Counts::new();
    // The API server may be in the middle of the last line.
    for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if event["user"]["username"] != USER || event["stage"] != "ResponseComplete" {
            continue;
        }
        let object = &event["objectRef"];
        let part = |name: &str| object[name].as_str().unwrap_or_default();
        let resource = match part("subresource") {
            "" => part("resource").to_owned(),
            subresource => format!("{}/{subresource}", part("resource")),
        };
        // The Lease is one object for all autoscalers.
        let names_object = !part("name").is_empty() && resource != "leases";
        let verb = event["verb"].as_str().unwrap_or_default().to_owned();
        *counts.entry(Key { names_object, resource, verb }).or_default() += 1;
    }
    Ok(counts)
}

fn argument<T>(name: &str) -> Result<Option<T>>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let value = std::env::args().skip_while(|argument| argument != name).nth(1);
    value.map(|value| value.parse().with_context(|| format!("{name} {value}"))).transpose()
}
