//! A configuration for a Prometheus that runs without the Prometheus Operator.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ControlPlane;

/// Returns a configuration that scrapes `/metrics` on the container port `http` of all running pods
/// of these namespaces. Series carry the labels `namespace` and `pod`, as series of a PodMonitor
/// do.
pub fn scrape_pods(
    control_plane: &ControlPlane,
    namespaces: &[&str],
    interval: Duration,
) -> String {
    let relabelings = [
        keep("__meta_kubernetes_pod_container_port_name", "http"),
        keep("__meta_kubernetes_pod_phase", "Running"),
        label("__meta_kubernetes_namespace", "namespace"),
        label("__meta_kubernetes_pod_name", "pod"),
    ];
    let discovery = json!({
        "role": "pod",
        "kubeconfig_file": control_plane.kubeconfig(),
        "namespaces": {"names": namespaces},
    });
    let configuration = json!({
        "global": {"scrape_interval": format!("{}ms", interval.as_millis())},
        "scrape_configs": [{
            "job_name": "pods",
            "kubernetes_sd_configs": [discovery],
            "relabel_configs": relabelings,
        }],
    });
    configuration.to_string() // JSON is valid YAML
}

fn keep(label: &str, value: &str) -> Value {
    json!({"action": "keep", "source_labels": [label], "regex": value})
}

fn label(from: &str, to: &str) -> Value {
    json!({"source_labels": [from], "target_label": to})
}
