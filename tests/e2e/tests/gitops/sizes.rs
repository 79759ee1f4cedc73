//! The owners of `spec.replicas`: a tool that applies a StatefulSet from Git, and its autoscaler.

pub(crate) mod client_side;
pub(crate) mod helm;
pub(crate) mod server_side;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use llm_autoscaler_api::managers;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::workloads::stateful_set;
use serde_json::{Value, json};

/// Returns the manifest of a StatefulSet as Git has it, with this many replicas or without the
/// field.
fn manifest(stage: &Stage, name: &str, replicas: Option<u32>) -> Result<String> {
    let mut set = serde_json::to_value(stateful_set(name, replicas.unwrap_or(1), stage.port())?)?;
    set["metadata"]["namespace"] = json!(stage.namespace);
    if let (None, Some(spec)) = (replicas, set["spec"].as_object_mut()) {
        spec.remove("replicas");
    }
    // The API server has no need of it, and server-side apply would refuse a null.
    if let Some(object) = set.as_object_mut() {
        object.remove("status");
    }
    Ok(set.to_string())
}

/// Runs `kubectl apply` with these arguments.
async fn apply(stage: &Stage, args: &[&str], manifest: &str) -> Result<String> {
    let args = ["apply"].iter().chain(args).chain(&["-f", "-"]).copied();
    stage.control_plane().kubectl_with_input(args, manifest).await
}

/// Returns the owners of `spec.replicas`, as MANAGER OPERATION SUBRESOURCE.
async fn owners(stage: &Stage, name: &str) -> Result<Vec<String>> {
    let set = stage.api::<StatefulSet>().get(name).await?;
    let entries = set.metadata.managed_fields.unwrap_or_default().into_iter();
    let owns = |fields: &Value| fields["f:spec"].get("f:replicas").is_some();
    let owning = entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|f| owns(&f.0)));
    let text = |entry: k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        let parts = [entry.manager, entry.operation, entry.subresource];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    let mut owners: Vec<String> = owning.map(text).collect();
    owners.sort();
    Ok(owners)
}

/// Fails unless these own `spec.replicas`.
async fn expect_owners(stage: &Stage, name: &str, expected: &[&str]) -> Result<()> {
    let found = owners(stage, name).await?;
    ensure!(found == expected, "{name} is owned by {found:?}, not by {expected:?}");
    Ok(())
}

/// Returns the owner that an adopted size has beside its others.
fn adopter() -> String {
    format!("{} Apply scale", managers::SCALE)
}

/// Returns the owner of a size that the operator has written.
fn writer() -> String {
    format!("{} Update scale", managers::SCALE)
}

/// Has an autoscaler adopt the two replicas of a target, which are its minimum.
async fn adopt(stage: &Stage, name: &str) -> Result<()> {
    stage.until_ready(name, 2).await?;
    stage.waiting(name, 5);
    stage.autoscaler(name, json!({"minReplicas": 2})).await?;
    let note = format!("spec.replicas of StatefulSet/{name} belongs to llm-autoscaler-scale too");
    stage.until_event(name, "SizeAdopted", &note).await?;
    ensure!(stage.replicas(name).await? == 2, "the size has changed");
    Ok(())
}
