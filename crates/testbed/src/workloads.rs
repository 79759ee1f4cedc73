//! Objects that tests and the demo scale.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

/// Returns a `StatefulSet` of single-node replicas in the namespace `default`, with the label `app:
/// NAME` and the label of inference workloads. Its pods start in parallel and serve on the
/// container port `http`.
///
/// # Errors
/// Fails if a name or number does not fit into the object.
pub fn stateful_set(name: &str, replicas: u32, port: u16) -> Result<StatefulSet> {
    let labels = json!({
        "app": name,
        "alibabacloud.com/inference-workload": name,
        "alibabacloud.com/inference-backend": "vllm",
    });
    let container = json!({
        "name": "engine",
        "image": "vllm/vllm-openai",
        "ports": [{"name": "http", "containerPort": port}],
    });
    Ok(serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }))?)
}

/// Returns a LeaderWorkerSet in the namespace `default` with this many groups of `size` pods, a
/// leader and its workers. All have the label `app: NAME` and serve on the container port `http`.
pub fn leader_worker_set(name: &str, groups: u32, size: u32, port: u16) -> Value {
    let container = json!({
        "name": "engine",
        "image": "vllm/vllm-openai",
        "ports": [{"name": "http", "containerPort": port}],
    });
    // Without `leaderTemplate` the leader has the workers' template.
    let template =
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}});
    json!({
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": groups,
            "leaderWorkerTemplate": {"size": size, "workerTemplate": template},
        },
    })
}

/// Draws a port for the pods of one run, below the range of the kernel's ephemeral ports.
///
/// Addresses differ between runs anyway; a different port makes sure that nothing depends on a
/// fixed one. A port on which a program listens at all addresses would be free at none.
pub fn random_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    let mut drawn = std::iter::repeat_with(|| fastrand::u16(10_000..30_000));
    drawn.by_ref().take(100).find(is_free).unwrap_or(10_000)
}
