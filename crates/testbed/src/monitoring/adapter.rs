//! A real prometheus-adapter.

use anyhow::{Context, Result};
use axum::http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::BUILD;
use crate::aggregation::Aggregated;
use crate::process::{Process, Spec};
use crate::{ControlPlane, script, server};

const GROUP: &str = "custom.metrics.k8s.io";
const VERSION: &str = "v1beta1";
/// The name of the Service that represents it.
const SERVICE: &str = "prometheus-adapter";

/// A running prometheus-adapter, registered with a control plane as
/// `custom.metrics.k8s.io/v1beta1`.
///
/// It does not authenticate clients, because a testbed's API server has no client certificate for
/// aggregated APIs. Dropping it stops it; the registration stays.
#[derive(Debug)]
pub struct Adapter {
    process: Process,
    _dir: TempDir,
}

/// Returns the rule that guides give for a series of pods: its sum for each pod.
pub fn pods_rule(series: &str) -> Value {
    json!({
        "seriesQuery": format!(r#"{series}{{namespace!="",pod!=""}}"#),
        "resources": {
            "overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}},
        },
        "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
    })
}

impl Adapter {
    /// Starts an adapter that answers from a Prometheus by these rules, and returns when discovery
    /// lists its API. It lists series every 15 s; its default is every 10 minutes.
    ///
    /// # Errors
    /// Fails if it cannot be built or does not become ready; the error ends with the tail of its
    /// log.
    pub async fn start(
        control_plane: &ControlPlane,
        prometheus_url: &str,
        rules: &[Value],
    ) -> Result<Self> {
        let program = script::folder(BUILD).await?.join("prometheus-adapter");
        control_plane.apply_yaml(ANYBODY_MAY_ASK).await?;
        let dir = tempfile::Builder::new().prefix("adapter-").tempdir()?;
        let rules_file = dir.path().join("rules.yml");
        std::fs::write(&rules_file, json!({"rules": rules}).to_string())
            .context("writing the rules")?;
        let kubeconfig = control_plane.kubeconfig();
        let kubeconfig = kubeconfig.display();
        let spec = |port: u16| {
            let mut spec =
                Spec::new("prometheus-adapter", &program, dir.path().join("log")).args([
                    format!("--config={}", rules_file.display()),
                    format!("--prometheus-url={prometheus_url}"),
                    "--metrics-relist-interval=15s".to_owned(),
                    "--bind-address=127.0.0.1".to_owned(),
                    format!("--secure-port={port}"),
                    format!("--cert-dir={}", dir.path().join("certs").display()),
                    format!("--lister-kubeconfig={kubeconfig}"),
                    format!("--authentication-kubeconfig={kubeconfig}"),
                    format!("--authorization-kubeconfig={kubeconfig}"),
                    "--authentication-skip-lookup".to_owned(),
                ]);
            spec.remove = Some(dir.path().to_owned());
            Ok(spec)
        };
        // The adapter generates a self-signed certificate.
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build()?;
        let is_ready = async |port| {
            server::answers(&client, &format!("https://127.0.0.1:{port}/readyz")).await
        };
        let (process, port) = server::start(spec, is_ready).await?;
        let api = Aggregated {
            group: GROUP,
            version: VERSION,
            service: SERVICE,
            port,
            certificate: None,
        };
        api.register(&control_plane.client()).await.with_context(|| process.log_tail(20))?;
        Ok(Self { process, _dir: dir })
    }

    /// Queries a metric of all pods of a namespace. Returns the values by the pods' names.
    ///
    /// # Errors
    /// Fails if the adapter does not serve the metric (yet).
    pub async fn values(
        &self,
        control_plane: &ControlPlane,
        namespace: &str,
        metric: &str,
    ) -> Result<Vec<(String, String)>> {
        let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/pods/*/{metric}");
        let list: Value =
            control_plane.client().request(Request::get(path).body(Vec::new())?).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items
            .map(|item| (text(&item["describedObject"]["name"]), text(&item["value"])))
            .collect())
    }

    /// Returns the last lines of its log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }
}

/// Allows anonymous requests, because a testbed's API server forwards requests without a user.
const ANYBODY_MAY_ASK: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: custom-metrics}
rules:
- {apiGroups: [custom.metrics.k8s.io], resources: ["*"], verbs: ["*"]}
- {nonResourceURLs: ["/apis", "/apis/*", "/openapi/*"], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: custom-metrics}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: custom-metrics}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:authenticated"}
- {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:unauthenticated"}
"#;
