//! All PodMonitors of the cluster: a target's pods may be covered by one of them already.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    core::{Selector, SelectorExt},
};
use llm_autoscaler_api::{POD_MONITOR, Port, time};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_observe::pod::Pod;
use serde::Deserialize;
use tracing::warn;

use crate::{
    clock::Clock,
    kube_api::{error_text, scoped_dynamic},
};

/// The age at which a listing is made anew.
const MAX_AGE: Duration = Duration::from_secs(30);

/// A PodMonitor, as far as it tells which pods it covers.
#[derive(Clone, Debug)]
pub(crate) struct ClusterPodMonitor {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
    /// The time of its creation.
    pub created: DateTime<Utc>,
    /// True if an LLMAutoscaler has created it.
    pub is_managed: bool,
    /// True if the PodMonitors of its namespace decide about pods of all namespaces.
    pub is_trusted: bool,
    spec: Spec,
    selector: Selector,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: LabelSelector,
    namespace_selector: NamespaceSelector,
    pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamespaceSelector {
    any: bool,
    match_names: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Endpoint {
    port: Option<String>,
    port_number: Option<u16>,
    target_port: Option<Port>,
    path: Option<String>,
}

/// The PodMonitors of the cluster, listed when they are needed; cheap to clone.
#[derive(Clone)]
pub(crate) struct ClusterPodMonitors {
    client: Client,
    clock: Clock,
    /// The only namespace that the operator serves; all if absent.
    namespace: Option<String>,
    /// The namespaces that may have PodMonitors for pods of others.
    trusted: Arc<[String]>,
    latest: Arc<tokio::sync::Mutex<Option<Listing>>>,
}

struct Listing {
    at: Monotonic,
    monitors: Arc<[ClusterPodMonitor]>,
}

impl ClusterPodMonitors {
    /// Creates the list, which asks the API server at the first call of [`all`](Self::all).
    /// `trusted` are the namespaces of the platform, which may have PodMonitors for pods of others.
    pub(crate) fn new(
        client: Client,
        clock: Clock,
        namespace: Option<String>,
        trusted: Vec<String>,
    ) -> Self {
        Self { client, clock, namespace, trusted: trusted.into(), latest: Arc::default() }
    }

    /// Returns all PodMonitors, as of the last 30 s; none where the kind is not installed. While
    /// they cannot be listed the former ones are returned: they may still exist.
    pub(crate) async fn all(&self) -> Arc<[ClusterPodMonitor]> {
        let mut latest = self.latest.lock().await;
        if let Some(Listing { at, monitors }) = &*latest
            && self.clock.monotonic().since(*at) < MAX_AGE
        {
            return monitors.clone();
        }
        let api = api(&self.client, self.namespace.as_deref());
        let monitors: Arc<[ClusterPodMonitor]> = match api.list(&ListParams::default()).await {
            Ok(list) => {
                let parsed = list.items.iter().filter_map(ClusterPodMonitor::parse);
                parsed.map(|monitor| monitor.trusted_if_of(&self.trusted)).collect()
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Arc::default(),
            Err(error) => {
                warn!("listing PodMonitors: {}", error_text(&error));
                latest.take().map_or_else(Arc::default, |listing| listing.monitors)
            }
        };
        *latest = Some(Listing { at: self.clock.monotonic(), monitors: monitors.clone() });
        monitors
    }
}

/// Returns the API of PodMonitors, of one namespace or of all.
pub(crate) fn api(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let [group, version, kind, plural] = POD_MONITOR;
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    scoped_dynamic(client, namespace, &resource)
}

impl ClusterPodMonitor {
    /// Parses a PodMonitor. Returns `None` for one that the Prometheus Operator cannot read either.
    pub(super) fn parse(object: &DynamicObject) -> Option<Self> {
        let spec: Spec = serde_json::from_value(object.data.get("spec")?.clone()).ok()?;
        let created = object.creation_timestamp()?;
        let managed_by = object.labels().get("app.kubernetes.io/managed-by");
        Some(Self {
            namespace: object.namespace()?,
            name: object.name_any(),
            uid: object.uid()?,
            created: time::from_kubernetes(&created),
            is_trusted: false,
            is_managed: managed_by.is_some_and(|manager| manager == "llm-autoscaler"),
            selector: Selector::try_from(spec.selector.clone()).ok()?,
            spec,
        })
    }

    /// Marks the PodMonitor as trusted if it is of one of these namespaces.
    pub(super) fn trusted_if_of(self, namespaces: &[String]) -> Self {
        Self { is_trusted: namespaces.contains(&self.namespace), ..self }
    }

    /// Returns whether the PodMonitor decides about a pod: it is of the pod's own namespace, or
    /// trusted. One tenant's PodMonitor may select the pods of all others, and must not remove
    /// theirs.
    pub(super) fn decides_about(&self, pod: &Pod) -> bool {
        self.is_trusted || self.namespace == pod.namespace
    }

    /// Returns whether the PodMonitor makes Prometheus scrape a pod at this port and path.
    pub(super) fn covers(&self, pod: &Pod, port: u16, path: &str) -> bool {
        let mut endpoints = self.spec.pod_metrics_endpoints.iter();
        self.is_in_scope(&pod.namespace)
            && self.selector.matches(&pod.labels)
            && endpoints
                .any(|endpoint| endpoint.number(pod) == Some(port) && endpoint.path() == path)
    }

    fn is_in_scope(&self, namespace: &str) -> bool {
        let NamespaceSelector { any, match_names } = &self.spec.namespace_selector;
        let is_default = match_names.is_empty() && self.namespace == namespace;
        *any || is_default || match_names.iter().any(|name| name == namespace)
    }

    /// Returns whether the PodMonitor precedes an autoscaler's own, which has this creation time
    /// and UID; `None` if it does not exist yet. A PodMonitor that people have made always
    /// precedes. Of two that autoscalers have made the older one does.
    pub(super) fn precedes(&self, own: Option<(DateTime<Utc>, &str)>) -> bool {
        !self.is_managed || own.is_none_or(|(at, uid)| (self.created, &*self.uid) < (at, uid))
    }
}

impl Endpoint {
    /// Returns the number of the port. The Prometheus Operator treats an empty field as absent.
    fn number(&self, pod: &Pod) -> Option<u16> {
        match self {
            Self { port: Some(name), .. } if !name.is_empty() => {
                pod.port(&Port::Name(name.clone()))
            }
            Self { port_number: Some(number), .. } if *number != 0 => Some(*number),
            Self { target_port: Some(port), .. } => pod.port(port),
            _ => None,
        }
    }

    fn path(&self) -> &str {
        self.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/metrics")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn monitor(spec: &Value) -> ClusterPodMonitor {
        let object = json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
            "metadata": {
                "name": "m", "namespace": "ns", "uid": "u-5",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": spec,
        });
        ClusterPodMonitor::parse(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn a_monitor_covers_the_pods_and_ports_that_it_selects() {
        let http = json!([{"port": "http"}]);
        let app = json!({"matchLabels": {"app": "a"}});
        let of_endpoint =
            |endpoint: Value| json!({"selector": app, "podMetricsEndpoints": [endpoint]});
        let in_namespaces = |namespaces: Value| {
            json!({
                "selector": app, "podMetricsEndpoints": http, "namespaceSelector": namespaces,
            })
        };
        let table = [
            (json!({"selector": app, "podMetricsEndpoints": http}), true),
            (json!({"selector": {}, "podMetricsEndpoints": http}), true),
            (
                json!({"selector": {"matchLabels": {"app": "b"}}, "podMetricsEndpoints": http}),
                false,
            ),
            (of_endpoint(json!({"port": "grpc"})), false),
            (of_endpoint(json!({"portNumber": 8000})), true),
            (of_endpoint(json!({"targetPort": "http"})), true),
            (of_endpoint(json!({"port": "http", "path": "/other"})), false),
            (of_endpoint(json!({"port": "http", "path": ""})), true),
            (of_endpoint(json!({"port": "", "portNumber": 8000})), true),
            (in_namespaces(json!({"matchNames": ["x"]})), false),
            (in_namespaces(json!({"matchNames": ["x", "ns"]})), true),
            (in_namespaces(json!({"any": true})), true),
        ];
        for (spec, expected) in table {
            assert_eq!(
                monitor(&spec).covers(&Pod::serving("a-0", "a"), 8000, "/metrics"),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn of_two_autoscalers_monitors_the_older_one_precedes() {
        let mut other = monitor(&json!({"selector": {}}));
        assert!(other.precedes(None) && other.precedes(Some((DateTime::UNIX_EPOCH, "u-1"))));
        other.is_managed = true;
        let at = other.created;
        assert!(other.precedes(None));
        assert!(other.precedes(Some((at + chrono::TimeDelta::seconds(1), "u-1"))));
        assert!(!other.precedes(Some((at - chrono::TimeDelta::seconds(1), "u-9"))));
        assert!(other.precedes(Some((at, "u-9"))) && !other.precedes(Some((at, "u-1"))));
    }
}
