//! Many autoscalers of one tenant.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Api, api::DeleteParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, http_client};
use serde_json::json;
use tokio::time::Instant;

use crate::memory::{many_pods, neighbour, watch};

/// The number of autoscalers.
const CROWD: usize = 300;
/// The number of pods that each of them reads.
const PODS: u32 = 30;
/// The number of series that each of them reads of a page.
const SERIES: usize = 16;

/// 300 autoscalers with 16 series of the same 30 pods used to stop the process for 100 s.
pub(crate) async fn three_hundred_autoscalers(stage: &Stage) -> Result<String> {
    let lines: Vec<String> = (0..CROWD * SERIES).map(|number| format!("q{number} 1\n")).collect();
    many_pods(stage, "a", PODS, &Page::text(lines.concat())).await?;
    let neighbour = neighbour(stage).await?;
    let probes = tokio::spawn(slowest_probe(stage.operator.url()));
    let create = |number: usize| async move {
        let metric = |series: usize| {
            json!({
                "name": format!("q{series}"),
                "series": {"name": format!("q{}", number * SERIES + series), "type": "Gauge"},
                "target": {"type": "AverageValue", "averageValue": "5"},
            })
        };
        let spec = json!({
            "engine": "Custom",
            "metrics": (0..SERIES).map(metric).collect::<Vec<_>>(),
            "sources": [{"scrape": {"port": stage.port(), "podSelector": {"matchLabels": {"app": "a"}}}}],
        });
        let name = format!("crowd-{number}");
        stage.create_engine(&name, 1).await?;
        stage.autoscaler(&name, spec).await
    };
    stream::iter(0..CROWD).map(create).buffer_unordered(8).try_collect::<Vec<_>>().await?;
    let summary = watch(stage, &neighbour).await?;
    let slowest = probes.await??.as_millis();
    ensure!(slowest < 1000, "/livez took {slowest} ms");
    Ok(format!("{summary}; probes within {slowest} ms"))
}

/// Asks for /livez again and again. Returns the slowest answer.
pub(crate) async fn slowest_probe(url: String) -> Result<Duration> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let began = Instant::now();
        let answer = http_client().get(format!("{url}/livez")).timeout(SOON).send().await;
        answer.context("a probe of the kubelet fails")?.error_for_status()?;
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(slowest)
}

/// The oldest autoscalers are served, and the next one when one of them is gone.
pub(crate) async fn more_autoscalers_than_a_namespace_may_have(stage: &Stage) -> Result<()> {
    stage.operator.start_with(&["--autoscalers-per-namespace=2"])?;
    for name in ["a", "b", "c"] {
        stage.waiting(name, 4);
        stage.engine(name, 1).await?;
        stage.autoscaler(name, json!({})).await?;
        // The API server tells the age of an object in seconds.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    for name in ["a", "b"] {
        stage.until_condition(name, "Ready", "True", "Scaling").await?;
    }
    stage.until_condition("c", "Ready", "False", "TooManyAutoscalers").await?;
    stage.waiting("c", 11);
    stage.stays("c", 1, Duration::from_secs(3)).await?;
    // After a restart the same ones are served, in whatever order they are listed.
    stage.operator.start()?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await?;
    stage.stays("c", 1, Duration::from_secs(2)).await?;

    let autoscalers: Api<LLMAutoscaler> = stage.api();
    autoscalers.delete("b", &DeleteParams::default()).await?;
    stage.until_replicas("c", 3, SOON).await?;
    stage.until_condition("c", "Ready", "True", "Scaling").await?;
    Ok(())
}
