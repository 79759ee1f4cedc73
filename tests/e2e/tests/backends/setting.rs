//! The steps that the scenarios of all servers share.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{monitoring::scrape_pods, wait};
use serde_json::{Value, json};

/// The time that a size may take to follow: scraping, storing, querying and deciding.
pub(crate) const FOLLOWS: Duration = Duration::from_mins(1);
/// The time in which a size would have changed if nothing held it: the samples of the others have
/// been stored and queried by then, and those of before are still recent enough.
pub(crate) const HELD: Duration = Duration::from_secs(15);

/// Returns a Prometheus configuration that scrapes the pods of the stage every second.
pub(crate) fn scrape(stage: &Stage) -> Result<Value> {
    let text = scrape_pods(stage.control_plane(), &[&stage.namespace], Duration::from_secs(1));
    Ok(serde_json::from_str(&text)?)
}

/// Returns a spec with this server as the only source, queried every second. `source` and `spec`
/// are merged over that.
pub(crate) fn by(url: &str, source: &Value, spec: &Value) -> Value {
    let mut prometheus = json!({"url": url, "intervalSeconds": 1, "staleAfterSeconds": 15});
    merge(&mut prometheus, source);
    let mut all = json!({
        "sources": [{"prometheus": prometheus}],
        "podMonitor": {"mode": "Disabled"},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    merge(&mut all, spec);
    all
}

fn merge(all: &mut Value, fields: &Value) {
    for (field, value) in fields.as_object().into_iter().flatten() {
        all[field] = value.clone();
    }
}

/// Returns a metric whose query sums the waiting requests of the stage: 5 for each replica.
pub(crate) fn queue_query(stage: &Stage) -> Value {
    json!({
        "name": "queue",
        "query": format!("sum(vllm:num_requests_waiting{{namespace={:?}}})", stage.namespace),
        "target": {"type": "AverageValue", "averageValue": "5"},
    })
}

/// Scales the StatefulSet `a` from 1 to 3 by its waiting requests, and back.
pub(crate) async fn grow_and_shrink(stage: &Stage) -> Result<()> {
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.stays("a", 1, Duration::from_secs(3)).await?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, FOLLOWS).await?;
    stage.until_ready("a", 3).await?;
    until_complete(stage, 3).await?;
    stage.waiting("a", 0);
    stage.until_replicas("a", 1, FOLLOWS).await?;
    only_by_prometheus(stage).await
}

/// Waits until every one of these replicas has a sample.
pub(crate) async fn until_complete(stage: &Stage, replicas: i32) -> Result<()> {
    stage.until_ready("a", replicas).await?;
    wait::until("all replicas to have samples", FOLLOWS, async || {
        let conditions = stage.status("a").await?.conditions;
        let is_complete = |type_: &str, status: &str| {
            conditions.iter().any(|found| found.type_ == type_ && found.status == status)
        };
        let complete = is_complete("SamplesComplete", "True") && is_complete("Ready", "True");
        Ok(complete.then_some(()))
    })
    .await
}

/// All numbers are from the server.
async fn only_by_prometheus(stage: &Stage) -> Result<()> {
    let targets = stage.status("a").await?.targets;
    let mut sources =
        targets.iter().flat_map(|target| &target.metrics).map(|metric| metric.source.as_deref());
    ensure!(sources.all(|source| source == Some("prometheus")), "{targets:?}");
    Ok(())
}

/// Waits until a condition's message contains this text, and returns the message.
pub(crate) async fn until_told(stage: &Stage, text: &str) -> Result<String> {
    wait::until(&format!("a condition to contain {text:?}"), FOLLOWS, async || {
        let conditions = stage.status("a").await?.conditions;
        Ok(conditions.into_iter().map(|found| found.message).find(|found| found.contains(text)))
    })
    .await
}
