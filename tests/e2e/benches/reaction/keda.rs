//! ScaledObjects of the real KEDA, with a trigger of the type `prometheus`.

use anyhow::Result;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use llm_autoscaler_e2e::Stage;
use serde_json::{Value, json};

use crate::chain::{self, SERIES};

/// The polling interval that KEDA has by default, in seconds.
pub(crate) const POLLED_BY_DEFAULT: u32 = 30;

/// Creates a ScaledObject for a target of its name. Its query is the sum over the target's pods, as
/// KEDA's documents have it; its HPA scales down without a window.
pub(crate) async fn create(
    stage: &Stage,
    prometheus: &str,
    name: &str,
    kind: &Value,
    polled: u32,
) -> Result<()> {
    let mut reference = kind.clone();
    reference["name"] = json!(name);
    let query = format!(r#"sum({SERIES}{{namespace="{}",pod=~"{name}-.*"}})"#, stage.namespace);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": reference,
            "minReplicaCount": 1, "maxReplicaCount": 3, "pollingInterval": polled,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": prometheus, "query": query, "threshold": "5",
            }}],
        },
    });
    api(stage).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

/// Waits until the HPA that KEDA creates for a ScaledObject has read its metric.
pub(crate) async fn until_active(stage: &Stage, name: &str) -> Result<()> {
    chain::until_active(stage, &format!("keda-hpa-{name}")).await
}

/// Returns the API of ScaledObjects.
pub(crate) fn api(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = ApiResource::from_gvk_with_plural(&kind, "scaledobjects");
    Api::namespaced_with(stage.client(), &stage.namespace, &resource)
}
