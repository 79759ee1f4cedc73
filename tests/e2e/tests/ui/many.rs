//! Many autoscalers with statuses, of which no operator knows.

use anyhow::Result;
use chrono::{TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::Stage;
use serde_json::{Value, json};

/// The requests to the API server that are in flight at a time.
const AT_A_TIME: usize = 16;

/// Creates this many autoscalers with statuses in a namespace without an operator, and returns its
/// name.
pub(crate) async fn create(stage: &Stage, many: usize) -> Result<String> {
    let name = format!("{}-many", stage.namespace);
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let namespaces: Api<Namespace> = Api::all(stage.client());
    let namespace = Namespace { metadata, ..Namespace::default() };
    namespaces.create(&PostParams::default(), &namespace).await?;
    let api: Api<LLMAutoscaler> = Api::namespaced(stage.client(), &name);
    stream::iter(0..many)
        .map(|index| create_one(&api, index))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(name)
}

async fn create_one(api: &Api<LLMAutoscaler>, index: usize) -> Result<()> {
    let name = format!("model-{index}");
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "engine": "VLLM", "minReplicas": 1, "maxReplicas": 16,
            "metrics": [{
                "signal": "WaitingRequests",
                "target": {"type": "AverageValue", "averageValue": "5"},
            }],
        },
    });
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let status = json!({"status": status(&name, index)});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// Returns a status as the operator writes it. Of 25 autoscalers one is in trouble, two are moving,
/// and the others are steady.
fn status(name: &str, index: usize) -> Value {
    let size = 2 + index % 11;
    let is_ready = !index.is_multiple_of(25);
    let desired = if index % 25 < 3 { size + 2 } else { size };
    let now = Utc::now();
    let ago = |seconds: usize| (now - TimeDelta::seconds(seconds as i64)).to_rfc3339();
    let decision = |back: usize| {
        json!({
            "time": ago(60 + 97 * back + index), "from": size + (back + 1) % 3,
            "to": size + back % 3, "limitedBy": "DesiredWithinRange",
            "reason": "pods metric vllm:num_requests_waiting above target",
        })
    };
    let decisions: Vec<Value> = (0..10).map(decision).collect();
    let ready = json!({
        "type": "Ready", "status": if is_ready { "True" } else { "False" },
        "reason": if is_ready { "Scaling" } else { "FailedGetPodsMetric" },
        "message": "no sample of any pod: the connection was refused",
        "lastTransitionTime": ago(600),
    });
    json!({
        "observedGeneration": 1, "reference": format!("StatefulSet/{name}"),
        "summary": "waiting 4/5", "currentReplicas": size, "desiredReplicas": desired,
        "conditions": [ready],
        "targets": [{
            "name": name, "uid": format!("uid-{index}"), "currentReplicas": size,
            "readyReplicas": size, "desiredReplicas": desired,
            "metrics": [{
                "name": "WaitingRequests", "series": "vllm:num_requests_waiting",
                "current": "4", "target": "5", "proposal": desired, "source": "scrape",
                "sampledAt": ago(1),
            }],
            "decision": {
                "raw": desired, "stabilized": desired, "limited": desired, "applied": desired,
                "limitedBy": "DesiredWithinRange",
                "reason": "pods metric vllm:num_requests_waiting above target",
            },
            "decisions": decisions,
            "history": {
                "version": 1, "replicas": size, "scaleUps": [], "scaleDowns": [],
                "recommendations": [{"replicas": size, "at": ago(30)}],
            },
        }],
    })
}
