//! The PodMonitor of an autoscaler's target, as a pure builder.
//!
//! It publishes the pods' metrics to Prometheus, where dashboards and alerts read them. Scaling does not
//! depend on it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use crate::{LLMAutoscaler, PodMonitorSpec, Port, ScrapeSpec};

/// Group, version, kind and plural of the Prometheus Operator's PodMonitor.
pub const POD_MONITOR: [&str; 4] = ["monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"];

/// A label of the scraped series, and the pod labels it is taken from. The last one that a pod has wins.
struct Relabeling {
    target: &'static str,
    sources: &'static [&'static str],
}

/// `RoleBasedGroup` has renamed its pod labels (2026-03, prefix `rbg.workloads.x-k8s.io/`); pods of
/// older installations carry the former ones. A label made for the purpose overrides both.
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

/// The name of an autoscaler's PodMonitor; where it has several roles, of that of one.
pub fn pod_monitor_name(owner: &LLMAutoscaler, role: Option<&str>) -> String {
    let name = owner.name_any();
    role.map_or_else(|| name.clone(), |role| format!("{name}-{role}"))
}

/// The PodMonitor for the target's pods, which `selector` selects and which serve on `port`, complete for a server-side
/// apply. Where the first scrape is of other pods, it is for those.
pub fn pod_monitor(
    (owner, name): (&LLMAutoscaler, &str),
    spec: &PodMonitorSpec,
    selector: &LabelSelector,
    port: &Port,
) -> Value {
    let [group, version, kind, _] = POD_MONITOR;
    let scrape = owner.spec.scrape();
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
            "podMetricsEndpoints": [endpoint(owner, &scrape, spec, port)],
        },
    })
}

/// What lets the operator in lets Prometheus in: its own fields are called the same.
fn endpoint(
    owner: &LLMAutoscaler,
    scrape: &ScrapeSpec,
    spec: &PodMonitorSpec,
    port: &Port,
) -> Value {
    let path = scrape.path.as_deref().unwrap_or(owner.spec.engine.0.profile().metrics_path);
    let mut endpoint = json!({
        "path": path,
        "interval": format!("{}s", spec.interval_seconds),
        "relabelings": relabelings(owner),
    });
    match port {
        Port::Name(name) => endpoint["port"] = json!(name),
        Port::Number(number) => endpoint["portNumber"] = json!(number),
    }
    if scrape.scheme == crate::Scheme::HTTPS {
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

/// The five labels that dashboards of inference services expect: `pod_name`, `pod_namespace`, `rbg_role`,
/// `workload_name`, `backend`. The last two are never empty: the target's name and the engine's come first.
fn relabelings(owner: &LLMAutoscaler) -> Vec<Value> {
    let meta = |source: &str, target: &str| json!({"action": "replace", "sourceLabels": [format!("__meta_kubernetes_{source}")], "targetLabel": target});
    let constant = |value: &str, target: &str| json!({"action": "replace", "replacement": value, "targetLabel": target});
    let mut relabelings = vec![
        meta("pod_name", "pod_name"),
        meta("namespace", "pod_namespace"),
        constant(
            owner.spec.scale_target_ref.as_ref().map_or("", |target| &target.name),
            "workload_name",
        ),
        constant(&owner.spec.engine.0.profile().name.to_lowercase(), "backend"),
    ];
    for Relabeling { target, sources } in FROM_POD_LABELS {
        for source in sources {
            let mut relabeling = meta(&format!("pod_label_{source}"), target);
            relabeling["regex"] = json!("(.+)");
            relabelings.push(relabeling);
        }
    }
    relabelings
}
