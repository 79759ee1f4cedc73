//! The schemas of the kinds that an API server serves, as files for kubeconform.

use std::path::Path;

use anyhow::{Context, Result};
use llm_autoscaler_testbed::ControlPlane;
use serde_json::{Value, json};

/// The groups and versions of what is installed.
const GROUPS: [&str; 9] = [
    "api/v1",
    "apis/apps/v1",
    "apis/policy/v1",
    "apis/networking.k8s.io/v1",
    "apis/rbac.authorization.k8s.io/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/apiregistration.k8s.io/v1",
    "apis/monitoring.coreos.com/v1",
    "apis/llmautoscaler.io/v1alpha1",
];

/// Writes a file for each kind. Fields that a schema does not name are refused.
pub(crate) async fn write(control_plane: &ControlPlane, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for group in GROUPS {
        let url = format!("/openapi/v3/{group}");
        let text = control_plane.kubectl(["get", "--raw", &url]).await?;
        let mut document: Value = serde_json::from_str(&text)?;
        close(&mut document["components"]["schemas"]);
        let schemas = document["components"]["schemas"].as_object().context("no schemas")?;
        for (name, schema) in schemas {
            let kinds = schema["x-kubernetes-group-version-kind"].as_array();
            for kind in kinds.into_iter().flatten() {
                let text = |field: &str| kind[field].as_str().unwrap_or_default();
                // kubeconform has the version in place of an empty group.
                let group = if text("group").is_empty() { text("version") } else { text("group") };
                let file =
                    format!("{group}_{}_{}.json", text("version"), text("kind").to_lowercase());
                let reference = format!("#/components/schemas/{name}");
                let components = &document["components"];
                let schema = json!({"$ref": reference, "components": components});
                std::fs::write(folder.join(file), schema.to_string())?;
            }
        }
    }
    Ok(())
}

/// Lets each object have no other fields than those that its schema names.
fn close(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(close),
        Value::Object(object) => {
            let is_open = object.contains_key("additionalProperties")
                || object.contains_key("x-kubernetes-preserve-unknown-fields");
            if object.get("properties").is_some_and(Value::is_object) && !is_open {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            object.values_mut().for_each(close);
        }
        _ => {}
    }
}
