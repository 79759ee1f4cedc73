//! Specs of an LLMAutoscaler with two roles.

use anyhow::Result;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::Stage;
use serde_json::{Value, json};

/// The name of the autoscaler and the group, and the prefix of all other names.
pub(crate) const NAME: &str = "pd";

/// Applies an LLMAutoscaler with exactly this spec.
pub(crate) async fn apply(stage: &Stage, name: &str, spec: &Value) -> Result<()> {
    let resource = ApiResource::erase::<LLMAutoscaler>(&());
    let object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": name, "namespace": stage.namespace},
        "spec": spec,
    });
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client(), &stage.namespace, &resource);
    api.patch(name, &PatchParams::apply("user").force(), &Patch::Apply(object)).await?;
    Ok(())
}

/// Returns a spec for the roles of a RoleBasedGroup, with the range of the ratio of prefill to
/// decode.
pub(crate) fn of_group(max_replicas: i64, roles: &[Value], ratio: [&str; 2]) -> Value {
    let mut spec = of_roles(max_replicas, roles, ratio);
    spec["scaleTargetRef"] = json!({"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup", "name": NAME});
    spec
}

/// Like [`of_group`], for roles with scale targets of their own.
pub(crate) fn of_roles(max_replicas: i64, roles: &[Value], [min, max]: [&str; 2]) -> Value {
    json!({
        "engine": "VLLM",
        "maxReplicas": max_replicas,
        "roles": roles,
        "ratio": {"between": ["prefill", "decode"], "min": min, "max": max},
        "sources": [{"scrape": {"intervalSeconds": 1}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
    })
}

/// Returns a role of 1 to `max_replicas` replicas with `requests` requests in flight each.
pub(crate) fn role(name: &str, max_replicas: i64, requests: u32) -> Value {
    let target = json!({"type": "AverageValue", "averageValue": requests.to_string()});
    json!({
        "name": name,
        "minReplicas": 1,
        "maxReplicas": max_replicas,
        "metrics": [{"signal": "InFlightRequests", "target": target}],
    })
}

/// Sets a field of an object.
pub(crate) fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}
