//! The HTTP handlers of the adapter.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{SecondsFormat, Utc};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::{GROUP, VERSION, exposition};
use crate::nodes::http_port;

/// The timeout of a scrape of one pod.
const TIMEOUT: Duration = Duration::from_secs(1);

struct Adapter {
    client: Client,
    http: reqwest::Client,
}

/// Returns the routes that the API server requests of an adapter.
pub(super) fn router(client: Client) -> Router {
    let root = format!("/apis/{GROUP}/{VERSION}");
    Router::new()
        .route(&root, get(async || Json(resources())))
        .route(&format!("{root}/namespaces/{{namespace}}/pods/{{name}}/{{metric}}"), get(values))
        .with_state(Arc::new(Adapter { client, http: crate::http_client() }))
}

/// Returns the discovery document. It lists no metrics, because only the pods' pages list them, and
/// no client needs discovery before it queries one.
fn resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [],
    })
}

/// Returns the samples of the pods that the query selects: those that match its label selector for
/// the name `*`, else the one pod of that name.
async fn values(
    State(adapter): State<Arc<Adapter>>,
    Path((namespace, name, metric)): Path<(String, String, String)>,
    uri: Uri,
) -> Response {
    let selector = match label_selector(&uri) {
        Ok(selector) => selector,
        Err(refusal) => return failure(StatusCode::BAD_REQUEST, &refusal),
    };
    let mut params = ListParams { label_selector: selector, ..ListParams::default() };
    if name != "*" {
        params = params.fields(&format!("metadata.name={name}"));
    }
    let pods = match Api::<Pod>::namespaced(adapter.client.clone(), &namespace).list(&params).await
    {
        Ok(pods) => pods,
        Err(error) => {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("listing pods: {error}"));
        }
    };
    let items = join_all(pods.iter().map(|pod| adapter.sample(pod, &metric))).await;
    Json(json!({
        "kind": "MetricValueList",
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": {},
        "items": items.into_iter().flatten().collect::<Vec<_>>(),
    }))
    .into_response()
}

/// Parses and decodes the label selector of a query.
fn label_selector(uri: &Uri) -> Result<Option<String>, String> {
    let url =
        reqwest::Url::parse(&format!("https://adapter{uri}")).map_err(|error| error.to_string())?;
    let value = |key: &str| {
        let value =
            url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned());
        value.filter(|value| !value.is_empty())
    };
    match value("metricLabelSelector") {
        Some(selector) => {
            Err(format!("this adapter selects pods, not series by labels such as {selector}"))
        }
        None => Ok(value("labelSelector")),
    }
}

fn failure(code: StatusCode, message: &str) -> Response {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code.as_u16(),
        "message": message,
    });
    (code, Json(status)).into_response()
}

impl Adapter {
    /// Scrapes a pod and returns its sample of a metric; `None` if the pod does not answer or its
    /// page lacks the metric.
    async fn sample(&self, pod: &Pod, metric: &str) -> Option<Value> {
        let address = pod.status.as_ref()?.pod_ip.as_ref()?;
        let url = format!("http://{address}:{}/metrics", http_port(pod)?);
        let answer =
            self.http.get(url).timeout(TIMEOUT).send().await.ok()?.error_for_status().ok()?;
        let value = exposition::sum(&answer.text().await.ok()?, metric)?;
        Some(json!({
            "describedObject": {
                "kind": "Pod",
                "apiVersion": "/v1",
                "namespace": pod.namespace(),
                "name": pod.name_any(),
            },
            "metric": {"name": metric},
            "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
            "value": exposition::quantity(value),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_selects_pods_and_no_series() {
        for (query, expected) in [
            ("", Ok(None)),
            ("?labelSelector=app%3Da%2Ctier%21%3Db", Ok(Some("app=a,tier!=b"))),
            ("?labelSelector=app%3Da&metricLabelSelector=", Ok(Some("app=a"))),
            ("?metricLabelSelector=model%3Dq", Err("model=q")),
        ] {
            let uri: Uri = format!("/apis/x{query}").parse().unwrap();
            match (label_selector(&uri), expected) {
                (Ok(selector), Ok(expected)) => {
                    assert_eq!(selector.as_deref(), expected, "{query}");
                }
                (Err(refusal), Err(named)) => assert!(refusal.contains(named), "{refusal}"),
                (result, _) => panic!("{query}: {result:?}"),
            }
        }
    }
}
