//! Bad input is reported, and affects nothing else.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_testbed::engine::Page;
use serde_json::{Value, json};

use crate::{Stage, stage::SOON};

/// When two of three pods stop answering, and then all, the size stays and a condition names the
/// pods. The neighbour is still scaled.
pub(super) async fn pods_that_do_not_answer_hold_the_size(stage: &Stage) -> Result<()> {
    stage.engine("a", 3).await?;
    stage.waiting("a", 5);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    stage.autoscaler("a", json!({"behavior": behavior})).await?;
    stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;

    // The pod that answers reports no load.
    let pod = |ordinal: u32| format!("{}/a-{ordinal}", stage.namespace);
    stage.script.set(&pod(1), Page::Hang);
    stage.script.set(&pod(2), Page::Refuse);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.script.set(&pod(0), Page::idle());
    let missing = stage.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;
    ensure!(
        missing.message.contains("a-1: ") || missing.message.contains("a-2: "),
        "{}",
        missing.message
    );
    stage.stays("a", 3, Duration::from_secs(8)).await?;
    let missing = stage.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;
    ensure!(
        missing.message.contains("a-1: ") && missing.message.contains("timed out after 1 s"),
        "{}",
        missing.message
    );
    ensure!(
        missing.message.contains("a-2: ") && missing.message.contains("refused"),
        "{}",
        missing.message
    );

    stage.page("a", &Page::Reset);
    let active =
        stage.until_condition("a", "ScalingActive", "False", "FailedGetPodsMetric").await?;
    ensure!(
        active.message.contains("vllm:num_requests_waiting") && active.message.contains("a-0: "),
        "{}",
        active.message
    );
    stage.until_condition("a", "Ready", "False", "FailedGetPodsMetric").await?;
    stage.stays("a", 3, Duration::from_secs(3)).await?;

    // The neighbour is not affected.
    stage.engine("b", 1).await?;
    stage.waiting("b", 11);
    stage.autoscaler("b", json!({})).await?;
    stage.until_replicas("b", 3, SOON).await?;

    // Scaling resumes when they answer again.
    stage.waiting("a", 0);
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;
    Ok(())
}

/// Web pages, other exporters' pages, malformed lines and status codes are each reported; none
/// counts as zero.
pub(super) async fn pages_that_are_not_metrics(stage: &Stage) -> Result<()> {
    let status = |status: u16| Page::Raw {
        status,
        content_type: "text/plain".to_owned(),
        body: String::new(),
    };
    let (a, b) = (
        [
            (Page::text("<html><body>hello</body></html>\n"), "it looks like HTML or XML"),
            (Page::text("up 1\nprocess_open_fds 7\n"), "has no vllm:num_requests_waiting"),
            (Page::text("vllm:num_requests_waiting{engine=\"0\"} many\n"), "not a number"),
        ],
        [
            (Page::text(""), "is empty: the server answers"),
            (status(404), "returned HTTP status 404"),
            (status(500), "HTTP status 500"),
        ],
    );
    for (name, pages) in [("a", &a), ("b", &b)] {
        for (ordinal, (page, _)) in pages.iter().enumerate() {
            stage.script.set(&format!("{}/{name}-{ordinal}", stage.namespace), page.clone());
        }
        stage.engine(name, 3).await?;
        stage
            .autoscaler(name, json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}))
            .await?;
        let active =
            stage.until_condition(name, "ScalingActive", "False", "FailedGetPodsMetric").await?;
        for (ordinal, (_, expected)) in pages.iter().enumerate() {
            let of_pod =
                active.message.split(&format!("{name}-{ordinal}: ")).nth(1).unwrap_or_default();
            ensure!(
                of_pod.contains(expected),
                "{name}-{ordinal}, {expected:?}: {}",
                active.message
            );
        }
    }
    stage.stays("a", 3, Duration::from_secs(3)).await?;
    ensure!(stage.replicas("b").await? == 3, "scaled on no metrics");
    Ok(())
}

/// A port that no container has is reported, together with the ports that exist.
pub(super) async fn port_that_no_pod_has(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({"sources": [{"scrape": {"port": "metrics"}}]})).await?;
    let missing = stage.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;
    let expected =
        format!("a-0: no container port is named metrics; named ports: http ({})", stage.port());
    ensure!(missing.message.contains(&expected), "{}", missing.message);
    stage.autoscaler("a", json!({"sources": [{"scrape": {"port": stage.port()}}]})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    Ok(())
}

