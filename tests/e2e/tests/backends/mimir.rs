//! Mimir, which a Prometheus writes to.

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{backends::mimir, monitoring::Prometheus};
use serde_json::json;

use crate::setting::{by, grow_and_shrink, queue_query, scrape, until_told};

/// The tenant of the samples.
const TENANT: &str = "models";

/// A tenant's samples scale, by a signal and by a query. Without the tenant, or without the prefix,
/// the condition says what is missing.
pub(crate) async fn tenant_scales(stage: &Stage) -> Result<()> {
    let server = mimir().await?;
    let mut configuration = scrape(stage)?;
    configuration["remote_write"] = json!([{
        "url": format!("{}/api/v1/push", server.url()),
        "headers": {"X-Scope-OrgID": TENANT},
        "queue_config": {"batch_send_deadline": "1s"},
    }]);
    let _writer = Prometheus::start(&configuration.to_string()).await?;
    stage.engine("a", 1).await?;
    let url = format!("{}/prometheus", server.url());

    stage.autoscaler("a", by(&url, &json!({}), &json!({}))).await?;
    until_told(stage, "status 401: the server has tenants").await?;
    let tenant = json!({"headers": {"X-Scope-OrgID": TENANT}});
    stage.autoscaler("a", by(server.url(), &tenant, &json!({}))).await?;
    until_told(stage, "such as /prometheus for Mimir and Cortex").await?;

    stage.autoscaler("a", by(&url, &tenant, &json!({}))).await?;
    grow_and_shrink(stage).await?;
    let query = json!({"metrics": [queue_query(stage)]});
    stage.autoscaler("a", by(&url, &tenant, &query)).await?;
    grow_and_shrink(stage).await
}
