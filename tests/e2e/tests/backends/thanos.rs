//! Thanos Query in front of sidecars of Prometheus servers.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    backends::{Sidecar, thanos_query},
    monitoring::Prometheus,
    wait,
};
use serde_json::{Value, json};

use crate::setting::{
    FOLLOWS, HELD, by, grow_and_shrink, queue_query, scrape, until_complete, until_told,
};

/// Starts a Prometheus with this external label, which has the pods of one shard of this many.
async fn prometheus(
    stage: &Stage,
    label: (&str, &str),
    (shard, shards): (u64, u64),
) -> Result<Prometheus> {
    let mut configuration = scrape(stage)?;
    configuration["global"]["external_labels"] = json!({label.0: label.1});
    // Pods of a StatefulSet are sharded by the last digit of their names.
    let digits = (0..10).filter(|digit| digit % shards == shard).map(|digit| digit.to_string());
    let regex = format!(".*[{}]", digits.collect::<String>());
    let keep = json!({"action": "keep", "source_labels": ["pod"], "regex": regex});
    if let Some(Value::Array(rules)) =
        configuration.pointer_mut("/scrape_configs/0/relabel_configs")
    {
        rules.push(keep);
    }
    Prometheus::start(&configuration.to_string()).await
}

/// Two Prometheus servers scrape the same pods. Their samples count once, and one of the two is
/// enough.
pub(crate) async fn two_replicas_count_once(stage: &Stage) -> Result<()> {
    let one = prometheus(stage, ("prometheus_replica", "a"), (0, 1)).await?;
    let other = prometheus(stage, ("prometheus_replica", "b"), (0, 1)).await?;
    let (beside_one, beside_other) = (Sidecar::start(&one).await?, Sidecar::start(&other).await?);
    let query = thanos_query(&[
        "--query.replica-label=prometheus_replica".to_owned(),
        format!("--endpoint={}", beside_one.address),
        format!("--endpoint={}", beside_other.address),
    ])
    .await?;
    stage.engine("a", 1).await?;
    stage.autoscaler("a", by(query.url(), &json!({}), &json!({}))).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.waiting("a", 5);
    stage.stays("a", 1, Duration::from_secs(6)).await?; // twice 5 is two replicas
    stage.waiting("a", 0);
    grow_and_shrink(stage).await?;

    drop((beside_other, other));
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, FOLLOWS).await
}

/// Two Prometheus servers scrape different pods. While one of them is missing, a total lacks its
/// pods, and so does a signal: both hold the size. The endpoints are strict, because Thanos warns
/// only some seconds otherwise.
pub(crate) async fn partial_total_holds_the_size(stage: &Stage) -> Result<()> {
    let even = prometheus(stage, ("shard", "even"), (0, 2)).await?;
    let odd = prometheus(stage, ("shard", "odd"), (1, 2)).await?;
    let (beside_even, beside_odd) = (Sidecar::start(&even).await?, Sidecar::start(&odd).await?);
    let query = thanos_query(&[
        format!("--endpoint-strict={}", beside_even.address),
        format!("--endpoint-strict={}", beside_odd.address),
    ])
    .await?;
    for name in ["a", "b"] {
        stage.engine(name, 3).await?;
        stage.waiting(name, 5);
    }
    // A total has no mark of the pods that have not been scraped yet.
    wait::until("all pods to be scraped", FOLLOWS, async || {
        let series = "vllm:num_requests_waiting";
        let found = even.query(series).await?.len() + odd.query(series).await?.len();
        Ok((found == 6).then_some(()))
    })
    .await?;
    let total = json!({"metrics": [queue_query_of(stage, "a")]});
    stage.autoscaler("a", by(query.url(), &json!({}), &total)).await?;
    stage.autoscaler("b", by(query.url(), &json!({}), &json!({}))).await?;
    for name in ["a", "b"] {
        stage.until_condition(name, "Ready", "True", "Scaling").await?;
    }
    until_complete(stage, 3).await?;

    // Without the pods of the odd shard the total is 10, which is two replicas.
    drop((beside_odd, odd));
    stage.until_condition("a", "Advisory", "True", "PartialAnswer").await?;
    stage.until_condition("a", "ScalingLimited", "True", "IncompleteTotal").await?;
    stage.waiting("b", 0);
    stage.until_condition("b", "SamplesComplete", "False", "MissingSamples").await?;
    stage.stays("a", 3, 2 * HELD).await?;
    stage.stays("b", 3, HELD).await?;
    until_told(stage, "warns: ").await.map(|_| ())
}

/// Like [`queue_query`], for the pods of one StatefulSet.
fn queue_query_of(stage: &Stage, name: &str) -> Value {
    let mut metric = queue_query(stage);
    let labels = format!("namespace={:?},pod=~\"{name}-.*\"", stage.namespace);
    metric["query"] = json!(format!("sum(vllm:num_requests_waiting{{{labels}}})"));
    metric
}
