//! LeaderWorkerSets by their real controller: each replica is a group of pods.
//!
//! The first use builds the controller, which takes some minutes.

mod role_scalers;
mod webhooks;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::runtime::wait::{await_condition, conditions};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use crate::process::{Process, Spec};
use crate::{ControlPlane, script, server, wait, workloads};
pub use role_scalers::RoleScalers;
use webhooks::Webhooks;

/// The script that builds the controller.
const BUILD: &str = "tests/lws/build.sh";
/// The time that the API server may take to serve the resource, or to call the webhooks.
const SOON: Duration = Duration::from_secs(30);
/// The API path of LeaderWorkerSets in the namespace `default`.
const PATH: &str = "/apis/leaderworkerset.x-k8s.io/v1/namespaces/default/leaderworkersets";

/// A version of the controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// v0.8.0.
    #[default]
    V0_8,
    /// v0.9.0, which has DisaggregatedSets too.
    V0_9,
}

impl Version {
    /// Returns the version of this name: `0.8` or `0.9`.
    ///
    /// # Errors
    /// Fails for another name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "0.8" => Ok(Self::V0_8),
            "0.9" => Ok(Self::V0_9),
            other => bail!("LeaderWorkerSet {other} is not pinned here; 0.8 and 0.9 are"),
        }
    }

    /// Returns the arguments of the script that builds it.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::V0_8 => &[],
            Self::V0_9 => &["0.9"],
        }
    }

    /// Returns the names of its CRDs.
    fn crds(self) -> &'static [&'static str] {
        match self {
            Self::V0_8 => &[CRDS[0]],
            Self::V0_9 => &CRDS,
        }
    }
}

/// The names of the CRDs of LeaderWorkerSets and of DisaggregatedSets.
const CRDS: [&str; 2] =
    ["leaderworkersets.leaderworkerset.x-k8s.io", "disaggregatedsets.disaggregatedset.x-k8s.io"];

/// LeaderWorkerSet's controller with its webhooks, running as a control plane's administrator.
///
/// Dropping it stops it. Its objects and its webhook configurations stay. From then on
/// LeaderWorkerSets cannot be created or edited and their pods cannot be created, because the
/// webhooks do not answer. Scales can still be written, and all other objects are unaffected.
#[derive(Debug)]
pub struct LeaderWorkerSets {
    process: Process,
}

impl LeaderWorkerSets {
    /// Installs the resource, starts the controller, and returns when the API server calls its
    /// webhooks. Without them LeaderWorkerSets would lack defaults that the controller needs.
    ///
    /// # Errors
    /// Fails if the controller cannot be built or does not become ready; the error ends with the
    /// tail of its log.
    pub async fn start(control_plane: &ControlPlane, version: Version) -> Result<Self> {
        let folder = script::folder_of(BUILD, version.arguments()).await?;
        install(control_plane, &folder.join("crds")).await.context("installing its CRDs")?;
        // The controller of v0.9 exits if one of its CRDs is not established.
        for crd in version.crds() {
            until_established(control_plane, crd).await?;
        }

        let webhooks = Webhooks::read(&folder.join("webhooks/manifests.yaml"))?;
        let dir = control_plane.dir().join("lws");
        let certificate = write_certificate(&dir)?;
        let program = folder.join("lws-manager");
        let spec = |port: u16| {
            let configuration = write_configuration(&dir, port)?;
            Ok(Spec::new("lws-manager", &program, dir.join("log"))
                .args([format!("--config={configuration}")])
                .env("KUBECONFIG", control_plane.kubeconfig()))
        };
        // The controller's certificate is self-signed.
        let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build()?;
        let is_ready = async |port| webhooks.are_served(&client, port).await;
        let (process, port) = server::start(spec, is_ready).await?;
        register(control_plane, &webhooks.configurations(port, &certificate)?).await.with_context(
            || {
                let log = process.log_tail(20);
                format!(
                    "registering LeaderWorkerSet's webhooks; the controller's log ends with:\n{log}"
                )
            },
        )?;
        Ok(Self { process })
    }

    /// Returns the last lines of its log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }
}

/// Installs the CRDs in a folder. A role of a DisaggregatedSet may have the field by which it asks
/// for a [scaler](RoleScalers).
async fn install(control_plane: &ControlPlane, folder: &Path) -> Result<()> {
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let text = std::fs::read_to_string(&path)?;
        let crds: Vec<Value> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("reading {}", path.display()))?;
        for mut crd in crds {
            if crd["metadata"]["name"] == CRDS[1] {
                role_scalers::add_mode(&mut crd);
            }
            control_plane.apply_yaml(&crd.to_string()).await?;
        }
    }
    Ok(())
}

/// Applies the webhook configurations, and returns when the API server calls the new webhooks.
async fn register(control_plane: &ControlPlane, configurations: &[Value]) -> Result<()> {
    for configuration in configurations {
        control_plane.apply_yaml(&configuration.to_string()).await?;
    }
    // Until the API server has noticed the change, it may call a previous controller that is gone.
    let asked = wait::until("a new LeaderWorkerSet to get its defaults", SOON, async || {
        Ok(gets_defaults(control_plane).await.unwrap_or(false).then_some(()))
    });
    let Err(vain) = asked.await else { return Ok(()) };
    match gets_defaults(control_plane).await {
        Ok(_) => Err(vain),
        Err(reason) => Err(reason.context(vain)),
    }
}

/// Waits until a CRD is established. `kubectl wait` fails on a CRD that has no conditions yet.
pub(crate) async fn until_established(control_plane: &ControlPlane, crd: &str) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(control_plane.client());
    let established = await_condition(definitions, crd, conditions::is_crd_established());
    let result = tokio::time::timeout(SOON, established).await;
    result.map_err(anyhow::Error::from).and_then(|established| Ok(established?)).with_context(
        || {
            format!(
                "waiting up to {} s for the API server to serve what {crd} defines",
                SOON.as_secs()
            )
        },
    )?;
    Ok(())
}

/// Returns true if the webhook sets defaults on a new object. The object is only created as a dry
/// run.
async fn gets_defaults(control_plane: &ControlPlane) -> Result<bool> {
    let object = workloads::leader_worker_set("probe", 1, 1, 8000);
    let request = Request::post(format!("{PATH}?dryRun=All"))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())?;
    let created: Value = control_plane.client().request(request).await?;
    // The schema has no default for this field, so only the webhook can have set it.
    Ok(created["spec"]["networkConfig"].is_object())
}

/// Writes a self-signed certificate and its key to the folder that the configuration names, and
/// returns the certificate.
fn write_certificate(dir: &Path) -> Result<String> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()])
        .context("making a certificate for 127.0.0.1")?;
    std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for (name, text) in [("tls.crt", cert.pem()), ("tls.key", signing_key.serialize_pem())] {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(cert.pem())
}

/// Writes a configuration by which the controller listens for its webhooks and nothing else, and
/// returns its path.
fn write_configuration(dir: &Path, port: u16) -> Result<String> {
    let configuration = json!({
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": false},
        "internalCertManagement": {"enable": false},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": dir},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": "0"},
    });
    let path = dir.join("configuration.yaml");
    std::fs::write(&path, configuration.to_string())
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path.display().to_string())
}
