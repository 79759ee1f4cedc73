//! The objects by which Argo CD's script is tested: they are recorded from the operator, and a
//! scenario fails once they differ from what the operator writes. `UPDATE=1` records them anew.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::gitops;
use serde_json::{Map, Value, json};

use crate::health::object_of;

/// The conditions that the script reads.
const READ: [&str; 3] = ["Ready", "Stalled", "Paused"];
/// The time that recorded conditions have.
const TIME: &str = "2026-01-01T00:00:00Z";

/// Compares the autoscaler `a` with its record of this name, or records it.
///
/// # Errors
/// They differ in something that the script reads.
pub(crate) async fn compare(stage: &Stage, name: &str) -> Result<()> {
    let found = record(&object_of(stage).await?);
    let path = gitops::customization().join("testdata").join(format!("{name}.yaml"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, serde_saphyr::to_string(&found)?)?;
        return Ok(());
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("reading {}; UPDATE=1 writes it", path.display()))?;
    let recorded: Value = serde_saphyr::from_str(&text)?;
    let (found, recorded) = (read_by_the_script(&found), read_by_the_script(&recorded));
    ensure!(
        found == recorded,
        "{} is out of date, which UPDATE=1 mends: {recorded}, now {found}",
        path.display()
    );
    Ok(())
}

/// Returns an object without what differs from run to run.
fn record(object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["annotations", "generation", "name"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    metadata.insert("namespace".to_owned(), json!("default"));
    let mut status = Map::new();
    for field in ["conditions", "observedGeneration", "reference"] {
        if let Some(value) = object["status"].get(field) {
            status.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|condition| READ.iter().any(|read| condition["type"] == *read));
        for condition in conditions {
            condition["lastTransitionTime"] = json!(TIME);
        }
    }
    json!({
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": metadata,
        "spec": object["spec"],
        "status": status,
    })
}

/// Returns the part of an object that the script reads.
fn read_by_the_script(object: &Value) -> Value {
    let (metadata, status) = (&object["metadata"], &object["status"]);
    json!({
        "annotations": metadata["annotations"],
        "generations": [metadata["generation"], status["observedGeneration"]],
        "conditions": status["conditions"],
    })
}
