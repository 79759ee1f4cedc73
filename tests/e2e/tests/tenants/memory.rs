//! Pages and responses of one tenant that take much memory.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::PostParams;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{FakePrometheus, Fault, Page, workloads::stateful_set};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The memory that the operator may have, in MB.
const MOST: u64 = 256;
/// The time within which a neighbour's size must follow the load.
const ON_TIME: Duration = Duration::from_secs(3);
/// The time for which the memory is watched.
const WATCHED: Duration = Duration::from_secs(25);

/// 130 pages of a tenant that never end used to take 550 MB.
pub(crate) async fn pages_that_do_not_end(stage: &Stage) -> Result<String> {
    many_pods(stage, "a", 130, &Page::Unfinished((4 << 20) - 100)).await?;
    let neighbour = neighbour(stage).await?;
    let source = json!({"scrape": {"timeoutSeconds": 60, "intervalSeconds": 60}});
    let spec = json!({"maxReplicas": 131, "sources": [source]});
    stage.autoscaler("a", spec).await?;
    watch(stage, &neighbour).await
}

/// Windows over histograms with 60,000 buckets used to take 539 MB, for four pods.
pub(crate) async fn histograms_with_many_buckets(stage: &Stage) -> Result<String> {
    many_pods(stage, "a", 4, &Page::text(histogram(60_000))).await?;
    let neighbour = neighbour(stage).await?;
    stage.autoscaler("a", json!({"engine": "Custom", "metrics": percentiles()})).await?;
    let summary = watch(stage, &neighbour).await?;
    let message = "t_bucket has more than the 500 buckets that are read";
    stage.until_condition("a", "ScalingActive", "False", "FailedGetPodsMetric").await?;
    let status = stage.status("a").await?;
    let told = format!("{:?}", status.conditions);
    ensure!(told.contains(message), "{told}");
    Ok(summary)
}

/// As many buckets as are read, of so many pods that their windows do not fit.
pub(crate) async fn windows_of_many_pods(stage: &Stage) -> Result<String> {
    many_pods(stage, "a", 100, &Page::text(histogram(499))).await?;
    let neighbour = neighbour(stage).await?;
    let spec = json!({"engine": "Custom", "metrics": percentiles(), "maxReplicas": 101});
    stage.autoscaler("a", spec).await?;
    watch(stage, &neighbour).await
}

/// Four responses of 60 MB each used to take 1.3 GB, most of which stayed.
pub(crate) async fn responses_of_sixty_megabytes(stage: &Stage) -> Result<String> {
    responses(stage, response(60 << 20)).await
}

/// Millions of empty warnings, which take more memory than their bytes.
pub(crate) async fn responses_of_a_million_warnings(stage: &Stage) -> Result<String> {
    let warnings = "\"\",".repeat(5_000_000);
    let data = r#""data":{"resultType":"vector","result":[]}"#;
    let body = format!(r#"{{"status":"success","warnings":[{warnings}""],{data}}}"#);
    responses(stage, body).await
}

/// Four queries of an autoscaler have this response.
async fn responses(stage: &Stage, body: String) -> Result<String> {
    let mut server = FakePrometheus::start().await?;
    server.fail(Fault::Answer(200, body)).await?;
    stage.engine("a", 1).await?;
    let neighbour = neighbour(stage).await?;
    let target = json!({"type": "Value", "value": "5"});
    let metric = |number: usize| {
        let query = format!("sum(q) + {number}");
        json!({"name": format!("q{number}"), "query": query, "target": target})
    };
    let spec = json!({
        "metrics": (0..4).map(metric).collect::<Vec<_>>(),
        "sources": [{"prometheus": {"url": server.url(), "timeoutSeconds": 5}}],
    });
    stage.autoscaler("a", spec).await?;
    watch(stage, &neighbour).await
}

/// Creates a StatefulSet of pods that all have this page.
pub(crate) async fn many_pods(stage: &Stage, name: &str, pods: u32, page: &Page) -> Result<()> {
    for ordinal in 0..pods {
        stage.script.set(&format!("{}/{name}-{ordinal}", stage.namespace), page.clone());
    }
    let mut set = stateful_set(name, pods, stage.port())?;
    set.metadata.namespace = Some(stage.namespace.clone());
    set.spec.as_mut().context("it has a spec")?.pod_management_policy = Some("Parallel".to_owned());
    stage.api::<StatefulSet>().create(&PostParams::default(), &set).await?;
    stage.until_ready_within(name, pods.cast_signed(), Duration::from_mins(2)).await
}

/// Returns the stage of a neighbour, with a target `b` that has one replica and follows its load.
pub(crate) async fn neighbour(stage: &Stage) -> Result<Stage> {
    let neighbour = stage.with_neighbour().await?;
    neighbour.waiting("b", 4);
    neighbour.engine("b", 1).await?;
    let stabilization = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}});
    neighbour.autoscaler("b", stabilization).await?;
    neighbour.until_condition("b", "Ready", "True", "Scaling").await?;
    Ok(neighbour)
}

/// Watches the memory of the operator, while the load of the neighbour changes again and again.
pub(crate) async fn watch(stage: &Stage, neighbour: &Stage) -> Result<String> {
    let end = Instant::now() + WATCHED;
    let (mut most, mut slowest) = (0, Duration::ZERO);
    let mut load = [(11, 3), (1, 1)].into_iter().cycle();
    while Instant::now() < end {
        let (waiting, replicas) = load.next().context("a cycle has no end")?;
        let began = Instant::now();
        neighbour.waiting("b", waiting);
        while neighbour.replicas("b").await? != replicas {
            most = most.max(stage.operator.memory_mb()?.0);
            ensure!(began.elapsed() < SOON, "b stays as it is");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slowest = slowest.max(began.elapsed());
        neighbour.until_ready("b", replicas).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        most = most.max(stage.operator.memory_mb()?.0);
    }
    let slowest = slowest.as_secs_f64();
    let summary = format!("at most {most} MB; the neighbour's sizes within {slowest:.1} s");
    ensure!(most <= MOST, "the operator has {summary}");
    ensure!(slowest <= ON_TIME.as_secs_f64(), "{summary}");
    Ok(summary)
}

fn histogram(buckets: u32) -> String {
    let mut page = "# TYPE t histogram\n".to_owned();
    for le in 1..=buckets {
        let _ = writeln!(page, "t_bucket{{le=\"{le}\"}} {le}");
    }
    page + &format!("t_bucket{{le=\"+Inf\"}} {buckets}\nt_count {buckets}\nt_sum 1\n")
}

/// Returns 16 metrics that read the histogram, each with a window of its own.
fn percentiles() -> Vec<Value> {
    let metric = |number: u64| {
        json!({
            "name": format!("t{number}"),
            "series": {"name": "t", "type": "Histogram"},
            "percentile": 95,
            "windowSeconds": 30 + number,
            "target": {"type": "Value", "value": "100000"},
        })
    };
    (0..16).map(metric).collect()
}

/// Returns a vector of many small series.
fn response(bytes: usize) -> String {
    let series = r#"{"metric":{"a":"b"},"value":[1,"2"]},"#;
    let all = series.repeat(bytes / series.len());
    let all = all.trim_end_matches(',');
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{all}]}}}}"#)
}
