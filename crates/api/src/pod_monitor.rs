//! The PodMonitor of an autoscaler's target, as a pure builder.
//!
//! It makes Prometheus scrape the pods, for dashboards and alerts. Scaling does not depend on it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::{
    parse::{PodMonitorConfig, TargetConfig},
    spec::{LLMAutoscaler, Port, Scheme, ScrapeSpec},
};

/// Group, version, kind and plural of the Prometheus Operator's PodMonitor.
pub const POD_MONITOR: [&str; 4] = ["monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"];

/// A label of the scraped series, and the pod labels that give its value. The last one that a pod
/// has applies.
struct Relabeling {
    target: &'static str,
    sources: &'static [&'static str],
}

/// The labels of series that are taken from pod labels. `RoleBasedGroup` has renamed its pod labels
/// (2026-03, prefix `rbg.workloads.x-k8s.io/`), and pods of older installations have the former
/// ones. Labels of Alibaba Cloud, which exist for this purpose, override both.
const FROM_POD_LABELS: [Relabeling; 3] = [
    Relabeling {
        target: "rbg_role",
        sources: &["rolebasedgroup_workloads_x_k8s_io_role", "rbg_workloads_x_k8s_io_role_name"],
    },
    Relabeling {
        target: "workload_name",
        sources: &[
            "rolebasedgroup_workloads_x_k8s_io_name",
            "rbg_workloads_x_k8s_io_group_name",
            "alibabacloud_com_inference_workload",
        ],
    },
    Relabeling { target: "backend", sources: &["alibabacloud_com_inference_backend"] },
];

/// Returns the name of an autoscaler's PodMonitor: the autoscaler's own name, followed by the
/// role's where it has several.
pub fn pod_monitor_name(owner: &LLMAutoscaler, role: Option<&str>) -> String {
    let name = owner.name_any();
    role.map_or_else(|| name.clone(), |role| format!("{name}-{role}"))
}

/// The inputs of a PodMonitor.
///
/// ```
/// use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
/// use llm_autoscaler_api::{LLMAutoscaler, PodMonitorBuilder, Port, parse_target};
/// use llm_autoscaler_core::Profile;
/// use serde_json::{from_value, json};
///
/// let spec = json!({
///     "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen3"},
///     "engine": "VLLM", "maxReplicas": 8,
///     "metrics": [{
///         "signal": "WaitingRequests",
///         "target": {"type": "AverageValue", "averageValue": "5"},
///     }],
/// });
/// let owner = LLMAutoscaler::new("qwen3", from_value(spec)?);
/// let selector: LabelSelector = from_value(json!({"matchLabels": {"app": "qwen3"}}))?;
/// let monitor = PodMonitorBuilder {
///     owner: &owner,
///     name: "qwen3",
///     plan: &parse_target(&owner.spec, Profile::Default)?,
///     selector: &selector,
///     port: &Port::Name("http".to_owned()),
/// }
/// .build();
/// assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["path"], "/metrics");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PodMonitorBuilder<'a> {
    /// The autoscaler, which becomes the PodMonitor's owner.
    pub owner: &'a LLMAutoscaler,
    /// The PodMonitor's name, as [`pod_monitor_name`] returns it.
    pub name: &'a str,
    /// The plan of the target.
    pub plan: &'a TargetConfig,
    /// Selects the target's pods. Where the first scrape source selects other pods, these are used
    /// instead.
    pub selector: &'a LabelSelector,
    /// The port that serves the metrics.
    pub port: &'a Port,
}

impl PodMonitorBuilder<'_> {
    /// Renders the PodMonitor, complete for a server-side apply.
    pub fn build(&self) -> Value {
        let Self { owner, name, plan, selector, .. } = self;
        let PodMonitorConfig { spec, scrape } = &*plan.pod_monitor;
        let [group, version, kind, _] = POD_MONITOR;
        let selector = scrape.pod_selector.as_ref().unwrap_or(selector);
        let mut labels = spec.labels.clone();
        labels.insert("app.kubernetes.io/managed-by".to_owned(), "llm-autoscaler".to_owned());
        json!({
            "apiVersion": format!("{group}/{version}"),
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": owner.namespace(),
                "labels": labels,
                "annotations": spec.annotations,
                "ownerReferences": [owner.controller_owner_ref(&())],
            },
            "spec": {
                "selector": selector,
                "podMetricsEndpoints": [self.endpoint(scrape)],
            },
        })
    }

    /// Renders the endpoint. Credentials and TLS are those of the scrape source: a PodMonitor's
    /// fields have the same names and meanings as the spec's.
    fn endpoint(&self, scrape: &ScrapeSpec) -> Value {
        let Self { plan, .. } = self;
        let default_path = plan.engine.profile().metrics_path;
        let mut endpoint = json!({
            "path": scrape.path.as_deref().unwrap_or(default_path),
            "interval": format!("{}s", plan.pod_monitor.spec.interval_seconds),
            "relabelings": relabelings(plan),
        });
        match self.port {
            Port::Name(name) => endpoint["port"] = json!(name),
            Port::Number(number) => endpoint["portNumber"] = json!(number),
        }
        if scrape.scheme == Scheme::HTTPS {
            endpoint["scheme"] = json!("https");
            let unchecked = json!({"insecureSkipVerify": true});
            endpoint["tlsConfig"] = scrape.tls_config.as_ref().map_or(unchecked, |tls| json!(tls));
        }
        if let Some(authorization) = &scrape.authorization {
            endpoint["authorization"] = json!(authorization);
        }
        if let Some(basic_auth) = &scrape.basic_auth {
            endpoint["basicAuth"] = json!(basic_auth);
        }
        endpoint
    }
}

/// Renders the relabelings for the five labels that dashboards of inference services expect:
/// `pod_name`, `pod_namespace`, `rbg_role`, `workload_name` and `backend`. The last two are never
/// empty, because the target's name and the engine's are their defaults.
fn relabelings(plan: &TargetConfig) -> Vec<Value> {
    let target = &plan.target.name;
    let engine = plan.engine.profile().name.to_lowercase();
    let mut relabelings = vec![
        from_meta("pod_name", "pod_name"),
        from_meta("namespace", "pod_namespace"),
        constant(target, "workload_name"),
        constant(&engine, "backend"),
    ];
    for Relabeling { target, sources } in FROM_POD_LABELS {
        for source in sources {
            let mut relabeling = from_meta(&format!("pod_label_{source}"), target);
            relabeling["regex"] = json!("(.+)");
            relabelings.push(relabeling);
        }
    }
    relabelings
}

fn from_meta(source: &str, target: &str) -> Value {
    json!({
        "action": "replace",
        "sourceLabels": [format!("__meta_kubernetes_{source}")],
        "targetLabel": target,
    })
}

fn constant(value: &str, target: &str) -> Value {
    json!({"action": "replace", "replacement": value, "targetLabel": target})
}
