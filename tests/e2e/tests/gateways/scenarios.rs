//! The scenarios, each for one gateway.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Engine, wait};
use serde_json::{Value, json};

use crate::gateway::{Kind, TARGET, Traffic, ask, start};

/// The number of requests in flight under load: enough for three engines of eight.
const IN_FLIGHT: usize = 24;
/// The idle time in seconds before the last replica is removed.
const AFTER: u64 = 5;
/// The time that a request may wait for the gateway to find an engine that is ready.
const FOUND: Duration = Duration::from_mins(2);

/// Returns the target of a metric per replica.
fn each(value: &str) -> Value {
    json!({"type": "AverageValue", "averageValue": value})
}

/// Starts the gateway and one engine, and waits until a request is answered. Returns the URL.
async fn serve(stage: &Stage, kind: Kind) -> Result<String> {
    stage.assign(TARGET, Engine::emulated());
    stage.engine(TARGET, 1).await?;
    let url = start(stage, kind).await?;
    until_answered(&url).await?;
    Ok(url)
}

async fn until_answered(url: &str) -> Result<()> {
    wait::until("the gateway to answer a request", FOUND, async || {
        Ok((ask(url, 4).await? == 200).then_some(()))
    })
    .await
}

/// Starts the same, scaled by the requests in flight on the gateway's page. Returns the URL.
async fn serve_and_scale(stage: &Stage, kind: Kind) -> Result<String> {
    let url = serve(stage, kind).await?;
    let spec = json!({
        "maxReplicas": 10,
        "metrics": [{"signal": "InFlightRequests", "target": each("8")}],
        "sources": [kind.source()],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 2}},
    });
    stage.autoscaler(TARGET, spec).await?;
    Ok(url)
}

/// A target that is scaled by nothing but the gateway's page follows its requests in flight.
pub(crate) async fn size_follows_requests_in_flight(stage: &Stage, kind: Kind) -> Result<String> {
    let url = serve_and_scale(stage, kind).await?;
    stage.until_condition(TARGET, "Ready", "True", "Scaling").await?;
    stage.stays(TARGET, 1, Duration::from_secs(3)).await?;

    let began = Instant::now();
    let traffic = Traffic::start(&url, IN_FLIGHT);
    stage.until_replicas(TARGET, 3, SOON).await?;
    let grown = began.elapsed().as_secs_f64();
    stage.until_ready(TARGET, 3).await?;
    stage.stays(TARGET, 3, Duration::from_secs(10)).await?;
    let status = stage.status(TARGET).await?;
    let metric = status.targets[0].metrics[0].clone();
    let ended = Instant::now();
    let (answered, failed) = traffic.stop().await;
    stage.until_replicas(TARGET, 1, SOON).await?;
    let shrunk = ended.elapsed().as_secs_f64();
    ensure!(failed == 0, "{failed} of {} requests have failed", answered + failed);
    Ok(format!(
        "{} {}/8: 1 -> 3 after {grown:.1} s; the load ends: 3 -> 1 after {shrunk:.1} s; {answered} \
         requests answered",
        metric.series,
        metric.current.unwrap_or_default()
    ))
}

/// An idle target goes to zero. A request that the gateway cannot place brings it back: it is
/// refused, and answered when the client tries again, or it is answered at once by a gateway that
/// has itself tried until the engine was there.
pub(crate) async fn refused_requests_wake_a_target(stage: &Stage, kind: Kind) -> Result<String> {
    let url = serve(stage, kind).await?;
    let spec = json!({
        "minReplicas": 0, "scaleToZero": {"afterSeconds": AFTER},
        "metrics": [
            {"name": "in-flight", "signal": "InFlightRequests", "target": each("8")},
            {"name": "arrivals", "signal": "ArrivalRate", "windowSeconds": 8, "target": each("50")},
        ],
        "sources": [{"scrape": {"intervalSeconds": 1}}, kind.source()],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    stage.autoscaler(TARGET, spec).await?;
    stage.until_replicas(TARGET, 0, SOON).await?;
    stage.until_condition(TARGET, "ScaledToZero", "True", "ScaledToZero").await?;
    // The gateway may believe in its last engine for a while.
    wait::until("the gateway to miss its engine", FOUND, async || {
        Ok((stage.api::<Pod>().get_opt(&format!("{TARGET}-0")).await?.is_none()).then_some(()))
    })
    .await?;
    stage.stays(TARGET, 0, Duration::from_secs(10)).await?;

    let asked = Instant::now();
    let client = tokio::spawn({
        let url = url.clone();
        async move { ask(&url, 4).await }
    });
    wait::until("the first replica", SOON, async || {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok((stage.replicas(TARGET).await? == 1).then_some(()))
    })
    .await?;
    let woken = asked.elapsed();
    let answer = match client.await?? {
        200 => "answered after the gateway's own tries".to_owned(),
        refused => format!("refused with {refused}"),
    };
    let note = format!("New size: 1; reason: pods metric {} above target", kind.arrivals());
    stage.until_event(TARGET, "SuccessfulRescale", &note).await?;
    until_answered(&url).await?;
    let answered = asked.elapsed().as_secs_f64();
    stage.until_replicas(TARGET, 0, SOON).await?;
    Ok(format!(
        "a request {answer}: 0 -> 1 after {:.2} s, answered after {answered:.1} s; \
         idle again: 1 -> 0",
        woken.as_secs_f64()
    ))
}

/// The engines die under load, and their successors find no node: the size does not exceed what
/// the requests in flight need, and falls when the load ends, whatever the gateway's page still
/// says about engines that are gone.
pub(crate) async fn engines_that_die_make_nothing_grow(
    stage: &Stage,
    kind: Kind,
) -> Result<String> {
    let url = serve_and_scale(stage, kind).await?;
    let traffic = Traffic::start(&url, IN_FLIGHT);
    stage.until_replicas(TARGET, 3, SOON).await?;
    stage.until_ready(TARGET, 3).await?;
    stage.stays(TARGET, 3, Duration::from_secs(5)).await?;
    let pods: Vec<String> = (0..10).map(|ordinal| format!("{TARGET}-{ordinal}")).collect();
    for pod in &pods {
        stage.leave_pending(pod);
    }
    for pod in &pods[..3] {
        stage.api::<Pod>().delete(pod, &DeleteParams::default().grace_period(0)).await?;
    }
    let died = Instant::now();
    let mut largest = 0;
    while died.elapsed() < Duration::from_secs(20) {
        largest = largest.max(stage.replicas(TARGET).await?);
        ensure!(largest <= 3, "it has grown to {largest} for {IN_FLIGHT} requests in flight");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let (answered, failed) = traffic.stop().await;
    ensure!(failed > 0, "no request has failed, so no engine has died");
    stage.until_replicas(TARGET, 1, FOUND).await?;
    stage.stays(TARGET, 1, Duration::from_secs(5)).await?;
    Ok(format!(
        "{IN_FLIGHT} in flight, all engines dead for 20 s: at most {largest} replicas; the load \
         ends: {largest} -> 1; {answered} requests answered, {failed} failed"
    ))
}
