//! The chain that this operator replaces: Prometheus, prometheus-adapter and HPAs.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::PostParams;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    ControlPlane,
    monitoring::{Adapter, Prometheus, pods_rule, scrape_pods},
    wait,
};
use serde_json::{Value, json};

/// The series by which they scale.
pub(crate) const SERIES: &str = "vllm:num_requests_waiting";
/// Prometheus's scrape interval in usual guides.
pub(crate) const SCRAPED_EVERY: Duration = Duration::from_secs(15);
/// The time that a new HPA may take to find its metric.
const TIMEOUT: Duration = Duration::from_mins(8);

/// Starts a Prometheus for the pods of these namespaces.
pub(crate) async fn start_prometheus(
    control_plane: &ControlPlane,
    namespaces: &[&str],
) -> Result<Prometheus> {
    Prometheus::start(&scrape_pods(control_plane, namespaces, SCRAPED_EVERY)).await
}

/// Starts an adapter for the series.
pub(crate) async fn start_adapter(
    control_plane: &ControlPlane,
    prometheus: &Prometheus,
) -> Result<Adapter> {
    Adapter::start(control_plane, prometheus.url(), &[pods_rule(SERIES)]).await
}

/// Returns a reference to a StatefulSet, without its name.
pub(crate) fn stateful_set() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet"})
}

/// Creates an HPA as in the guides, except that it scales down without a window.
pub(crate) async fn create_hpa(stage: &Stage, name: &str, kind: &Value) -> Result<()> {
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let mut reference = kind.clone();
    reference["name"] = json!(name);
    let hpa = json!({
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": reference,
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
        let Some(hpa) = hpas.get_opt(name).await? else { return Ok(None) };
        let mut conditions = hpa.status.unwrap_or_default().conditions.into_iter().flatten();
        Ok(conditions.any(|c| c.type_ == "ScalingActive" && c.status == "True").then_some(()))
    })
    .await
}
