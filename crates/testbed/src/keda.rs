//! KEDA: the real operator and the real metrics server.
//!
//! ```text
//!  ScaledObject ──> keda-operator ──> an HPA, and sizes from and to zero
//!                        │  gRPC
//!                   keda-adapter ──> external.metrics.k8s.io, for that HPA
//! ```
//!
//! The first use builds both, which takes some minutes: `tests/keda/README.md`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;

use crate::aggregation::{Aggregated, host};
use crate::lws::until_established;
use crate::process::{Process, Spec};
use crate::{ClientAuthority, ControlPlane, script, server, wait};

/// The script that builds the programs.
const BUILD: &str = "tests/keda/build.sh";
/// The namespace of KEDA's own objects.
const NAMESPACE: &str = "keda";
/// The ServiceAccount of both programs.
const ACCOUNT: &str = "keda-operator";
/// The time in which the API server has the ServiceAccount.
const SOON: Duration = Duration::from_secs(30);
/// The name of the Service that represents the metrics server.
const SERVICE: &str = "keda-metrics-apiserver";
/// The address of everything.
const ADDRESS: &str = "127.0.0.1";

/// KEDA, running for all namespaces with a ServiceAccount of its own that may do everything, and
/// registered as `external.metrics.k8s.io/v1beta1`.
///
/// Dropping it stops it. Its objects and the registration stay.
#[derive(Debug)]
pub struct Keda {
    adapter: Process,
    operator: Process,
}

impl Keda {
    /// Installs the CRDs, starts both programs, and returns when discovery lists the API.
    ///
    /// # Errors
    /// Fails if they cannot be built or do not become ready; the error ends with the tail of a log.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let folder = script::folder(BUILD).await?;
        control_plane.apply_file(folder.join("crds")).await.context("installing KEDA's CRDs")?;
        for kind in ["scaledobjects", "scaledjobs", "triggerauthentications"] {
            until_established(control_plane, &format!("{kind}.keda.sh")).await?;
        }
        control_plane.apply_yaml(OBJECTS).await?;
        let certificates = control_plane.dir().join("keda");
        let authority = write_certificates(&certificates)?;
        let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client(), NAMESPACE);
        wait::until("KEDA's ServiceAccount", SOON, async || Ok(accounts.get_opt(ACCOUNT).await?))
            .await?;
        let kubeconfig = control_plane.service_account_kubeconfig(NAMESPACE, ACCOUNT).await?;
        let start = Start { control_plane, kubeconfig, folder, certificates };
        let (operator, port) = start.operator().await?;
        let (adapter, api_port) = start.adapter(port).await?;
        let api = Aggregated {
            group: "external.metrics.k8s.io",
            version: "v1beta1",
            service: SERVICE,
            port: api_port,
            certificate: Some(&authority),
        };
        api.register(&control_plane.client()).await.with_context(|| adapter.log_tail(20))?;
        Ok(Self { adapter, operator })
    }

    /// Returns the last lines of both logs, for error messages.
    pub fn log_tails(&self, lines: usize) -> String {
        let (operator, adapter) = (self.operator.log_tail(lines), self.adapter.log_tail(lines));
        format!("KEDA's operator:\n{operator}\nKEDA's metrics server:\n{adapter}")
    }
}

/// What both programs are started with.
struct Start<'a> {
    control_plane: &'a ControlPlane,
    kubeconfig: PathBuf,
    folder: PathBuf,
    certificates: PathBuf,
}

impl Start<'_> {
    /// Starts the operator. Returns the port at which the metrics server gets its numbers, too.
    async fn operator(&self) -> Result<(Process, u16)> {
        let service = server::free_port()?;
        let spec = |health: u16| {
            Ok(self.spec("keda-operator").args([
                "--leader-elect=false".to_owned(),
                "--enable-prometheus-metrics=false".to_owned(),
                format!("--health-probe-bind-address={ADDRESS}:{health}"),
                format!("--metrics-service-bind-address={ADDRESS}:{service}"),
                format!("--cert-dir={}", self.certificates.display()),
            ]))
        };
        let http = crate::http_client();
        let is_ready = async |health| {
            server::answers(&http, &format!("http://{ADDRESS}:{health}/readyz")).await
        };
        let (process, _) = server::start(spec, is_ready).await?;
        Ok((process, service))
    }

    /// Starts the metrics server. Returns the port of its API, too.
    async fn adapter(&self, service: u16) -> Result<(Process, u16)> {
        let (kubeconfig, certificates) = (self.kubeconfig.display(), self.certificates.display());
        let metrics = server::free_port()?;
        let spec = |port: u16| {
            Ok(self.spec("keda-adapter").args([
                format!("--bind-address={ADDRESS}"),
                format!("--secure-port={port}"),
                format!("--port={metrics}"),
                format!("--metrics-service-address={ADDRESS}:{service}"),
                format!("--cert-dir={certificates}"),
                format!("--tls-cert-file={certificates}/tls.crt"),
                format!("--tls-private-key-file={certificates}/tls.key"),
                format!("--lister-kubeconfig={kubeconfig}"),
                format!("--authentication-kubeconfig={kubeconfig}"),
                format!("--authorization-kubeconfig={kubeconfig}"),
            ]))
        };
        let https = crate::https_client(None)?;
        let is_ready =
            async |port| server::answers(&https, &format!("https://{ADDRESS}:{port}/readyz")).await;
        server::start(spec, is_ready).await
    }

    fn spec(&self, program: &str) -> Spec {
        let log = self.control_plane.dir().join(format!("{program}.log"));
        Spec::new(program, self.folder.join(program), log)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("WATCH_NAMESPACE", "")
            .env("POD_NAMESPACE", NAMESPACE)
            .env("KEDA_CLUSTER_OBJECT_NAMESPACE", NAMESPACE)
    }
}

/// Writes a certificate, its key and its authority to the folder where both programs look for them.
/// It is for the API server's connections, and for those between the two. Returns the authority.
fn write_certificates(dir: &Path) -> Result<String> {
    let authority = ClientAuthority::new()?;
    let (certificate, key) = authority.issue_to(&[ADDRESS, &host(SERVICE)])?;
    let pem = authority.pem();
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for (name, text) in [("ca.crt", &pem), ("tls.crt", &certificate), ("tls.key", &key)] {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(pem)
}

/// The namespace, the account, and the permission of HPAs to read external metrics, as KEDA's
/// manifests give it.
const OBJECTS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: keda}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: keda-operator, namespace: keda}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: keda-operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: keda-operator, namespace: keda}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: keda-external-metrics-reader}
rules:
- {apiGroups: [external.metrics.k8s.io], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: keda-hpa-controller-external-metrics}
roleRef:
  {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: keda-external-metrics-reader}
subjects:
- {kind: ServiceAccount, name: horizontal-pod-autoscaler, namespace: kube-system}
"#;
