//! Queries of one tenant, or of one autoscaler, that a shared Prometheus answers slowly or refuses.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{FakePrometheus, Fault, Page};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The number of slow queries of one autoscaler.
const SLOW: usize = 16;
/// The time within which a size must follow the load: an interval of a second, the second in which
/// the server shows it, and one more.
const ON_TIME: Duration = Duration::from_secs(3);
/// The longest time between two queries that are to be sent every second.
const REGULAR: Duration = Duration::from_millis(2500);
/// The series that targets are scaled by.
const SERIES: &str = "load";
/// A series that the server refuses. It is next to the other one in the order of names, so that
/// both are in one query.
const HEAVY: &str = "heavy";

fn source(server: &FakePrometheus, interval: u64, timeout: u64) -> Value {
    json!({"prometheus": {
        "url": server.url(),
        "intervalSeconds": interval,
        "timeoutSeconds": timeout,
        "staleAfterSeconds": 30,
    }})
}

/// A target that is scaled by the series of its pods on the server.
async fn by_series(stage: &Stage, server: &FakePrometheus, name: &str) -> Result<()> {
    stage.engine(name, 1).await?;
    stage.page(name, &Page::Refuse);
    set_load(stage, server, name, 1.0);
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let spec = json!({
        "metrics": [{"name": "load", "series": {"name": SERIES}, "target": target}],
        "sources": [source(server, 1, 5)],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    stage.autoscaler(name, spec).await?;
    stage.until_condition(name, "Ready", "True", "Scaling").await?;
    Ok(())
}

fn set_load(stage: &Stage, server: &FakePrometheus, name: &str, load: f64) {
    for ordinal in 0..3 {
        let pod = format!("{name}-{ordinal}");
        server.set(SERIES, &[("namespace", &*stage.namespace), ("pod", &pod)], load);
    }
}

/// Returns the load of each pod that make this number of replicas of one, or of three.
fn of_each_pod(replicas: i32) -> f64 {
    if replicas > 1 { 15.0 } else { 1.0 }
}

/// A target that is scaled by these queries of its spec.
async fn by_queries(stage: &Stage, name: &str, queries: &[String], source: Value) -> Result<()> {
    stage.engine(name, 1).await?;
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let metric = |query: &String| json!({"name": query, "query": query, "target": target});
    let spec = json!({
        "metrics": queries.iter().map(metric).collect::<Vec<_>>(),
        "sources": [source],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    stage.autoscaler(name, spec).await
}

/// Changes the load of a target to 3 replicas, to 1, and to 3 again. Returns the slowest reaction.
async fn slowest_reaction(stage: &Stage, name: &str, load: impl Fn(i32)) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for replicas in [3, 1, 3, 1] {
        let began = Instant::now();
        load(replicas);
        stage.until_replicas(name, replicas, SOON).await?;
        slowest = slowest.max(began.elapsed());
        stage.until_ready(name, replicas).await?;
    }
    ensure!(slowest <= ON_TIME, "{name}: {:.1} s after the load", slowest.as_secs_f64());
    Ok(slowest)
}

/// Returns the longest time between two queries with a text since a moment.
fn longest_gap(server: &FakePrometheus, text: &str, since: Instant) -> Result<Duration> {
    let times: Vec<_> = server.times(text).into_iter().filter(|at| *at >= since).collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().unwrap_or(Duration::MAX);
    ensure!(longest <= REGULAR, "{text} was not asked for {longest:?}");
    Ok(longest)
}

/// An autoscaler asks a shared server for what takes a minute, sixteen times. Its neighbours in
/// another namespace and in its own are asked for and scaled as before.
pub(crate) async fn a_neighbours_slow_queries(stage: &Stage) -> Result<String> {
    let other = stage.with_neighbour().await?;
    let server = FakePrometheus::start().await?;
    server.fail_queries("slow_", Fault::Slow(Duration::from_mins(1)));
    let query = "gateway_queue";
    server.set(query, &[], 1.0);
    by_queries(stage, "b", &[query.to_owned()], source(&server, 1, 5)).await?;
    stage.until_condition("b", "Ready", "True", "Scaling").await?;
    by_series(&other, &server, "c").await?;

    let slow: Vec<String> = (0..SLOW).map(|number| format!("slow_{number}")).collect();
    by_queries(&other, "a", &slow, source(&server, 60, 60)).await?;
    llm_autoscaler_testbed::wait::until("slow queries", SOON, async || {
        Ok((server.times("slow_").len() >= 3).then_some(()))
    })
    .await?;
    let began = Instant::now();
    let load = |replicas| server.set(query, &[], 5.0 * f64::from(replicas) - 1.0);
    let first = slowest_reaction(stage, "b", load).await?;
    let load = |replicas| set_load(&other, &server, "c", of_each_pod(replicas));
    let second = slowest_reaction(&other, "c", load).await?;
    let in_flight = server.times("slow_").len();
    ensure!(in_flight <= 8, "{in_flight} slow queries within {:?}", began.elapsed());
    let range = format!("namespace=\"{}\"", other.namespace);
    let gap = longest_gap(&server, query, began)?.max(longest_gap(&server, &range, began)?);
    Ok(format!(
        "sizes at most {:.1} s after the load, queries at most {:.1} s apart",
        first.max(second).as_secs_f64(),
        gap.as_secs_f64()
    ))
}

/// A server refuses one series (422). Only the autoscaler that asks for it has no samples: not the
/// other one of its namespace, with which it shares a query, and not the neighbour.
pub(crate) async fn a_query_that_the_server_refuses(stage: &Stage) -> Result<String> {
    let other = stage.with_neighbour().await?;
    let server = FakePrometheus::start().await?;
    let text = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
    server.fail_queries(HEAVY, Fault::Answer(422, text.to_owned()));
    by_series(stage, &server, "b").await?;
    by_series(&other, &server, "c").await?;

    other.engine("a", 1).await?;
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let spec = json!({
        "metrics": [{"name": "heavy", "series": {"name": HEAVY}, "target": target}],
        "sources": [source(&server, 1, 5)],
    });
    other.autoscaler("a", spec).await?;
    let failed =
        other.until_condition("a", "ScalingActive", "False", "FailedGetPodsMetric").await?;
    ensure!(failed.message.contains("too many samples"), "{}", failed.message);
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for (stage, name) in [(stage, "b"), (&other, "c")] {
        let load = |replicas| set_load(stage, &server, name, of_each_pod(replicas));
        slowest = slowest.max(slowest_reaction(stage, name, load).await?);
        let range = format!("namespace=\"{}\"", stage.namespace);
        longest_gap(&server, &range, began)?;
    }
    other.stays("a", 1, Duration::from_secs(2)).await?;
    let is_merged = |query: &String| query.contains(HEAVY) && query.contains(SERIES);
    let queries = server.queries();
    let merged = queries.iter().filter(|query| is_merged(query)).count();
    let distinct: BTreeSet<_> = queries.iter().collect();
    ensure!((1..=4).contains(&merged), "the refused query was sent {merged} times: {distinct:?}");
    Ok(format!(
        "sizes at most {:.1} s after the load; the refused query was sent {merged} times",
        slowest.as_secs_f64()
    ))
}
