//! APIs that the API server forwards to another server (API aggregation).

use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::Request;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::wait;

/// The time that the API server may take to discover the API.
const SOON: Duration = Duration::from_secs(30);
/// The namespace of the Service.
const NAMESPACE: &str = "kube-system";

/// An aggregated API that is served on a loopback port.
pub(crate) struct Aggregated<'a> {
    /// The API group.
    pub(crate) group: &'a str,
    /// The API version.
    pub(crate) version: &'a str,
    /// The name of the Service that represents the server.
    pub(crate) service: &'a str,
    /// The server's port.
    pub(crate) port: u16,
    /// The server's certificate, which must be valid for [`host`]. If absent, no certificate is
    /// verified.
    pub(crate) certificate: Option<&'a str>,
}

/// Returns the DNS name that the certificate of the Service must carry.
pub(crate) fn host(service: &str) -> String {
    format!("{service}.{NAMESPACE}.svc")
}

impl Aggregated<'_> {
    /// Registers the API, and returns when discovery lists it, so that clients find it.
    pub(crate) async fn register(&self, client: &Client) -> Result<()> {
        let service = self.service();
        apply(&Api::<Service>::namespaced(client.clone(), NAMESPACE), self.service, &service)
            .await?;
        let name = format!("{}.{}", self.version, self.group);
        apply(&Api::<APIService>::all(client.clone()), &name, &self.api_service(&name)).await?;
        wait::until(&format!("{name} to be found"), SOON, async || self.is_found(client).await)
            .await
    }

    /// Builds a Service without pods that leads the API server to loopback. The API server resolves
    /// an ExternalName itself.
    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.service, "namespace": NAMESPACE},
            "spec": {
                "type": "ExternalName",
                "externalName": "localhost",
                "ports": [{"port": self.port}],
            },
        })
    }

    fn api_service(&self, name: &str) -> Value {
        let mut spec = json!({
            "group": self.group,
            "version": self.version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": self.service, "namespace": NAMESPACE, "port": self.port},
        });
        match self.certificate {
            Some(pem) => spec["caBundle"] = json!(ByteString(pem.as_bytes().to_vec())),
            None => spec["insecureSkipTLSVerify"] = json!(true),
        }
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": name},
            "spec": spec,
        })
    }

    /// Returns `Some` when discovery lists the API and the API answers.
    async fn is_found(&self, client: &Client) -> Result<Option<()>> {
        let list = Request::get("/apis")
            .header(
                "accept",
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            )
            .body(Vec::new())?;
        let groups: Value = client.request(list).await?;
        let listed = groups["items"].as_array().into_iter().flatten().any(|group| {
            group["metadata"]["name"] == self.group
                && group["versions"][0]["version"] == self.version
                && group["versions"][0]["freshness"] == "Current"
        });
        let resources =
            Request::get(format!("/apis/{}/{}", self.group, self.version)).body(Vec::new())?;
        Ok((listed && client.request_text(resources).await.is_ok()).then_some(()))
    }
}

async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let params = PatchParams::apply("testbed").force();
    let applied = api.patch(name, &params, &Patch::Apply(object)).await;
    applied.map(|_| ()).with_context(|| format!("registering an API: applying {name}"))
}
