//! The chain that this operator replaces: Prometheus, prometheus-adapter and HPAs.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::PostParams;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    monitoring::{Adapter, Prometheus, pods_rule, scrape_pods},
    wait,
};
use serde_json::json;

const SERIES: &str = "vllm:num_requests_waiting";
/// Prometheus's scrape interval in usual guides.
const SCRAPED_EVERY: Duration = Duration::from_secs(15);
/// The time that a new HPA may take to find its metric.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Prometheus and the adapter for the pods of one namespace.
pub(crate) struct Chain {
    _prometheus: Prometheus,
    _adapter: Adapter,
}

impl Chain {
    /// Starts Prometheus and the adapter.
    pub(crate) async fn start(stage: &Stage) -> Result<Self> {
        let configuration = scrape_pods(stage.control_plane(), &[&stage.namespace], SCRAPED_EVERY);
        let prometheus = Prometheus::start(&configuration).await?;
        let rules = [pods_rule(SERIES)];
        let adapter = Adapter::start(stage.control_plane(), prometheus.url(), &rules).await?;
        Ok(Self { _prometheus: prometheus, _adapter: adapter })
    }
}

/// Creates an HPA as in the guides, except that it scales down without a window.
pub(crate) async fn create_hpa(stage: &Stage, name: &str) -> Result<()> {
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let hpa = json!({
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": SERIES}, "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    });
    stage
        .api::<HorizontalPodAutoscaler>()
        .create(&PostParams::default(), &serde_json::from_value(hpa)?)
        .await?;
    Ok(())
}

/// Waits until an HPA has read its metric.
pub(crate) async fn until_active(stage: &Stage, name: &str) -> Result<()> {
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    wait::until(&format!("the HPA {name} to be active"), TIMEOUT, async || {
        let status = hpas.get(name).await?.status.unwrap_or_default();
        let mut conditions = status.conditions.into_iter().flatten();
        Ok(conditions.any(|c| c.type_ == "ScalingActive" && c.status == "True").then_some(()))
    })
    .await
}
