//! An operator that serves the metrics APIs, and their registration.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use llm_autoscaler_e2e::{Stage, own_address};
use llm_autoscaler_testbed::{repository, wait};
use serde_json::{Value, json};

/// The namespace that the manifests install into.
pub(crate) const SYSTEM: &str = "llm-autoscaler-system";
/// The APIServices of config/metrics-api.
pub(crate) const API_SERVICES: [&str; 3] = [
    "v1beta1.custom.metrics.k8s.io",
    "v1beta2.custom.metrics.k8s.io",
    "v1beta1.external.metrics.k8s.io",
];
/// The objects of config/metrics-api that are installed as they are.
const OBJECTS: [&str; 2] = ["secret.yaml", "rbac.yaml"];
/// The time until the API server has found the APIs.
const FOUND: Duration = Duration::from_mins(1);

/// Starts the operator of a stage with the metrics APIs, and returns when they can be read.
pub(crate) async fn serve(stage: &Stage) -> Result<()> {
    let address = own_address();
    let arguments = arguments(address);
    stage.operator.start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    register(stage).await?;
    lead_to(stage, address).await?;
    until_found(stage).await
}

/// Returns the arguments of an operator that serves the APIs at an address.
pub(crate) fn arguments(address: SocketAddr) -> [String; 3] {
    [
        "--metrics-api".to_owned(),
        format!("--metrics-api-address={address}"),
        format!("--metrics-api-namespace={SYSTEM}"),
    ]
}

/// Installs the objects of config/metrics-api that are not about the operator's address.
pub(crate) async fn register(stage: &Stage) -> Result<()> {
    for file in OBJECTS {
        let path = repository().join("config/metrics-api").join(file);
        stage.control_plane().apply_file(path).await?;
    }
    Ok(())
}

/// Removes the APIServices.
pub(crate) async fn unregister(stage: &Stage) -> Result<()> {
    let delete = ["delete", "apiservices"].into_iter().chain(API_SERVICES);
    stage.control_plane().kubectl(delete).await.map(drop)
}

/// Makes the Service and the APIServices lead to an address. The API server resolves an external
/// name itself.
pub(crate) async fn lead_to(stage: &Stage, address: SocketAddr) -> Result<()> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "llm-autoscaler-metrics-api", "namespace": SYSTEM},
        "spec": {
            "type": "ExternalName",
            "externalName": address.ip().to_string(),
            "ports": [{"port": address.port()}],
        },
    });
    stage.control_plane().apply_yaml(&service.to_string()).await?;
    stage.control_plane().apply_yaml(&api_services(address)?).await.map(drop)
}

/// Returns the APIServices of config/metrics-api, for the port of an address.
pub(crate) fn api_services(address: SocketAddr) -> Result<String> {
    let path = repository().join("config/metrics-api/api_services.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.replace("port: 443", &format!("port: {}", address.port())))
}

/// Waits until the API server reaches the operator by all APIServices.
pub(crate) async fn until_found(stage: &Stage) -> Result<()> {
    wait::until("the APIServices to be available", FOUND, async || {
        for name in API_SERVICES {
            let object = get(stage, &["apiservice", name]).await?;
            let conditions = object["status"]["conditions"].as_array();
            let is_available = |it: &Value| it["type"] == "Available" && it["status"] == "True";
            if !conditions.into_iter().flatten().any(is_available) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// Returns an object as kubectl has it.
pub(crate) async fn get(stage: &Stage, arguments: &[&str]) -> Result<Value> {
    let get = ["get", "-o", "json"].into_iter().chain(arguments.iter().copied());
    Ok(serde_json::from_str(&stage.control_plane().kubectl(get).await?)?)
}

/// Returns the answer of `kubectl get --raw`, as JSON.
pub(crate) async fn raw(stage: &Stage, path: &str) -> Result<Value> {
    let text = stage.control_plane().kubectl(["get", "--raw", path]).await?;
    serde_json::from_str(&text).with_context(|| text.clone())
}

/// Returns the path of a number of pods, in the first version.
pub(crate) fn pods_path(stage: &Stage, pod: &str, metric: &str) -> String {
    let namespace = &stage.namespace;
    format!("/apis/custom.metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{pod}/{metric}")
}

/// Returns the values of an answer by the names of pods.
pub(crate) fn values(list: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|item| (text(&item["describedObject"]["name"]), text(&item["value"]))).collect()
}
