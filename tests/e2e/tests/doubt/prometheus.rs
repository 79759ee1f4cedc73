//! Faults of a Prometheus server.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{FakePrometheus, Fault, Page};
use serde_json::{Value, json};

/// The time that a size must stay. It exceeds the lifetime of answers, with a query a second and
/// samples that may be 10 s old.
const WATCHED: Duration = Duration::from_secs(14);
const SERIES: &str = "vllm:num_requests_waiting";

/// Sets the series of each of the three pods of `a` on the server.
pub(crate) fn set_waiting(server: &FakePrometheus, stage: &Stage, waiting: f64) {
    for ordinal in 0..3 {
        let labels =
            [("namespace", &*stage.namespace), ("pod", &format!("a-{ordinal}")), ("engine", "0")];
        server.set(SERIES, &labels, waiting);
    }
}

/// Returns a source that queries the server every second.
pub(crate) fn source(server: &FakePrometheus) -> Value {
    json!({
        "prometheus": {
            "url": server.url(),
            "intervalSeconds": 1,
            "timeoutSeconds": 2,
            "staleAfterSeconds": 10,
        },
    })
}

/// Creates three replicas without readable pages, and a server that reports each at its target.
async fn with_server(stage: &Stage, spec: Value) -> Result<FakePrometheus> {
    let server = FakePrometheus::start().await?;
    stage.engine("a", 3).await?;
    stage.page("a", &Page::Refuse);
    set_waiting(&server, stage, 5.0);
    let mut all = json!({
        "sources": [source(&server)],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        "maxReplicas": 6,
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        all[field] = value.clone();
    }
    stage.autoscaler("a", all).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;
    Ok(server)
}

/// Breaks the server at the moment at which it would begin to report no load.
async fn break_server(stage: &Stage, fault: Fault, expected: &str) -> Result<String> {
    let mut server = with_server(stage, json!({})).await?;
    server.fail(fault).await?;
    set_waiting(&server, stage, 0.0);
    stage.stays("a", 3, WATCHED).await?;
    let active =
        stage.until_condition("a", "ScalingActive", "False", "FailedGetPodsMetric").await?;
    ensure!(active.message.contains(expected), "{expected:?} is not in: {}", active.message);
    stage.until_condition("a", "Ready", "False", "FailedGetPodsMetric").await?;
    server.fail(Fault::None).await?;
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    Ok(format!("held, Ready=False ({expected}); well again: 3 -> 1"))
}

pub(crate) async fn down(stage: &Stage) -> Result<String> {
    break_server(stage, Fault::Down, "Connection refused").await
}

pub(crate) async fn empty(stage: &Stage) -> Result<String> {
    break_server(
        stage,
        Fault::Empty,
        "has no vllm:num_requests_waiting of this pod in the last 10 s",
    )
    .await
}

pub(crate) async fn unauthorized(stage: &Stage) -> Result<String> {
    break_server(stage, Fault::Token("secret".to_owned()), "returned HTTP status 401").await
}

pub(crate) async fn slow(stage: &Stage) -> Result<String> {
    break_server(stage, Fault::Slow(Duration::from_secs(20)), "timed out after 2 s").await
}

/// A dead pod's last value expires.
pub(crate) async fn stale(stage: &Stage) -> Result<String> {
    break_server(stage, Fault::Stale(Duration::from_mins(1)), " s old, more than 10 s").await
}

/// A partial answer may grow the target, and never shrinks it.
pub(crate) async fn partial(stage: &Stage) -> Result<String> {
    let mut server = with_server(stage, json!({})).await?;
    server.fail(Fault::Partial).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    set_waiting(&server, stage, 0.0);
    stage.stays("a", 3, WATCHED).await?;
    stage.until_condition("a", "Advisory", "True", "PartialAnswer").await?;
    set_waiting(&server, stage, 9.0);
    stage.until_replicas("a", 6, SOON).await?;
    Ok("held at 3 when it reports idle, 3 -> 6 when it reports load".to_owned())
}

/// A server that is not a Prometheus is reported.
pub(crate) async fn server_is_no_prometheus(stage: &Stage) -> Result<String> {
    let fault = Fault::Answer(200, "<html>welcome</html>".to_owned());
    break_server(stage, fault, "not a response of Prometheus's API").await
}

/// The pages become unreachable, as behind a firewall. The second source takes over the samples
/// that the first lacks, for scale-ups and scale-downs. When the pages answer again, they are used
/// again.
pub(crate) async fn second_source_takes_over(stage: &Stage) -> Result<String> {
    let server = FakePrometheus::start().await?;
    stage.engine("a", 3).await?;
    // While the watch is behind, a pod that has just become ready is no pod that can be scraped.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.waiting("a", 5);
    set_waiting(&server, stage, 5.0);
    stage
        .autoscaler(
            "a",
            json!({
                "sources": [{"scrape": {"intervalSeconds": 1}}, source(&server)],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}, "maxReplicas": 6,
            }),
        )
        .await?;
    stage.until_condition("a", "FirstSourceUsed", "True", "FirstSource").await?;
    ensure!(server.queries().is_empty(), "queried without need: {:?}", server.queries());

    stage.page("a", &Page::Refuse);
    stage.until_condition("a", "FirstSourceUsed", "False", "FailedOver").await?;
    // The last samples of the pages count for a moment.
    llm_autoscaler_testbed::wait::until(
        "all samples to be of the second source",
        SOON,
        async || {
            let conditions = stage.status("a").await?.conditions;
            let message = conditions.iter().find(|condition| condition.type_ == "FirstSourceUsed");
            let contains =
                |text: &str| message.is_some_and(|condition| condition.message.contains(text));
            Ok((contains("3 from sources[1]") && contains("refused")).then_some(()))
        },
    )
    .await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let status = stage.status("a").await?;
    ensure!(status.targets[0].metrics[0].source.as_deref() == Some("prometheus"), "{status:?}");
    set_waiting(&server, stage, 9.0);
    stage.until_replicas("a", 6, SOON).await?;

    // The new pods are in neither source: half of the replicas report idle, and nothing shrinks.
    set_waiting(&server, stage, 0.0);
    stage.stays("a", 6, WATCHED).await?;
    stage.waiting("a", 0);
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_condition("a", "FirstSourceUsed", "True", "FirstSource").await?;
    Ok("pages refuse: FirstSourceUsed=False/FailedOver, 3 -> 6 by Prometheus; 3 of 6 idle: held; pages again: 6 -> 1".to_owned())
}

