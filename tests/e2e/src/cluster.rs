//! What all scenarios share: a control plane with everything installed, and nodes.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, ResourceExt};
use llm_autoscaler_testbed::{
    ControlPlane, controlplane,
    engine::{Engine, Script},
    nodes::{HollowNodes, Plan},
    repository, wait,
    workloads::random_port,
};

/// Where `config/default` installs.
const SYSTEM: &str = "llm-autoscaler-system";

/// A control plane with the CRD, the RBAC and the manifests of `config/default`, and hollow nodes.
pub struct Cluster {
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The kubeconfig of the operator's ServiceAccount.
    pub operator_kubeconfig: PathBuf,
    /// The port that all pods of this run serve on.
    pub port: u16,
    scripts: Scripts,
    _nodes: HollowNodes,
}

type Scripts = Arc<Mutex<HashMap<String, Script>>>;

impl Cluster {
    /// Starts everything, and installs what a user would.
    ///
    /// # Errors
    /// Where something does not start, or a manifest is refused.
    pub async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start(controlplane::Options::default()).await?;
        let scripts = Scripts::default();
        let plans = scripts.clone();
        let nodes = HollowNodes::start(control_plane.client(), 1, move |pod| plan(&plans, pod)).await?;
        control_plane
            .apply_file(repository().join("config/default"))
            .await
            .context("installing config/default")?;
        let crd = "crd/llmautoscalers.llmautoscaler.io";
        control_plane.kubectl(["wait", "--for=condition=Established", crd, "--timeout=30s"]).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client(), SYSTEM);
        wait::until("the ServiceAccount", Duration::from_secs(30), async || {
            Ok(accounts.get_opt("llm-autoscaler").await?)
        })
        .await?;
        let operator_kubeconfig = control_plane.service_account_kubeconfig(SYSTEM, "llm-autoscaler").await?;
        Ok(Self { control_plane, operator_kubeconfig, port: random_port(), scripts, _nodes: nodes })
    }

    /// Makes the pods of a namespace say what a script says.
    pub(crate) fn direct(&self, namespace: &str, script: Script) {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned(), script);
    }
}

fn plan(scripts: &Scripts, pod: &Pod) -> Plan {
    let scripts = scripts.lock().unwrap_or_else(PoisonError::into_inner);
    let script = pod.namespace().and_then(|namespace| scripts.get(&namespace).cloned());
    Plan::new(script.map_or(Engine::Nothing, Engine::Scripted))
}

/// The binary under test, beside this one.
///
/// # Errors
/// It has not been built.
pub(crate) fn operator_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LLM_AUTOSCALER_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("this test has no folder")?;
    let binary = folder.join("llm-autoscaler");
    anyhow::ensure!(binary.exists(), "{} is not there: cargo build -p llm-autoscaler", binary.display());
    Ok(binary)
}
