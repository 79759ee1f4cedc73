//! A real Kubernetes control plane on loopback: etcd, API server, controller manager.

mod binaries;
mod bulk;
mod components;
mod keys;
mod kubectl;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tempfile::TempDir;

use crate::process::Process;
use binaries::Binaries;
pub use bulk::StoredObject;
use components::{Components, Ports};

/// The options of a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// The time that the API server may take to become ready.
    pub ready_timeout: Duration,
    /// Further arguments of the API server.
    pub apiserver_args: Vec<String>,
    /// Further arguments of the controller manager.
    pub controller_manager_args: Vec<String>,
    /// True if the requests of service accounts are logged: [`ControlPlane::audit_log`].
    pub audit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ready_timeout: Duration::from_mins(2),
            apiserver_args: Vec::new(),
            controller_manager_args: Vec::new(),
            audit: false,
        }
    }
}

/// A running control plane, with RBAC on, in a folder of its own.
///
/// There is no scheduler and no kubelet: pods stay pending unless
/// [`HollowNodes`](crate::HollowNodes) run them. Dropping it stops everything and removes the
/// folder; so does the death of this process.
pub struct ControlPlane {
    // The fields are dropped in this order, so the programs stop before their folder is removed.
    controller_manager: Mutex<Process>,
    apiserver: Mutex<Process>,
    etcd: Process,
    dir: TempDir,
    binaries: Binaries,
    url: String,
    etcd_url: String,
    client: Client,
}

/// Another program took a port that was free before our program could listen on it; a retry may
/// succeed.
#[derive(Debug)]
struct PortLost(String);

impl ControlPlane {
    /// Starts a control plane and waits until it serves. The first start builds its programs, which
    /// takes some minutes.
    ///
    /// # Errors
    /// Fails if a program cannot be built or does not become ready; the error ends with the tail of
    /// its log.
    pub async fn start(options: Options) -> Result<Self> {
        crate::install_crypto();
        let binaries = Binaries::locate().await?;
        let mut lost = String::new();
        for _ in 0..4 {
            match Self::try_start(&options, binaries.clone()).await? {
                Ok(plane) => return Ok(plane),
                Err(PortLost(log)) => lost = log,
            }
        }
        bail!(
            "other programs took the ports of the control plane four times in a row; the last log:\n{lost}"
        )
    }

    async fn try_start(options: &Options, binaries: Binaries) -> Result<Result<Self, PortLost>> {
        let dir = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        let ports = Ports::free()?;
        let url = format!("https://127.0.0.1:{}", ports.apiserver);
        let components = Components::prepare(dir.path(), &binaries, &ports, options)?;
        write_kubeconfig(&components.kubeconfig(), &url, &components.admin_token)?;
        let client = client(&components.kubeconfig()).await?;

        let mut etcd = components.start_etcd()?;
        let mut apiserver = components.start_apiserver()?;
        let ready = async || is_ready(&client).await;
        if let Err(lost) =
            wait_for(&mut [&mut etcd, &mut apiserver], options, "the API server", ready).await?
        {
            return Ok(Err(lost));
        }
        let mut controller_manager = components.start_controller_manager()?;
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
        // A namespace admits no pods before its default ServiceAccount exists.
        let ready = async || matches!(accounts.get_opt("default").await, Ok(Some(_)));
        let mut processes = [&mut etcd, &mut apiserver, &mut controller_manager];
        if let Err(lost) =
            wait_for(&mut processes, options, "the controller manager", ready).await?
        {
            return Ok(Err(lost));
        }
        let [controller_manager, apiserver] = [controller_manager, apiserver].map(Mutex::new);
        let etcd_url = format!("http://127.0.0.1:{}", ports.etcd);
        Ok(Ok(Self { controller_manager, apiserver, etcd, dir, binaries, url, etcd_url, client }))
    }

    /// Returns a client of the administrator (group `system:masters`).
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Returns the URL of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the folder with logs, keys and data. It is removed with the control plane.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of the audit log, with an `Event` of `audit.k8s.io/v1` in each line. It
    /// exists if [`Options::audit`] is set.
    pub fn audit_log(&self) -> PathBuf {
        self.dir.path().join(components::AUDIT_LOG)
    }

    /// Returns the path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Returns the path of the `kubectl` that has this control plane's version.
    pub fn kubectl_path(&self) -> &Path {
        &self.binaries.kubectl
    }

