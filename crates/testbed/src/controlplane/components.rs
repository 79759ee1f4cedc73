//! The programs of a control plane with their arguments.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::binaries::Binaries;
use super::{
    Options,
    keys::{self, FrontProxy},
};
use crate::process::{Process, Spec};

/// The file of the audit log.
pub(super) const AUDIT_LOG: &str = "audit.log";
/// The file of its policy.
const AUDIT_POLICY: &str = "audit-policy.yaml";
/// Logs each request of a ServiceAccount once it is answered, and each watch when it begins; sizes,
/// statuses and Leases with what is written.
const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  userGroups: [system:serviceaccounts]
  verbs: [patch, update]
  resources:
  - {group: apps, resources: [statefulsets/scale]}
  - {group: llmautoscaler.io, resources: [llmautoscalers/status]}
- level: Request
  userGroups: [system:serviceaccounts]
  verbs: [create, patch, update]
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
- {level: Metadata, userGroups: [system:serviceaccounts]}
- {level: None}
";

/// The ports of the programs, all on 127.0.0.1.
pub(super) struct Ports {
    pub(super) etcd: u16,
    etcd_peer: u16,
    pub(super) apiserver: u16,
    controller_manager: u16,
}

impl Ports {
    /// Draws ports that are free at this moment. All are held while they are drawn, so they differ.
    pub(super) fn free() -> Result<Self> {
        let held = (0..4)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<Result<Vec<_>, _>>()
            .context("looking for free ports on 127.0.0.1")?;
        let port = |index: usize| held[index].local_addr().map(|address| address.port());
        Ok(Self {
            etcd: port(0)?,
            etcd_peer: port(1)?,
            apiserver: port(2)?,
            controller_manager: port(3)?,
        })
    }
}

/// The input of the programs' command lines.
pub(super) struct Components<'a> {
    dir: &'a Path,
    binaries: &'a Binaries,
    ports: &'a Ports,
    options: &'a Options,
    pub(super) admin_token: String,
}

impl<'a> Components<'a> {
    /// Writes the keys and tokens that the programs read at their start.
    pub(super) fn prepare(
        dir: &'a Path,
        binaries: &'a Binaries,
        ports: &'a Ports,
        options: &'a Options,
    ) -> Result<Self> {
        let (private, public) = keys::service_account_keys()?;
        let admin_token = format!("{:032x}", fastrand::u128(..));
        let front_proxy = FrontProxy::new()?;
        std::fs::write(dir.join("front-proxy-ca.crt"), front_proxy.authority)?;
        std::fs::write(dir.join("front-proxy.crt"), front_proxy.certificate)?;
        std::fs::write(dir.join("front-proxy.key"), front_proxy.key)?;
        std::fs::write(dir.join("sa.key"), private)?;
        std::fs::write(dir.join("sa.pub"), public)?;
        std::fs::write(
            dir.join("tokens.csv"),
            format!("{admin_token},admin,admin,system:masters\n"),
        )?;
        Ok(Self { dir, binaries, ports, options, admin_token })
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub(super) fn start_etcd(&self) -> Result<Process> {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        let mut spec = self.spec("etcd", &self.binaries.etcd).args([
            format!("--data-dir={}", self.path("etcd")),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".to_owned(), // the data lives no longer than the process
        ]);
        spec.remove = Some(self.dir.to_owned());
        Process::start(spec)
    }

    pub(super) fn start_apiserver(&self) -> Result<Process> {
        let spec = self.spec("kube-apiserver", &self.binaries.apiserver).args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            format!("--cert-dir={}", self.path("certs")),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.apiserver),
            // This is an address from the range for documentation: nothing of this host is
            // advertised, and none of its routes is needed.
            "--advertise-address=192.0.2.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", self.path("sa.pub")),
            format!("--service-account-signing-key-file={}", self.path("sa.key")),
            "--authorization-mode=RBAC".to_owned(),
            // Its identity for aggregated APIs, with kubeadm's names.
            format!("--requestheader-client-ca-file={}", self.path("front-proxy-ca.crt")),
            "--requestheader-allowed-names=front-proxy-client".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            format!("--proxy-client-cert-file={}", self.path("front-proxy.crt")),
            format!("--proxy-client-key-file={}", self.path("front-proxy.key")),
            format!("--token-auth-file={}", self.path("tokens.csv")),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--allow-privileged=true".to_owned(),
        ]);
        let spec = if self.options.audit { self.with_audit(spec)? } else { spec };
        Process::start(spec.args(&self.options.apiserver_args))
    }

    fn with_audit(&self, spec: Spec) -> Result<Spec> {
        std::fs::write(self.dir.join(AUDIT_POLICY), POLICY)?;
        Ok(spec.args([
            format!("--audit-policy-file={}", self.path(AUDIT_POLICY)),
            format!("--audit-log-path={}", self.path(AUDIT_LOG)),
            // In megabytes. A log that is begun anew would lose the requests that are counted.
            "--audit-log-maxsize=10000".to_owned(),
        ]))
    }

    pub(super) fn start_controller_manager(&self) -> Result<Process> {
        let spec = self.spec("kube-controller-manager", &self.binaries.controller_manager).args([
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--service-account-private-key-file={}", self.path("sa.key")),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.ports.controller_manager),
            // Hollow nodes send no heartbeats, so the controllers that judge nodes by heartbeats
            // are off.
            "--controllers=*,-node-lifecycle-controller,-taint-eviction-controller".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ]);
        Process::start(spec.args(&self.options.controller_manager_args))
    }

    fn spec(&self, name: &str, program: &Path) -> Spec {
        Spec::new(name, program, self.dir.join(format!("{name}.log")))
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}
