//! Scales by the page of every engine, through every source.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage, runner::Scenario};
use llm_autoscaler_testbed::{
    EnginePage, Page,
    monitoring::{Prometheus, scrape_pods},
};
use serde_json::{Value, json};

/// The source from which an autoscaler reads its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The pages themselves.
    Scrape,
    /// A Prometheus that scrapes the pages.
    Prometheus,
}

impl Source {
    const ALL: [Self; 2] = [Self::Scrape, Self::Prometheus];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scrape => "scrape",
            Self::Prometheus => "prometheus",
        })
    }
}

/// The name of the target.
const TARGET: &str = "engine";
/// The target value: requests in flight per replica.
const EACH: u64 = 16;
/// The load of one pod: 40 requests in all, which require three replicas.
const RUNNING: u64 = 8;
const WAITING: u64 = 32;

/// Returns a scenario for each engine's page and each source.
pub(crate) fn matrix() -> Vec<Scenario> {
    let pairs =
        EnginePage::ALL.into_iter().flat_map(|page| Source::ALL.map(|source| (page, source)));
    let scenario = |(page, source): (EnginePage, Source)| {
        let name = format!("{page}_by_{source}").replace('-', "_");
        Scenario::new(name, move |stage| async move { follows(&stage, page, source).await })
    };
    pairs.map(scenario).collect()
}

/// The load appears on the page of one pod, and disappears later.
async fn follows(stage: &Stage, page: EnginePage, source: Source) -> Result<String> {
    let reporter = if page == EnginePage::DynamoFrontend { "frontend" } else { TARGET };
    let with_load = |running, waiting| Page::text(page.page(running, waiting));
    stage.page(TARGET, &Page::Refuse);
    stage.page(reporter, &with_load(0, 0));
    stage.engine(TARGET, 1).await?;
    if reporter != TARGET {
        stage.engine(reporter, 1).await?;
    }
    let prometheus = match source {
        Source::Scrape => None,
        Source::Prometheus => {
            let scraped =
                scrape_pods(stage.control_plane(), &[&stage.namespace], Duration::from_secs(1));
            Some(Prometheus::start(&scraped).await?)
        }
    };
    let mut spec = match &prometheus {
        None => by_pages(reporter),
        Some(prometheus) => by_server(prometheus, stage, reporter),
    };
    spec["engine"] = json!(page.engine());
    spec["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 1}});
    stage.autoscaler(TARGET, spec).await?;
    stage.until_condition(TARGET, "Ready", "True", "Scaling").await?;
    stage.stays(TARGET, 1, Duration::from_secs(2)).await?;

    let pod = format!("{}/{reporter}-0", stage.namespace);
    let loaded = Instant::now();
    stage.script.set(&pod, with_load(RUNNING, WAITING));
    stage.until_replicas(TARGET, 3, SOON).await?;
    let grown = loaded.elapsed().as_secs_f64();
    stage.until_ready(TARGET, 3).await?;
    stage.until_condition(TARGET, "SamplesComplete", "True", "AllReplicas").await?;
    stage.stays(TARGET, 3, Duration::from_secs(3)).await?;
    let read = read_from(stage, source).await?;

    let idle = Instant::now();
    stage.script.set(&pod, with_load(0, 0));
    stage.until_replicas(TARGET, 1, SOON).await?;
    let shrunk = idle.elapsed().as_secs_f64();

    if source == Source::Scrape {
        let request = stage.script.last_request(&pod);
        let request = request
            .lines()
            .next()
            .and_then(|line| line.strip_suffix(" HTTP/1.1"))
            .unwrap_or_default();
        let path = if page == EnginePage::TensorRtLlm { "/prometheus/metrics" } else { "/metrics" };
        ensure!(request == format!("GET {path}"), "{pod} was scraped by {request:?}");
    }
    Ok(format!(
        "{read}: {} in flight: 1 -> 3 after {grown:.1} s; none: 3 -> 1 after {shrunk:.1} s",
        RUNNING + WAITING
    ))
}

fn target() -> Value {
    json!({"type": "AverageValue", "averageValue": EACH.to_string()})
}

/// Returns the source of pages: the target's own, or those of other pods that report for the
/// target.
fn by_pages(reporter: &str) -> Value {
    let mut scrape = json!({"intervalSeconds": 1});
    if reporter != TARGET {
        scrape["podSelector"] = json!({"matchLabels": {"app": reporter}});
    }
    json!({
        "metrics": [{"signal": "InFlightRequests", "target": target()}],
        "sources": [{"scrape": scrape}],
    })
}

/// Returns the source of a Prometheus: its samples of the target's pods; the load that other pods
/// report is queried in PromQL.
fn by_server(prometheus: &Prometheus, stage: &Stage, reporter: &str) -> Value {
    let request = json!({"url": prometheus.url(), "intervalSeconds": 1, "staleAfterSeconds": 10});
    let metric = if reporter == TARGET {
        json!({"signal": "InFlightRequests", "target": target()})
    } else {
        let pods = format!(r#"namespace="{}",pod=~"{reporter}-.*""#, stage.namespace);
        let query = format!("sum(dynamo_frontend_inflight_requests{{{pods}}})");
        json!({"name": "in-flight", "query": query, "target": target()})
    };
    json!({"metrics": [metric], "sources": [{"prometheus": request}]})
}

/// Returns the series of the only metric. Fails if the status names another source.
async fn read_from(stage: &Stage, source: Source) -> Result<String> {
    let status = stage.status(TARGET).await?;
    let metric = status.targets.first().and_then(|target| target.metrics.first());
    let metric = metric.context("no metric in the status")?;
    let from = metric.source.as_deref().unwrap_or_default();
    let expected = match source {
        Source::Scrape => ["scrape", "others"].contains(&from),
        Source::Prometheus => from == "prometheus",
    };
    ensure!(expected, "its samples are from {from}");
    Ok(format!("{} from {from}", metric.series))
}
