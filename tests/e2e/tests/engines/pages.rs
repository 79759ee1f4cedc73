//! Every engine's page, by every source.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage, runner::Scenario};
use llm_autoscaler_testbed::{EnginePage, Page};
use serde_json::{Value, json};

/// Where an autoscaler learns what its pods do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// It reads the pages.
    Scrape,
}

impl Source {
    const ALL: [Self; 1] = [Self::Scrape];

    /// `spec.sources`, where the StatefulSet `knows` is the target or other pods that know.
    fn spec(self, knows: &str) -> Value {
        match self {
            Self::Scrape if knows == TARGET => json!([{"scrape": {"intervalSeconds": 1}}]),
            Self::Scrape => {
                let pods = json!({"matchLabels": {"app": knows}});
                json!([{"scrape": {"intervalSeconds": 1, "podSelector": pods}}])
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scrape => "scrape",
        })
    }
}

/// What is scaled.
const TARGET: &str = "engine";
/// How many requests a replica should have in flight.
const EACH: u64 = 16;
/// The requests of the load: three replicas' worth.
const RUNNING: u64 = 8;
const WAITING: u64 = 32;

/// A scenario for each engine's page and each source.
pub fn matrix() -> Vec<Scenario> {
    let pairs = EnginePage::ALL.into_iter().flat_map(|page| Source::ALL.map(|source| (page, source)));
    let scenario = |(page, source): (EnginePage, Source)| {
        let name = format!("{page}_by_{source}").replace('-', "_");
        Scenario::new(name, move |stage| async move { follows(&stage, page, source).await })
    };
    pairs.map(scenario).collect()
}

/// The load appears on the page of one pod, and is gone later.
async fn follows(stage: &Stage, page: EnginePage, source: Source) -> Result<String> {
    let knows = if page == EnginePage::DynamoFrontend { "frontend" } else { TARGET };
    let says = |running, waiting| Page::text(page.page(running, waiting));
    stage.page(TARGET, &Page::Refuse);
    stage.page(knows, &says(0, 0));
    stage.engine(TARGET, 1).await?;
    if knows != TARGET {
        stage.engine(knows, 1).await?;
    }
    let target = json!({"type": "AverageValue", "averageValue": EACH.to_string()});
    let spec = json!({
        "engine": page.engine(),
        "metrics": [{"signal": "InFlightRequests", "target": target}],
        "sources": source.spec(knows),
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 1}},
    });
    stage.autoscaler(TARGET, spec).await?;
    stage.until_condition(TARGET, "Ready", "True", "Scaling").await?;
    stage.stays(TARGET, 1, Duration::from_secs(2)).await?;

    let pod = format!("{}/{knows}-0", stage.namespace);
    let loaded = Instant::now();
    stage.script.set(&pod, says(RUNNING, WAITING));
    stage.until_replicas(TARGET, 3, SOON).await?;
    let grown = loaded.elapsed().as_secs_f64();
    stage.until_ready(TARGET, 3).await?;
    stage.until_condition(TARGET, "SamplesComplete", "True", "AllReplicas").await?;
    stage.stays(TARGET, 3, Duration::from_secs(3)).await?;
    let series = read_from(stage).await?;

    let idle = Instant::now();
    stage.script.set(&pod, says(0, 0));
    stage.until_replicas(TARGET, 1, SOON).await?;
    let shrunk = idle.elapsed().as_secs_f64();

    let asked = stage.script.last_request(&pod);
    let asked = asked.lines().next().and_then(|line| line.strip_suffix(" HTTP/1.1")).unwrap_or_default();
    let path = if page == EnginePage::TensorRtLlm { "/prometheus/metrics" } else { "/metrics" };
    ensure!(asked == format!("GET {path}"), "{pod} was asked with {asked:?}");
    Ok(format!(
        "{series}, {asked}: {} in flight: 1 -> 3 after {grown:.1} s; none: 3 -> 1 after {shrunk:.1} s",
        RUNNING + WAITING
    ))
}

/// The series of the only metric.
async fn read_from(stage: &Stage) -> Result<String> {
    let status = stage.status(TARGET).await?;
    let metric = status.targets.first().and_then(|target| target.metrics.first());
    Ok(metric.context("no metric in the status")?.series.clone())
}
