//! The Prometheus Operator, and the configurations that it generates from PodMonitors.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::BUILD;
use super::prometheus::{Prometheus, Remote};
use crate::process::{Process, Spec};
use crate::{ControlPlane, script, server, wait};

/// The namespace of the instances.
const NAMESPACE: &str = "monitoring";
/// The time that the operator may take to write a configuration.
const SOON: Duration = Duration::from_secs(30);

/// The Prometheus Operator, running as a control plane's administrator.
///
/// It turns PodMonitors into configurations and makes no pods. Dropping it stops it; its objects
/// stay.
pub struct PrometheusOperator {
    process: Process,
    client: Client,
    api_server: String,
    token_file: PathBuf,
    instances: AtomicU32,
}

/// Selects the PodMonitors of an instance; the default selects those of all namespaces.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The only namespace, if there is one.
    pub namespace: Option<String>,
    /// The labels that a PodMonitor must have.
    pub labels: Vec<(String, String)>,
}

/// A `Prometheus` object with a generated configuration and without pods.
#[derive(Debug, Clone)]
pub struct Instance {
    secrets: Api<Secret>,
    name: String,
}

impl PrometheusOperator {
    /// Installs the CRDs and the permissions of instances, and starts the operator.
    ///
    /// # Errors
    /// Fails if it cannot be built or does not become ready; the error ends with the tail of its
    /// log.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let folder = script::folder(BUILD).await?;
        control_plane
            .apply_file(folder.join("crds"))
            .await
            .context("installing the CRDs of Prometheus")?;
        control_plane
            .kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"])
            .await?;
        control_plane.apply_yaml(INSTANCES_MAY).await?;
        let token = control_plane.service_account_token(NAMESPACE, "prometheus").await?;
        let token_file = control_plane.dir().join("prometheus.token");
        std::fs::write(&token_file, token)?;

        let log = control_plane.dir().join("prometheus-operator.log");
        let spec = |port: u16| {
            Ok(Spec::new("prometheus-operator", folder.join("prometheus-operator"), &log)
                .args([format!("--web.listen-address=127.0.0.1:{port}")])
                .env("KUBECONFIG", control_plane.kubeconfig()))
        };
        let http = crate::http_client();
        let is_ready =
            async |port| server::answers(&http, &format!("http://127.0.0.1:{port}/healthz")).await;
        let (process, _) = server::start(spec, is_ready).await?;
        Ok(Self {
            process,
            client: control_plane.client(),
            api_server: control_plane.url().to_owned(),
            token_file,
            instances: AtomicU32::new(0),
        })
    }

    /// Creates a `Prometheus` object, and returns when it has a configuration.
    ///
    /// # Errors
    /// Fails if the object is refused, or if no configuration follows; the error ends with the tail
    /// of the operator's log.
    pub async fn instance(&self, selection: &Selection) -> Result<Instance> {
        let name = format!("instance-{}", self.instances.fetch_add(1, Ordering::Relaxed));
        let object = self.object(&name, selection);
        let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", "Prometheus");
        let kind = ApiResource::from_gvk_with_plural(&kind, "prometheuses");
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), NAMESPACE, &kind);
        api.patch(&name, &PatchParams::apply("testbed").force(), &Patch::Apply(object)).await?;
        let secrets = Api::namespaced(self.client.clone(), NAMESPACE);
        let what = format!("the configuration of the Prometheus {name}");
        let instance = Instance { secrets, name };
        wait::until(&what, SOON, async || {
            Ok(instance.secrets.get_opt(&instance.secret()).await?.map(|_| ()))
        })
        .await
        .with_context(|| {
            format!("the Prometheus Operator's log ends with:\n{}", self.log_tail(20))
        })?;
        Ok(instance)
    }

    /// Returns the last lines of its log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// Builds the `Prometheus` object. The instance runs outside of the cluster, so it needs the
    /// API server's address. Its token is in a file, because a Secret would be read from the
    /// namespace of each PodMonitor.
    fn object(&self, name: &str, selection: &Selection) -> Value {
        let namespaces = match &selection.namespace {
            Some(namespace) => json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}}),
            None => json!({}),
        };
        let labels: serde_json::Map<_, _> =
            selection.labels.iter().map(|(label, value)| (label.clone(), json!(value))).collect();
        json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "replicas": 0,
                "podMonitorSelector": {"matchLabels": labels},
                "podMonitorNamespaceSelector": namespaces,
                "apiserverConfig": {
                    "host": self.api_server,
                    "authorization": {"type": "Bearer", "credentialsFile": self.token_file},
                    "tlsConfig": {"insecureSkipVerify": true},
                },
            },
        })
    }
}

/// The manifests of the instances' namespace and ServiceAccount.
const INSTANCES_MAY: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: prometheus, namespace: monitoring}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: prometheus}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: prometheus}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: prometheus}
subjects: [{kind: ServiceAccount, name: prometheus, namespace: monitoring}]
"#;

impl Instance {
    /// Returns the latest configuration that the operator has generated.
    ///
    /// # Errors
    /// Fails if the Secret is gone or malformed.
    pub async fn config(&self) -> Result<String> {
        self.read(&self.secrets.get(&self.secret()).await?)
    }

    /// Starts a Prometheus with the configuration, and reloads it each time the operator changes
    /// the configuration.
    ///
    /// # Errors
    /// Same as [`Prometheus::start`].
    pub async fn run(&self) -> Result<Prometheus> {
        let configuration = self.config().await?;
        let mut prometheus = Prometheus::start(&configuration).await?;
        let instance = self.clone();
        prometheus.follow(|remote| async move { instance.keep(&remote, configuration).await });
        Ok(prometheus)
    }

    /// Plays the sidecar that reloads Prometheus.
    async fn keep(&self, remote: &Arc<Remote>, mut current: String) {
        let of_it = watcher::Config::default().fields(&format!("metadata.name={}", self.secret()));
        let mut secrets =
            watcher(self.secrets.clone(), of_it).default_backoff().applied_objects().boxed();
        loop {
            let changed = match secrets.try_next().await {
                Ok(Some(secret)) => self.read(&secret),
                Ok(None) => return,
                Err(_) => continue, // the watcher recovers on its own
            };
            let result = match changed {
                Ok(changed) if changed == current => continue,
                Ok(changed) => {
                    current = changed;
                    remote.configure(&current).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                eprintln!("Prometheus {}: {error:#}", self.name);
            }
        }
    }

    fn secret(&self) -> String {
        format!("prometheus-{}", self.name)
    }

    /// Decodes the configuration, and substitutes the shard and the pod name as the sidecar does.
    /// Without the shard number no target would be scraped.
    fn read(&self, secret: &Secret) -> Result<String> {
        let packed = secret.data.as_ref().and_then(|data| data.get("prometheus.yaml.gz"));
        let packed = packed.with_context(|| format!("{} has no configuration", self.secret()))?;
        let mut configuration = String::new();
        GzDecoder::new(&*packed.0).read_to_string(&mut configuration)?;
        Ok(configuration
            .replace("$(SHARD)", "0")
            .replace("$(POD_NAME)", &format!("prometheus-{}-0", self.name)))
    }
}