/// A pod that two jobs scrape counts as one pod.
pub(crate) async fn two_jobs_count_once(stage: &Stage) -> Result<String> {
    let mut server = with_server(stage, json!({})).await?;
    server.fail(Fault::TwoJobs).await?;
    let advice = stage.until_condition("a", "Advisory", "True", "QueueOnly").await?;
    ensure!(!advice.message.contains("2 times"), "{}", advice.message);
    stage.stays("a", 3, Duration::from_secs(5)).await?;
    set_waiting(&server, stage, 0.0);
    stage.until_replicas("a", 1, SOON).await?;
    Ok("at the target it stays at 3, not at 6; idle: 3 -> 1".to_owned())
}

/// Two addresses of a pod may be two parts of it or duplicates. Their samples are in doubt, so
/// nothing shrinks.
pub(crate) async fn two_addresses_are_in_doubt(stage: &Stage) -> Result<String> {
    let mut server = with_server(stage, json!({})).await?;
    server.fail(Fault::TwoAddresses).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    set_waiting(&server, stage, 0.0);
    stage.stays("a", 3, WATCHED).await?;
    let advice = stage.until_condition("a", "Advisory", "True", "TwoCandidates").await?;
    ensure!(advice.message.contains("is in doubt, and shrinks nothing"), "{}", advice.message);
    server.fail(Fault::None).await?;
    stage.until_replicas("a", 1, SOON).await?;
    Ok("held, Advisory=True (TwoCandidates); one address: 3 -> 1".to_owned())
}

/// Pods of one name in two clusters of a store are neither added nor chosen from, so nothing grows
/// or shrinks.
pub(crate) async fn two_clusters_are_no_number(stage: &Stage) -> Result<String> {
    let mut server = with_server(stage, json!({})).await?;
    server.fail(Fault::TwoClusters).await?;
    let advice = stage.until_condition("a", "Advisory", "True", "TwoCandidates").await?;
    ensure!(advice.message.contains("the label cluster"), "{}", advice.message);
    set_waiting(&server, stage, 9.0);
    stage.stays("a", 3, WATCHED).await?;
    server.fail(Fault::None).await?;
    stage.until_replicas("a", 6, SOON).await?;
    Ok("held, Advisory=True (TwoCandidates) names the label; one cluster: 3 -> 6".to_owned())
}