    /// Requests a token of a ServiceAccount, valid for a day.
    ///
    /// # Errors
    /// Fails if the account does not exist.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(24 * 60 * 60),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = Api::<ServiceAccount>::namespaced(self.client(), namespace)
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| {
                format!("asking for a token of the service account {namespace}/{name}")
            })?;
        Ok(answer.status.context("the API server answered without a token")?.token)
    }

    /// Writes a kubeconfig with a fresh token of a ServiceAccount, valid for a day, and returns its
    /// path.
    ///
    /// # Errors
    /// Fails if the account does not exist.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.service_account_token(namespace, name).await?;
        let path = self.dir.path().join(format!("{namespace}-{name}.kubeconfig"));
        write_kubeconfig(&path, &self.url, &token)?;
        Ok(path)
    }

    /// Kills the API server with SIGKILL. Its objects stay in etcd.
    pub fn kill_api_server(&self) {
        lock(&self.apiserver).stop();
    }

    /// Starts the API server again at its former port, waits until it serves, and starts the
    /// controller manager again: its watches would wait for longer and longer otherwise.
    ///
    /// # Errors
    /// Fails if it does not become ready within a minute.
    pub async fn restart_api_server(&self) -> Result<()> {
        lock(&self.apiserver).restart()?;
        let limit = Duration::from_mins(1);
        crate::wait::until("the API server to be ready again", limit, async || {
            // An outgoing connection of another program may have its port for a moment.
            if lock(&self.apiserver).exited().is_some() {
                lock(&self.apiserver).restart()?;
            }
            Ok(is_ready(&self.client).await.then_some(()))
        })
        .await?;
        lock(&self.controller_manager).restart()
    }

    /// Returns the API server's own metrics page.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let request = axum::http::Request::get("/metrics").body(Vec::new())?;
        Ok(self.client.request_text(request).await?)
    }

    /// Stops the controller manager, where none of its controllers is needed any more.
    pub fn stop_controller_manager(&self) {
        lock(&self.controller_manager).stop();
    }

    /// Pauses etcd by SIGSTOP, so that no request of the API server that reaches it is answered.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause_etcd(&self) -> Result<()> {
        self.etcd.pause()
    }

    /// Lets a paused etcd go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume_etcd(&self) -> Result<()> {
        self.etcd.resume()
    }

    /// Returns the last lines of the logs of all programs, for error messages.
    pub fn log_tails(&self, lines: usize) -> String {
        [&self.etcd, &*lock(&self.apiserver), &*lock(&self.controller_manager)]
            .map(|process| format!("--- {}\n{}", process.name(), process.log_tail(lines)))
            .join("\n")
    }
}

fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates a client from a kubeconfig file.
///
/// # Errors
/// Fails if the file cannot be read or names no cluster.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    crate::install_crypto();
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("reading {}", kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn write_kubeconfig(path: &Path, url: &str, token: &str) -> Result<()> {
    // The API server generates a self-signed certificate. It is not verified, because connections
    // never leave loopback.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "clusters": [{
            "name": "testbed",
            "cluster": {"server": url, "insecure-skip-tls-verify": true},
        }],
        "users": [{"name": "testbed", "user": {"token": token}}],
        "contexts": [{
            "name": "testbed",
            "context": {"cluster": "testbed", "user": "testbed", "namespace": "default"},
        }],
    });
    let text = serde_json::to_string_pretty(&config)?;
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

async fn is_ready(client: &Client) -> bool {
    let Ok(request) = axum::http::Request::get("/readyz").body(Vec::new()) else {
        return false;
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), client.request_text(request)).await;
    matches!(answer, Ok(Ok(text)) if text == "ok")
}

/// Polls until `ready` holds, and fails at once if a program exits in the meantime.
async fn wait_for(
    processes: &mut [&mut Process],
    options: &Options,
    what: &str,
    ready: impl AsyncFn() -> bool,
) -> Result<Result<(), PortLost>> {
    let started = Instant::now();
    let mut next_report = Duration::from_secs(10);
    while !ready().await {
        for process in processes.iter_mut() {
            if let Some(status) = process.exited() {
                let log = process.log_tail(20);
                if log.contains("address already in use") {
                    return Ok(Err(PortLost(log)));
                }
                bail!(
                    "{} ended with {status} while starting; its log ends with:\n{log}",
                    process.name()
                );
            }
        }
        let elapsed = started.elapsed();
        if elapsed > options.ready_timeout {
            let log = processes.last().map(|process| process.log_tail(20)).unwrap_or_default();
            bail!(
                "{what} was not ready within {} s; its log ends with:\n{log}",
                options.ready_timeout.as_secs()
            );
        }
        if elapsed > next_report {
            eprintln!("control plane: waiting for {what}, {} s", elapsed.as_secs());
            next_report += Duration::from_secs(10);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Ok(()))
}
