//! The cluster that all scenarios share: a control plane with everything installed, and hollow
//! nodes.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, ResourceExt};
use llm_autoscaler_testbed::{
    ControlPlane, controlplane,
    engine::Engine,
    nodes::{ColdStart, HollowNodes, Plan},
    repository, wait,
    workloads::random_port,
};

/// The namespace into which `config/default` installs.
const SYSTEM: &str = "llm-autoscaler-system";

/// A control plane with the CRD, the RBAC and the manifests of `config/default`, and hollow nodes.
pub struct Cluster {
    // Stopped first, while the API server still runs.
    _nodes: HollowNodes,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The kubeconfig of the operator's ServiceAccount.
    pub operator_kubeconfig: PathBuf,
    /// The port that all pods of this run serve on.
    pub port: u16,
    pod_plans: Arc<Mutex<PodPlans>>,
}

/// The plans of pods.
#[derive(Default)]
struct PodPlans {
    assignments: Vec<Assignment>,
    /// The names of unschedulable pods, as NAMESPACE/NAME.
    unschedulable: HashSet<String>,
}

/// The engine for the pods of a namespace with a name prefix.
struct Assignment {
    namespace: String,
    pods: String,
    engine: Engine,
}

impl Cluster {
    /// Starts everything, and installs the manifests as a user does.
    ///
    /// # Errors
    /// Fails if something does not start, or if a manifest is refused.
    pub async fn start() -> Result<Self> {
        Self::start_with(controlplane::Options::default()).await
    }

    /// Like [`Cluster::start`], with other arguments of the control plane.
    ///
    /// # Errors
    /// Same as [`Cluster::start`].
    pub async fn start_with(options: controlplane::Options) -> Result<Self> {
        let control_plane = ControlPlane::start(options).await?;
        let pod_plans = Arc::new(Mutex::new(PodPlans::default()));
        let plans = pod_plans.clone();
        let nodes =
            HollowNodes::start(control_plane.client(), 1, move |pod| plan(&plans, pod)).await?;
        control_plane
            .apply_file(repository().join("config/default"))
            .await
            .context("installing config/default")?;
        let crd = "crd/llmautoscalers.llmautoscaler.io";
        control_plane
            .kubectl(["wait", "--for=condition=Established", crd, "--timeout=30s"])
            .await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client(), SYSTEM);
        wait::until("the ServiceAccount", Duration::from_secs(30), async || {
            Ok(accounts.get_opt("llm-autoscaler").await?)
        })
        .await?;
        let operator_kubeconfig =
            control_plane.service_account_kubeconfig(SYSTEM, "llm-autoscaler").await?;
        Ok(Self {
            control_plane,
            operator_kubeconfig,
            port: random_port(),
            pod_plans,
            _nodes: nodes,
        })
    }

    /// Assigns an engine to the future pods of a namespace that have names beginning with `pods`.
    /// The longest matching prefix wins; of equal ones, the last. In pods without an engine nothing
    /// listens.
    pub(crate) fn assign(&self, namespace: &str, pods: &str, engine: Engine) {
        let (namespace, pods) = (namespace.to_owned(), pods.to_owned());
        self.pod_plans().assignments.push(Assignment { namespace, pods, engine });
    }

    /// Leaves future pods of this name pending, as without a free GPU.
    pub fn leave_pending(&self, namespace: &str, pod: &str) {
        self.pod_plans().unschedulable.insert(format!("{namespace}/{pod}"));
    }

    /// Gives a node to a pod that was left pending, as when a GPU becomes free.
    pub fn make_room(&self, namespace: &str, pod: &str) {
        self.pod_plans().unschedulable.remove(&format!("{namespace}/{pod}"));
    }

    fn pod_plans(&self) -> MutexGuard<'_, PodPlans> {
        self.pod_plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn plan(pod_plans: &Mutex<PodPlans>, pod: &Pod) -> Plan {
    let pod_plans = pod_plans.lock().unwrap_or_else(PoisonError::into_inner);
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let its = pod_plans.assignments.iter().filter(|assignment| {
        assignment.namespace == namespace && name.starts_with(&assignment.pods)
    });
    let engine = its
        .max_by_key(|assignment| assignment.pods.len())
        .map_or(Engine::Nothing, |assignment| assignment.engine.clone());
    let left_out = pod_plans.unschedulable.contains(&format!("{namespace}/{name}"));
    let plan = Plan::new(engine);
    if left_out { plan.cold_start(ColdStart::Unschedulable) } else { plan }
}

/// Returns the path of the binary under test, which is beside this program's folder.
///
/// # Errors
/// Fails if it has not been built.
pub fn operator_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LLM_AUTOSCALER_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(|deps| deps.parent()).context("this test has no folder")?;
    let binary = folder.join("llm-autoscaler");
    anyhow::ensure!(
        binary.exists(),
        "{} is not there: cargo build -p llm-autoscaler",
        binary.display()
    );
    Ok(binary)
}
