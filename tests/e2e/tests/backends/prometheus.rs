//! Prometheus 3, with the forms of series that are not those of a page.

use std::{cell::Cell, time::Duration};

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Page, http_client, monitoring::Prometheus};
use serde_json::{Value, json};

use crate::setting::{FOLLOWS, HELD, by, scrape, until_told};

/// The histogram of the signal `TimeToFirstToken`.
const TTFT: &str = "vllm:time_to_first_token_seconds";

/// Prometheus converts classic histograms to custom buckets, and has no `_bucket` series then. A
/// percentile of their events grows the target and shrinks it.
pub(crate) async fn percentile_of_custom_buckets_scales(stage: &Stage) -> Result<()> {
    let mut configuration = scrape(stage)?;
    configuration["global"]["convert_classic_histograms_to_nhcb"] = json!(true);
    let server = Prometheus::start(&configuration.to_string()).await?;
    let (is_slow, answered) = (Cell::new(false), Cell::new([0_u64; 2]));
    let serve = async || {
        loop {
            answered.set(more(answered.get(), 20, is_slow.get()));
            stage.page("a", &latencies(answered.get()));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let scale = async {
        stage.engine("a", 1).await?;
        let spec = json!({"metrics": [ttft()]});
        stage.autoscaler("a", by(server.url(), &json!({}), &spec)).await?;
        stage.until_condition("a", "Ready", "True", "Scaling").await?;
        stage.stays("a", 1, Duration::from_secs(3)).await?;
        is_slow.set(true);
        stage.until_replicas("a", 3, FOLLOWS).await?;
        is_slow.set(false);
        stage.until_replicas("a", 1, FOLLOWS).await
    };
    tokio::select! {
        result = scale => result?,
        () = serve() => {}
    }
    let classic = server.query(&format!("{TTFT}_bucket")).await?;
    ensure!(classic.is_empty(), "the server has classic buckets too: {classic:?}");
    Ok(())
}

/// Returns the metric: the 90th percentile of ten seconds.
fn ttft() -> Value {
    json!({
        "signal": "TimeToFirstToken",
        "windowSeconds": 10,
        "target": {"type": "Value", "value": "1"},
    })
}

/// Adds events to the fast ones or to the slow ones.
fn more([fast, slow]: [u64; 2], events: u64, is_slow: bool) -> [u64; 2] {
    if is_slow { [fast, slow + events] } else { [fast + events, slow] }
}

/// Returns a page with this many first tokens of less than 0.25 s, and of 2.5 to 5 s.
fn latencies([fast, slow]: [u64; 2]) -> Page {
    let name = TTFT;
    let bounds = [("0.1", 0), ("0.25", fast), ("1.0", fast), ("2.5", fast), ("5.0", fast + slow)];
    let buckets = bounds.map(|(le, count)| format!("{name}_bucket{{le=\"{le}\"}} {count}\n"));
    let (buckets, count) = (buckets.concat(), fast + slow);
    Page::text(format!(
        "# TYPE {name} histogram\n{buckets}{name}_bucket{{le=\"+Inf\"}} {count}\n\
         {name}_sum {count}\n{name}_count {count}\n"
    ))
}

/// Samples that come by OTLP have labels of their own, and a share of the unit `1` has a suffix.
pub(crate) async fn otlp_names_scale(stage: &Stage) -> Result<()> {
    let server = otlp_receiver().await?;
    let usage = Cell::new(0.1);
    let metric = || {
        let points = json!([{"timeUnixNano": nanoseconds(Utc::now()), "asDouble": usage.get()}]);
        json!({"name": "vllm:kv_cache_usage_perc", "unit": "1", "gauge": {"dataPoints": points}})
    };
    let scale = async {
        let kv = json!({
            "signal": "KVCacheUsage",
            "target": {"type": "AverageValue", "averageValue": "300m"},
        });
        scale_by_otlp(stage, &server, &kv).await?;
        usage.set(0.8);
        stage.until_replicas("a", 3, FOLLOWS).await?;
        usage.set(0.1);
        stage.until_replicas("a", 1, FOLLOWS).await
    };
    tokio::select! {
        result = scale => result?,
        result = push(stage, &server, metric) => result?,
    }
    let stored = server.query("vllm:kv_cache_usage_perc_ratio").await?;
    ensure!(!stored.is_empty(), "the server has not given the suffix");
    Ok(())
}

/// An exponential histogram, which comes by OTLP, is stored as a native one. Its first buckets
/// merge when its scale changes.
pub(crate) async fn percentile_of_exponential_buckets_scales(stage: &Stage) -> Result<()> {
    let server = otlp_receiver().await?;
    let (is_slow, answered) = (Cell::new(false), Cell::new([0_u64; 2]));
    let began = Utc::now();
    let metric = || {
        let now = more(answered.get(), 40, is_slow.get());
        answered.set(now);
        // The buckets begin at 1/8 s. Those of scale 1 are half as wide as those of scale 0.
        let [fast, slow] = now;
        let (scale, offset, counts) = if fast < 200 {
            (1, -6, vec![0, fast, 0, 0, 0, 0, 0, 0, slow])
        } else {
            (0, -3, vec![fast, 0, 0, 0, slow])
        };
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        let points = json!([{
            "startTimeUnixNano": nanoseconds(began),
            "timeUnixNano": nanoseconds(Utc::now()),
            "count": (fast + slow).to_string(),
            "sum": slow,
            "scale": scale,
            "zeroCount": "0",
            "positive": {"offset": offset, "bucketCounts": counts},
        }]);
        json!({
            "name": TTFT,
            "unit": "s",
            "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": points},
        })
    };
    let scale = async {
        scale_by_otlp(stage, &server, &ttft()).await?;
        is_slow.set(true);
        stage.until_replicas("a", 3, FOLLOWS).await?;
        is_slow.set(false);
        stage.until_replicas("a", 1, FOLLOWS).await
    };
    tokio::select! {
        result = scale => result?,
        result = push(stage, &server, metric) => result?,
    }
    Ok(())
}

/// Returns a Prometheus that scrapes nothing, and that gives labels for the pod to what it gets.
async fn otlp_receiver() -> Result<Prometheus> {
    let promoted = ["k8s.pod.name", "k8s.namespace.name"];
    let configuration = json!({"otlp": {"promote_resource_attributes": promoted}});
    Prometheus::start_with(&configuration.to_string(), &["--web.enable-otlp-receiver"]).await
}

/// Creates the StatefulSet and its autoscaler, and waits until it has samples.
async fn scale_by_otlp(stage: &Stage, server: &Prometheus, metric: &Value) -> Result<()> {
    stage.engine("a", 1).await?;
    let labels = json!({"podLabel": "k8s_pod_name", "namespaceLabel": "k8s_namespace_name"});
    stage.autoscaler("a", by(server.url(), &labels, &json!({"metrics": [metric]}))).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.stays("a", 1, Duration::from_secs(3)).await
}

/// Sends a metric of each pod every second, as an OTLP exporter does, until it fails.
async fn push(stage: &Stage, server: &Prometheus, metric: impl Fn() -> Value) -> Result<()> {
    let client = http_client();
    let url = format!("{}/api/v1/otlp/v1/metrics", server.url());
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    loop {
        let metric = metric();
        let pods = (0..3).map(|ordinal| format!("a-{ordinal}")).map(|pod| {
            let attributes = json!([
                attribute("service.name", "vllm"),
                attribute("service.instance.id", &pod),
                attribute("k8s.namespace.name", &stage.namespace),
                attribute("k8s.pod.name", &pod),
            ]);
            json!({
                "resource": {"attributes": attributes},
                "scopeMetrics": [{"metrics": [metric]}],
            })
        });
        let body = json!({"resourceMetrics": pods.collect::<Vec<_>>()}).to_string();
        let request = client.post(&url).header("Content-Type", "application/json").body(body);
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "OTLP: {}", answer.text().await?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Returns a time as OTLP's JSON has it.
fn nanoseconds(at: DateTime<Utc>) -> String {
    (at.timestamp_millis() * 1_000_000).to_string()
}

/// A wrong path is explained, and the size stays when the server has died.
pub(crate) async fn wrong_url_is_explained(stage: &Stage) -> Result<()> {
    let server = Prometheus::start(&scrape(stage)?.to_string()).await?;
    stage.engine("a", 2).await?;
    stage.waiting("a", 5);
    let wrong = format!("{}/prometheus", server.url());
    stage.autoscaler("a", by(&wrong, &json!({}), &json!({}))).await?;
    until_told(stage, "status 404: there is no Prometheus API at this path").await?;
    stage.autoscaler("a", by(server.url(), &json!({}), &json!({}))).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    drop(server);
    stage.waiting("a", 0);
    until_told(stage, "Connection refused").await?;
    stage.stays("a", 2, HELD).await
}