/// A mistake that the API server cannot detect becomes a condition that names the field, until it
/// is corrected.
pub(super) async fn spec_that_only_the_operator_can_refuse(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let twice = json!([
        {"name": "WaitingRequests", "series": {"name": "a"}, "target": target},
        {"signal": "WaitingRequests", "target": target},
    ]);
    stage.autoscaler("a", json!({"metrics": twice})).await?;
    let stalled = stage.until_condition("a", "Stalled", "True", "InvalidSpec").await?;
    ensure!(
        stalled.message.contains("spec.metrics[1].name: two metrics are called"),
        "{}",
        stalled.message
    );
    stage.until_condition("a", "Ready", "False", "InvalidSpec").await?;

    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let conditions = stage.status("a").await?.conditions;
    ensure!(
        !conditions.iter().any(|c| c.type_ == "Stalled" || c.reason == "InvalidSpec"),
        "{conditions:?}"
    );
    Ok(())
}

/// The API server refuses specs that make no sense, with a message that names the field in the
/// user's terms.
pub(super) async fn specs_that_make_no_sense_are_refused(stage: &Stage) -> Result<()> {
    for (spec, expected) in [wrong_metrics(), wrong_sources(), wrong_behavior()].concat() {
        match stage.autoscaler("a", spec.clone()).await {
            Ok(()) => anyhow::bail!("accepted: {spec}"),
            Err(error) => ensure!(refusal(&error).contains(expected), "{spec}: {error:#}"),
        }
    }
    Ok(())
}

/// Returns the text of a refusal as today's API servers write it. Kubernetes 1.34 puts the type of
/// the value before the message of a CEL rule.
fn refusal(error: &anyhow::Error) -> String {
    let types = ["array", "object", "string", "integer"];
    types.iter().fold(format!("{error:#}"), |text, name| {
        text.replace(&format!("Invalid value: \"{name}\": "), "Invalid value: ")
    })
}

/// Returns specs with wrong bounds, engines and metrics, each with a part of its error.
fn wrong_metrics() -> Vec<(Value, &'static str)> {
    let both = json!([{
        "signal": "WaitingRequests",
        "series": {"name": "a"},
        "target": target("5"),
    }]);
    vec![
        (
            json!({"minReplicas": 4}),
            "spec.minReplicas: Invalid value: minReplicas must not be greater than maxReplicas",
        ),
        (json!({"minReplicas": -1}), "spec.minReplicas"),
        (json!({"minReplicas": 0}), "minReplicas 0 needs scaleToZero"),
        (json!({"scaleToZero": {}}), "scaleToZero needs minReplicas 0"),
        (json!({"engine": "Unheard"}), "spec.engine: Unsupported value: \"Unheard\""),
        (json!({"mode": "Watch"}), "spec.mode: Unsupported value: \"Watch\""),
        (json!({"engine": "Custom"}), "engine Custom has no signals"),
        (json!({"metrics": []}), "spec.metrics"),
        (
            json!({"metrics": both}),
            "spec.metrics[0]: Invalid value: give exactly one of signal, series and query",
        ),
        (json!({"metrics": waiting("0")}), "averageValue must be greater than 0"),
        (
            json!({"metrics": [{
                "series": {"name": "wait", "type": "Histogram", "absent": "Zero"},
                "percentile": 90, "windowSeconds": 60, "target": target("5"),
            }]}),
            "absent is for gauges and counters",
        ),
        (
            json!({"metrics": [{"signal": "TimeToFirstToken", "target": target("2")}]}),
            "spec.metrics[0].target.type: Invalid value: signals of requests and tokens take a target of type AverageValue",
        ),
        (
            json!({
                "metrics": [{
                    "signal": "WaitingRequests",
                    "target": {"type": "Value", "averageValue": "5"},
                }],
            }),
            "give averageValue with type AverageValue, value with type Value",
        ),
        (
            json!({"metrics": [{"name": "q", "query": "up", "target": target("5")}]}),
            "spec.sources: Invalid value: a metric with a query needs a prometheus among the sources",
        ),
        (
            json!({
                "metrics": [{
                    "name": "q",
                    "query": "up",
                    "windowSeconds": 5,
                    "target": target("5"),
                }],
            }),
            "a query says itself what it is made of",
        ),
        (
            json!({"fallback": {"replicas": 4}}),
            "fallback.replicas must not be greater than maxReplicas",
        ),
        (json!({"metrics": waiting("five")}), "spec.metrics[0].target.averageValue"),
        (json!({"metrics": waiting(0.8)}), "spec.metrics[0].target.averageValue"),
    ]
}

