//! From a metric's step to the scale write, for many autoscalers that step at once.
//!
//! `cargo bench -p llm-autoscaler-e2e -- 100`: that many StatefulSets of one pod each, each with an autoscaler that samples
//! every two seconds. All queues jump from 0 to 11 at the same moment; a watch notes when each StatefulSet is asked
//! for 3 replicas.

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{
    ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{Page, wait};
use serde_json::json;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_mins(15);

#[tokio::main]
async fn main() -> ExitCode {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(30);
    match measure(count).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("reaction: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(count: usize) -> Result<()> {
    let cluster = Arc::new(Cluster::start().await?);
    let stage = Stage::set(cluster, "reaction").await?;
    let names: Vec<String> = (0..count).map(|index| format!("engine-{index}")).collect();
    println!("creating {count} StatefulSets and their LLMAutoscalers");
    let scrape = json!({"sources": [{"scrape": {"intervalSeconds": 2}}], "podMonitor": {"mode": "Disabled"}});
    stream::iter(&names)
        .map(|name| {
            let (stage, scrape) = (&stage, scrape.clone());
            async move {
                stage.create_engine(name, 1).await?;
                stage.autoscaler(name, scrape).await
            }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<()>>()
        .await?;
    for name in &names {
        wait::until(&format!("{name} to be kept"), PATIENCE, async || {
            let conditions = stage.status(name).await?.conditions;
            Ok(conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True").then_some(()))
        })
        .await?;
    }
    // No reading is to be from before the step by chance of the start.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let times = step(&stage, &names).await?;
    report(times)
}

/// All queues jump; when each StatefulSet was scaled, since then.
async fn step(stage: &Stage, names: &[String]) -> Result<Vec<Duration>> {
    let mut events =
        watcher(stage.api::<StatefulSet>(), watcher::Config::default()).applied_objects().boxed();
    for _ in names {
        events.try_next().await?.context("the watch ended")?;
    }
    let began = Instant::now();
    stage.script.set_all(&Page::waiting(11));
    let mut scaled = HashMap::new();
    while scaled.len() < names.len() {
        let next = tokio::time::timeout(Duration::from_mins(3), events.try_next()).await;
        let Ok(event) = next else { bail!("only {} of {} were scaled", scaled.len(), names.len()) };
        let object = event?.context("the watch ended")?;
        if object.spec.as_ref().and_then(|spec| spec.replicas) == Some(3) {
            scaled.entry(object.name_any()).or_insert_with(|| began.elapsed());
        }
    }
    Ok(scaled.into_values().collect())
}

fn report(mut times: Vec<Duration>) -> Result<()> {
    times.sort();
    let last = times.last().context("no StatefulSets")?;
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize].as_secs_f64();
    println!(
        "{} autoscalers stepped at once, sampling every 2 s: p50 {:.2} s, p90 {:.2} s, p99 {:.2} s, last {:.2} s",
        times.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        last.as_secs_f64()
    );
    Ok(())
}