/// The server's clock is off by five minutes, ahead and behind: the age of samples is measured by
/// its own clock.
pub(crate) async fn clock_skew(stage: &Stage) -> Result<String> {
    let mut server = with_server(stage, json!({})).await?;
    for seconds in [300, -300] {
        server.fail(Fault::Clock(seconds)).await?;
        let direction = if seconds > 0 { "300 s ahead of" } else { "300 s behind" };
        llm_autoscaler_testbed::wait::until(direction, SOON, async || {
            let conditions = stage.status("a").await?.conditions;
            let advised = conditions.iter().find(|condition| condition.type_ == "Advisory");
            Ok(advised.filter(|condition| condition.message.contains(direction)).map(|_| ()))
        })
        .await?;
        stage.stays("a", 3, Duration::from_secs(2)).await?;
        stage.until_condition("a", "Ready", "True", "Scaling").await?;
    }
    set_waiting(&server, stage, 0.0);
    stage.until_replicas("a", 1, SOON).await?;
    Ok("Advisory=True (ClockSkew), scaling goes on; idle: 3 -> 1".to_owned())
}

/// An empty result is not zero, also for a query from the spec.
pub(crate) async fn a_query_that_gives_nothing(stage: &Stage) -> Result<String> {
    let server = FakePrometheus::start().await?;
    server.set("gateway", &[], 120.0);
    stage.engine("a", 3).await?;
    let metric = json!({
        "name": "rate",
        "query": "gateway",
        "target": {"type": "AverageValue", "averageValue": "40"},
    });
    stage
        .autoscaler(
            "a",
            json!({
                "sources": [source(&server)], "metrics": [metric], "maxReplicas": 6,
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            }),
        )
        .await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    server.remove("gateway");
    stage.stays("a", 3, WATCHED).await?;
    let active =
        stage.until_condition("a", "ScalingActive", "False", "FailedGetExternalMetric").await?;
    ensure!(active.message.contains("gives nothing, which is not zero"), "{}", active.message);
    server.set("gateway", &[], 240.0);
    stage.until_replicas("a", 6, SOON).await?;
    server.set("gateway", &[], 30.0);
    stage.until_replicas("a", 1, SOON).await?;
    let note = "New size: 6; reason: external metric rate(nil) above target";
    stage.until_event("a", "SuccessfulRescale", note).await?;
    Ok("empty: held, FailedGetExternalMetric; 240/40: 3 -> 6; 30/40: 6 -> 1".to_owned())
}

/// When no source has had samples for a while, the fallback size applies, but never a smaller one
/// than the current size.
pub(crate) async fn everything_fails_and_there_is_a_fallback(stage: &Stage) -> Result<String> {
    let fallback = json!({"afterSeconds": 8, "replicas": 5});
    let mut server = with_server(stage, json!({"fallback": fallback})).await?;
    stage.until_condition("a", "Fallback", "False", "NotNeeded").await?;
    server.fail(Fault::Down).await?;
    stage.stays("a", 3, Duration::from_secs(8)).await?;
    stage.until_replicas("a", 5, SOON).await?;
    stage.until_condition("a", "Fallback", "True", "MetricsUnavailable").await?;
    let note = "New size: 5; reason: no metric has been available for 8 s";
    stage.until_event("a", "SuccessfulRescale", note).await?;
    stage.stays("a", 5, Duration::from_secs(5)).await?;
    for ordinal in 3..5 {
        let labels =
            [("namespace", &*stage.namespace), ("pod", &format!("a-{ordinal}")), ("engine", "0")];
        server.set(SERIES, &labels, 0.0);
    }
    set_waiting(&server, stage, 0.0);
    server.fail(Fault::None).await?;
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_condition("a", "Fallback", "False", "NotNeeded").await?;
    Ok("held for 8 s, then 3 -> 5, Fallback=True; well again: 5 -> 1".to_owned())
}