/// Returns specs with wrong sources, each with a part of its error.
fn wrong_sources() -> Vec<(Value, &'static str)> {
    vec![
        (
            json!({"sources": [{}]}),
            "spec.sources[0]: Invalid value: set exactly one of scrape and prometheus",
        ),
        (
            json!({"sources": [{"scrape": {}, "prometheus": {"url": "http://p"}}]}),
            "set exactly one of scrape and prometheus",
        ),
        (json!({"sources": [{"prometheus": {"url": "p:9090"}}]}), "spec.sources[0].prometheus.url"),
        (
            json!({"sources": [{"prometheus": {"url": "http://user:word@p"}}]}),
            "spec.sources[0].prometheus.url",
        ),
        (
            json!({"sources": [{"prometheus": {"url": "http://p", "tlsConfig": {}}}]}),
            "tlsConfig needs a URL that begins with https://",
        ),
        (
            json!({"sources": [{"prometheus": {
                "url": "http://p",
                "authorization": {"credentials": {"name": "s", "key": "t"}},
                "headersFrom": [{
                    "name": "authorization",
                    "secretKeyRef": {"name": "s", "key": "t"},
                }],
            }}]}),
            "set the header Authorization only once",
        ),
        (scrape(json!({"tlsConfig": {}})), "tlsConfig needs scheme HTTPS"),
        (scrape(json!({"gateway": "SMG"})), "gateway needs podSelector"),
        (
            json!({"metrics": [{
                "series": {"name": "q", "selector": {"matchExpressions": [
                    {"key": "worker", "operator": "In"},
                ]}},
                "target": {"type": "AverageValue", "averageValue": "5"},
            }]}),
            "In and NotIn need values",
        ),
        (
            scrape(json!({
                "scheme": "HTTPS",
                "tlsConfig": {"insecureSkipVerify": true, "serverName": "a"},
            })),
            "insecureSkipVerify checks nothing",
        ),
        (
            scrape(json!({"scheme": "HTTPS", "tlsConfig": {"ca": {}}})),
            "set exactly one of secret and configMap",
        ),
        (
            scrape(json!({
                "scheme": "HTTPS",
                "tlsConfig": {"cert": {"secret": {"name": "s", "key": "tls.crt"}}},
            })),
            "set cert and keySecret together",
        ),
        (
            json!({"sources": [{"prometheus": {
                "url": "https://p",
                "tlsConfig": {"keySecret": {"name": "s", "key": "tls.key"}},
            }}]}),
            "set cert and keySecret together",
        ),
        (
            scrape(json!({"intervalSeconds": 1, "timeoutSeconds": 2})),
            "timeoutSeconds must not be greater than intervalSeconds",
        ),
        (scrape(json!({"port": 70_000})), "spec.sources[0].scrape.port"),
        (scrape(json!({"path": "metrics"})), "spec.sources[0].scrape.path"),
    ]
}

/// Returns specs with a wrong behavior or an unknown field, each with a part of its error.
fn wrong_behavior() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"behavior": {"scaleUp": {"policies": []}}}), "spec.behavior.scaleUp.policies"),
        (
            json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}}),
            "stabilizationWindowSeconds",
        ),
        (json!({"behavior": {"scaleUp": {"tolerance": "-0.1"}}}), "tolerance must not be negative"),
        (json!({"replicas": 3}), "spec.replicas: field not declared in schema"),
    ]
}

fn target(value: impl Into<Value>) -> Value {
    let value = value.into();
    json!({"type": "AverageValue", "averageValue": value})
}

fn waiting(value: impl Into<Value>) -> Value {
    json!([{"signal": "WaitingRequests", "target": target(value)}])
}

fn scrape(scrape: impl Into<Value>) -> Value {
    let scrape = scrape.into();
    json!({"sources": [{"scrape": scrape}]})
}
