//! All PodMonitors of the cluster, so that nobody's pods are published twice: managed services bill by the series.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
    core::{Selector, SelectorExt},
};
use llm_autoscaler_api::{POD_MONITOR, Port};
use llm_autoscaler_core::Monotonic;
use serde::Deserialize;

use crate::{clock::Clock, kube_api::scoped_dynamic};
use llm_autoscaler_observe::pod::Pod;

/// For how long a listing is believed.
const BELIEVED: Duration = Duration::from_secs(30);

/// A PodMonitor, as far as it matters which pods it selects.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Whether an autoscaler made it.
    pub is_managed: bool,
    spec: Spec,
    selector: Selector,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    selector: LabelSelector,
    namespace_selector: Namespaces,
    pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Namespaces {
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

/// The PodMonitors, listed now and then for everybody. Cheap to clone.
#[derive(Clone)]
pub struct Monitors {
    client: Client,
    clock: Clock,
    /// The only namespace that may be looked at.
    namespace: Option<String>,
    latest: Arc<tokio::sync::Mutex<Option<Listed>>>,
}

/// When, and what.
type Listed = (Monotonic, Arc<[Monitor]>);

impl Monitors {
    /// Nothing has been listed yet.
    pub fn new(client: Client, clock: Clock, namespace: Option<String>) -> Self {
        Self { client, clock, namespace, latest: Arc::default() }
    }

    /// All PodMonitors, as they were half a minute ago at the earliest; none where there is no such kind. While they cannot be
    /// listed, those that were known before: a neighbour is not gone because nobody can see it.
    pub async fn all(&self) -> Arc<[Monitor]> {
        let mut latest = self.latest.lock().await;
        if let Some((at, monitors)) = &*latest
            && self.clock.monotonic().since(*at) < BELIEVED
        {
            return monitors.clone();
        }
        let listed =
            api(&self.client, self.namespace.as_deref()).list(&ListParams::default()).await;
        let monitors: Arc<[Monitor]> = match listed {
            Ok(list) => list.items.iter().filter_map(Monitor::of).collect(),
            Err(kube::Error::Api(status)) if status.code == 404 => Arc::default(),
            Err(_) => latest.take().map_or_else(Arc::default, |(_, monitors)| monitors),
        };
        *latest = Some((self.clock.monotonic(), monitors.clone()));
        monitors
    }
}

/// The API of PodMonitors, of one namespace or of all.
pub fn api(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    let [group, version, kind, plural] = POD_MONITOR;
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    scoped_dynamic(client, namespace, &resource)
}

impl Monitor {
    /// `None` for one that nobody could act on.
    fn of(object: &DynamicObject) -> Option<Self> {
        let spec: Spec = serde_json::from_value(object.data.get("spec")?.clone()).ok()?;
        let created = object.creation_timestamp()?;
        let managed_by = object.labels().get("app.kubernetes.io/managed-by");
        Some(Self {
            namespace: object.namespace()?,
            name: object.name_any(),
            uid: object.uid()?,
            created: llm_autoscaler_api::time::from_kubernetes(&created),
            is_managed: managed_by.is_some_and(|manager| manager == "llm-autoscaler"),
            selector: Selector::try_from(spec.selector.clone()).ok()?,
            spec,
        })
    }

    /// Whether it publishes the page of a pod at this port and path.
    pub fn publishes(&self, pod: &Pod, port: u16, path: &str) -> bool {
        let Namespaces { any, match_names } = &self.spec.namespace_selector;
        let of_namespace = *any
            || match_names.contains(&pod.namespace)
            || match_names.is_empty() && self.namespace == pod.namespace;
        let labels: &BTreeMap<String, String> = &pod.labels;
        let same_page =
            |endpoint: &Endpoint| endpoint.number(pod) == Some(port) && endpoint.path() == path;
        of_namespace
            && self.selector.matches(labels)
            && self.spec.pod_metrics_endpoints.iter().any(same_page)
    }

    /// Whether it goes before one that was made, or will be, at `created`: what people made does, and what was made before.
    pub fn goes_before(&self, created: Option<(DateTime<Utc>, &str)>) -> bool {
        !self.is_managed
            || match created {
                None => true,
                Some((at, uid)) => (self.created, &*self.uid) < (at, uid),
            }
    }
}

/// What is empty counts as absent, as it does for the Prometheus Operator.
impl Endpoint {
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
    use llm_autoscaler_observe::pod::Pod;

    fn monitor(spec: &Value) -> Monitor {
        let object = json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "PodMonitor",
            "metadata": {"name": "m", "namespace": "ns", "uid": "u-5", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec,
        });
        Monitor::of(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn a_page_is_published_by_who_selects_its_pod_and_port() {
        let http = json!([{"port": "http"}]);
        let app = json!({"matchLabels": {"app": "a"}});
        let table = [
            (json!({"selector": app, "podMetricsEndpoints": http}), true),
            (json!({"selector": {}, "podMetricsEndpoints": http}), true),
            (
                json!({"selector": {"matchLabels": {"app": "b"}}, "podMetricsEndpoints": http}),
                false,
            ),
            (json!({"selector": app, "podMetricsEndpoints": [{"port": "grpc"}]}), false),
            (json!({"selector": app, "podMetricsEndpoints": [{"portNumber": 8000}]}), true),
            (json!({"selector": app, "podMetricsEndpoints": [{"targetPort": "http"}]}), true),
            (
                json!({"selector": app, "podMetricsEndpoints": [{"port": "http", "path": "/other"}]}),
                false,
            ),
            (json!({"selector": app, "podMetricsEndpoints": [{"port": "http", "path": ""}]}), true),
            (
                json!({"selector": app, "podMetricsEndpoints": [{"port": "", "portNumber": 8000}]}),
                true,
            ),
            (
                json!({"selector": app, "podMetricsEndpoints": http, "namespaceSelector": {"matchNames": ["x"]}}),
                false,
            ),
            (
                json!({"selector": app, "podMetricsEndpoints": http, "namespaceSelector": {"any": true}}),
                true,
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(
                monitor(&spec).publishes(&Pod::serving("a-0", "a"), 8000, "/metrics"),
                expected,
                "{spec}"
            );
        }
    }

    #[test]
    fn of_two_autoscalers_the_older_ones_stays() {
        let mut other = monitor(&json!({"selector": {}}));
        assert!(other.goes_before(None) && other.goes_before(Some((DateTime::UNIX_EPOCH, "u-1"))));
        other.is_managed = true;
        let at = other.created;
        assert!(other.goes_before(None));
        assert!(other.goes_before(Some((at + chrono::TimeDelta::seconds(1), "u-1"))));
        assert!(!other.goes_before(Some((at - chrono::TimeDelta::seconds(1), "u-9"))));
        assert!(other.goes_before(Some((at, "u-9"))) && !other.goes_before(Some((at, "u-1"))));
    }
}
