//! The custom metrics API, as an adapter serves it: it gives the real HPA the pages that autoscalers of this project
//! read by themselves.

mod api;
mod exposition;
mod tls;

use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::Request;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::task::Task;
use crate::{ControlPlane, wait};

const GROUP: &str = "custom.metrics.k8s.io";
const VERSION: &str = "v1beta2";
/// The Service that stands for the adapter, whose name its certificate carries.
const SERVICE: (&str, &str) = ("kube-system", "custom-metrics");
/// How long the API server may take to find the adapter.
const SOON: Duration = Duration::from_secs(30);

/// An adapter in this process, registered with a control plane as `custom.metrics.k8s.io/v1beta2`.
///
/// It serves metrics of pods. Whatever series is asked for is read at that moment from `/metrics` on the port `http` of
/// every running pod, and summed over its labels; a pod that does not answer within a second, or has no such series, has
/// no sample. Nothing is remembered, and it is served to whoever asks. Selectors of series are refused.
///
/// Dropping it stops the server; the registration stays.
#[derive(Debug)]
pub struct CustomMetrics {
    _server: Task,
}

impl CustomMetrics {
    /// Starts the adapter on loopback, and returns when clients that ask the API server which APIs there are find it.
    ///
    /// # Errors
    /// Where it cannot listen, or the API server does not find it.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let (namespace, name) = SERVICE;
        let certificate = tls::Certificate::new(&format!("{name}.{namespace}.svc"))?;
        let listener = tls::Listener::bind(&certificate).await?;
        let port = listener.port()?;
        let client = control_plane.client();
        let app = api::router(client.clone());
        let server = Task::spawn(async move {
            let _ = axum::serve(listener, app).await; // never returns
        });
        register(&client, port, &certificate.pem).await?;
        wait::until("the custom metrics API to be found", SOON, async || is_found(&client).await).await?;
        Ok(Self { _server: server })
    }
}

/// A Service without pods leads the API server to loopback: it takes such a name as it is and looks it up itself.
async fn register(client: &Client, port: u16, certificate: &str) -> Result<()> {
    let (namespace, name) = SERVICE;
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    });
    apply(&Api::<Service>::namespaced(client.clone(), namespace), name, &service).await?;
    let api_name = format!("{VERSION}.{GROUP}");
    let api = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": api_name},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "caBundle": ByteString(certificate.as_bytes().to_vec()),
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": name, "namespace": namespace, "port": port},
        },
    });
    apply(&Api::<APIService>::all(client.clone()), &api_name, &api).await
}

async fn apply<K>(api: &Api<K>, name: &str, object: &serde_json::Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let params = PatchParams::apply("testbed").force();
    let applied = api.patch(name, &params, &Patch::Apply(object)).await;
    applied.map(|_| ()).with_context(|| format!("registering the custom metrics API: applying {name}"))
}

/// Whether the API is in the list that clients discover APIs by, and answers.
async fn is_found(client: &Client) -> Result<Option<()>> {
    let list = Request::get("/apis")
        .header("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
        .body(Vec::new())?;
    let groups: serde_json::Value = client.request(list).await?;
    let listed = groups["items"].as_array().into_iter().flatten().any(|group| {
        group["metadata"]["name"] == GROUP
            && group["versions"][0]["version"] == VERSION
            && group["versions"][0]["freshness"] == "Current"
    });
    let resources = Request::get(format!("/apis/{GROUP}/{VERSION}")).body(Vec::new())?;
    Ok((listed && client.request_text(resources).await.is_ok()).then_some(()))
}
