//! `VictoriaMetrics`, single-node, which scrapes the pods itself.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Page, backends::victoria_metrics};
use serde_json::json;

use crate::setting::{
    FOLLOWS, HELD, by, grow_and_shrink, queue_query, scrape, until_complete, until_told,
};

/// A signal, which is computed from raw samples, scales. When the server has died, the size stays
/// although the last samples ask for fewer.
pub(crate) async fn raw_samples_scale(stage: &Stage) -> Result<()> {
    let server = victoria_metrics(&scrape(stage)?.to_string(), &[]).await?;
    stage.engine("a", 1).await?;
    stage.autoscaler("a", by(server.url(), &json!({}), &json!({}))).await?;
    grow_and_shrink(stage).await?;

    stage.waiting("a", 6);
    stage.until_replicas("a", 2, FOLLOWS).await?;
    until_complete(stage, 2).await?;
    let url = server.url().to_owned();
    drop(server);
    stage.waiting("a", 0);
    let told = until_told(stage, "Connection refused").await?;
    anyhow::ensure!(told.contains(&url), "{told}");
    stage.stays("a", 2, HELD).await
}

/// A wrong path, which this server refuses with status 400, is explained. An expression is computed
/// as of now: the server's own delay is five minutes here, so that no new value would come in time
/// without the operator's parameter.
pub(crate) async fn query_is_of_now(stage: &Stage) -> Result<()> {
    let args = ["-search.latencyOffset=5m"];
    let server = victoria_metrics(&scrape(stage)?.to_string(), &args).await?;
    stage.engine("a", 1).await?;
    let metrics = json!({"metrics": [queue_query(stage)]});
    let wrong = format!("{}/select/0/prometheus", server.url());
    stage.autoscaler("a", by(&wrong, &json!({}), &metrics)).await?;
    until_told(stage, "status 400: there is no Prometheus API at this path").await?;
    stage.autoscaler("a", by(server.url(), &json!({}), &metrics)).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.waiting("a", 0);
    stage.script.set(&format!("{}/a-0", stage.namespace), Page::waiting(12));
    stage.until_replicas("a", 3, FOLLOWS).await?;
    stage.until_ready("a", 3).await?;
    stage.stays("a", 3, Duration::from_secs(5)).await?;
    stage.script.set(&format!("{}/a-0", stage.namespace), Page::idle());
    stage.until_replicas("a", 1, FOLLOWS).await
}

/// The server marks the end of a pod's series with NaN when a scrape has failed. The pod counts as
/// one without a sample, and the size stays.
pub(crate) async fn failed_scrape_is_told(stage: &Stage) -> Result<()> {
    let server = victoria_metrics(&scrape(stage)?.to_string(), &[]).await?;
    stage.engine("a", 2).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", by(server.url(), &json!({}), &json!({}))).await?;
    until_complete(stage, 2).await?;
    stage.script.set(&format!("{}/a-1", stage.namespace), Page::Refuse);
    until_told(stage, "the server marks the end of series so").await?;
    stage.script.set(&format!("{}/a-0", stage.namespace), Page::idle());
    stage.stays("a", 2, HELD).await
}
