//! All PodMonitors of the cluster: a target's pods may be covered by one of them already.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind},
    core::{Selector, SelectorExt},
};
use llm_autoscaler_api::{POD_MONITOR, Port, time};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_observe::pod::Pod;
use serde::Deserialize;
use tracing::{debug, warn};

use crate::{
    clock::Clock,
    kube_api::{CallError, DEADLINE, pages::Pages, scoped_dynamic},
    lock::lock,
};

/// The age at which a listing is made anew.
const MAX_AGE: Duration = Duration::from_secs(30);
/// The time for a whole listing, which is shorter than that for the PodMonitor of an autoscaler.
const LIST_WITHIN: Duration = Duration::from_secs(20);
/// The bytes of the specs that are kept of a namespace that is not trusted. If more were kept, a
/// tenant would take memory; of those that are left out, the operator may make a second PodMonitor
/// for the same pods of that namespace.
const MOST_BYTES: usize = 256 << 10;

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
    /// The age at which a listing is made anew.
    max_age: Duration,
    /// Held by the caller that lists them.
    turn: Arc<tokio::sync::Mutex<()>>,
    latest: Arc<Mutex<Option<Listing>>>,
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
        let (trusted, turn, latest) = (trusted.into(), Arc::default(), Arc::default());
        Self { client, clock, namespace, trusted, max_age: MAX_AGE, turn, latest }
    }

    /// Returns all PodMonitors, as of the last 30 s; none where the kind is not installed. While
    /// they cannot be listed, or are being listed for another caller, the former ones are returned:
    /// they may still exist. Only the very first listing is waited for.
    pub(crate) async fn all(&self) -> Arc<[ClusterPodMonitor]> {
        let Ok(_turn) = self.turn.try_lock() else {
            if let Some(monitors) = self.known(Duration::MAX) {
                return monitors;
            }
            let _turn = self.turn.lock().await;
            return self.update().await;
        };
        self.update().await
    }

    /// Lists the PodMonitors if they have not been listed for a while.
    async fn update(&self) -> Arc<[ClusterPodMonitor]> {
        if let Some(monitors) = self.known(self.max_age) {
            return monitors;
        }
        let listed = tokio::time::timeout(LIST_WITHIN, self.list()).await;
        let listed = listed.unwrap_or(Err(CallError::Timeout(LIST_WITHIN)));
        let monitors: Arc<[ClusterPodMonitor]> = match listed {
            Ok(monitors) => monitors.into(),
            Err(error) if error.status() == Some(404) => Arc::default(),
            Err(error) => {
                warn!("listing PodMonitors: {error}");
                self.known(Duration::MAX).unwrap_or_default()
            }
        };
        let listing = Listing { at: self.clock.monotonic(), monitors: monitors.clone() };
        *lock(&self.latest) = Some(listing);
        monitors
    }

    /// Returns the latest listing, if it is not older than this.
    fn known(&self, age: Duration) -> Option<Arc<[ClusterPodMonitor]>> {
        let latest = lock(&self.latest);
        let Listing { at, monitors } = latest.as_ref()?;
        (self.clock.monotonic().since(*at) < age).then(|| monitors.clone())
    }

    /// Lists the PodMonitors, page by page, and keeps of each what tells which pods it covers.
    async fn list(&self) -> Result<Vec<ClusterPodMonitor>, CallError> {
        let mut pages = Pages::new(api(&self.client, self.namespace.as_deref()), DEADLINE);
        let (mut all, mut budgets) = (Vec::new(), HashMap::<String, usize>::new());
        while let Some(page) = pages.next().await? {
            for object in &page.items {
                let Some(monitor) = ClusterPodMonitor::parse(object) else { continue };
                let monitor = monitor.trusted_if_of(&self.trusted);
                let bytes = object.data["spec"].to_string().len();
                let used = budgets.entry(monitor.namespace.clone()).or_default();
                if !monitor.is_trusted && *used + bytes > MOST_BYTES {
                    debug!(namespace = monitor.namespace, name = monitor.name, "left out");
                    continue;
                }
                *used += bytes;
                all.push(monitor);
            }
        }
        Ok(all)
    }
}

/// Returns the API of PodMonitors, of one namespace or of all.
pub(crate) fn api(client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
    scoped_dynamic(client, namespace, &resource())
}

/// Returns the kind PodMonitor.
pub(super) fn resource() -> ApiResource {
    let [group, version, kind, plural] = POD_MONITOR;
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

impl ClusterPodMonitor {
    /// Parses a PodMonitor. Returns `None` for one that the Prometheus Operator cannot read either.
    pub(super) fn parse(object: &DynamicObject) -> Option<Self> {
        let mut spec = Spec::deserialize(object.data.get("spec")?).ok()?;
        let selector = std::mem::take(&mut spec.selector);
        let created = object.creation_timestamp()?;
        let managed_by = object.labels().get("app.kubernetes.io/managed-by");
        Some(Self {
            namespace: object.namespace()?,
            name: object.name_any(),
            uid: object.uid()?,
            created: time::from_kubernetes(&created),
            is_trusted: false,
            is_managed: managed_by.is_some_and(|manager| manager == "llm-autoscaler"),
            selector: Selector::try_from(selector).ok()?,
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
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use serde_json::{Value, json};

    use super::*;
    use crate::kube_api::stand_in::{Answer, Received, StandIn};

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

    fn pod_monitors(api: &StandIn) -> ClusterPodMonitors {
        ClusterPodMonitors::new(api.client.clone(), Clock::start(), None, vec!["infra".to_owned()])
    }

    fn object(namespace: &str, name: &str, bytes: usize) -> Value {
        json!({
            "metadata": {
                "name": name, "namespace": namespace, "uid": name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"selector": {"matchLabels": {"app": "x".repeat(bytes)}}},
        })
    }

    #[tokio::test]
    async fn a_namespace_takes_no_more_than_its_share_of_memory() {
        let api = StandIn::start(|_: &Received| {
            let half = MOST_BYTES / 2;
            let all = [
                object("ns", "a-0", half),
                object("ns", "a-1", half),
                object("ns", "a-2", 10),
                object("other", "b-0", half),
                object("infra", "c-0", 2 * MOST_BYTES),
            ];
            Answer::Json(200, json!({"metadata": {}, "items": all}))
        })
        .await;
        let all = pod_monitors(&api).all().await;
        let names: Vec<_> = all.iter().map(|monitor| &*monitor.name).collect();
        assert_eq!(names, ["a-0", "a-2", "b-0", "c-0"]);
    }

    /// It used to hold up the PodMonitors of all autoscalers.
    #[tokio::test]
    async fn a_listing_that_hangs_holds_up_only_its_own_caller() {
        let (hangs, api) = {
            let hangs = Arc::new(AtomicBool::new(false));
            let is_hanging = hangs.clone();
            let answer = move |_: &Received| {
                if is_hanging.load(Relaxed) {
                    return Answer::Never;
                }
                Answer::Json(200, json!({"metadata": {}, "items": [object("ns", "a", 1)]}))
            };
            (hangs, StandIn::start(answer).await)
        };
        let monitors = ClusterPodMonitors { max_age: Duration::ZERO, ..pod_monitors(&api) };
        assert_eq!(monitors.all().await.len(), 1);
        hangs.store(true, Relaxed);
        let (first, second) = (monitors.all(), monitors.all());
        let second = async { tokio::time::timeout(Duration::from_secs(5), second).await };
        tokio::select! {
            biased;
            _ = first => panic!("it hangs"),
            second = second => assert_eq!(second.unwrap().len(), 1, "the former ones"),
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
