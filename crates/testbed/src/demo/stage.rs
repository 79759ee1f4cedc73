//! The cluster, the operator and the objects of the demo.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::PostParams;
use kube::{Api, Client};
use llm_autoscaler_testbed::controlplane::Options;
use llm_autoscaler_testbed::engine::Command;
use llm_autoscaler_testbed::process::{Process, Spec};
use llm_autoscaler_testbed::{
    Balance, ControlPlane, Emulated, Engine, Front, HollowNodes, Plan, repository, wait, workloads,
};

use super::watchers::Kubectl;
use super::{EngineKind, Story};

/// The name of the `StatefulSet` and of its autoscaler.
pub(super) const NAME: &str = "vllm-inference";
const OPERATOR_NAMESPACE: &str = "llm-autoscaler-system";
const OPERATOR_ACCOUNT: &str = "llm-autoscaler";
/// The time that an emulated engine takes to load its model.
const LOADING: Duration = Duration::from_secs(5);
/// The number of requests that an engine runs at once. With one replica, 11 of the 20 requests in
/// flight wait.
const SEQUENCES: usize = 9;

const AUTOSCALER: &str = r#"
apiVersion: llmautoscaler.io/v1alpha1
kind: LLMAutoscaler
metadata: {name: vllm-inference}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: vllm-inference}
  engine: VLLM
  minReplicas: 1
  maxReplicas: 3
  metrics:
  - signal: WaitingRequests
    target: {type: AverageValue, averageValue: "5"}
"#;

/// The parts of the demo that run.
pub(super) struct Stage {
    front: Front,
    _nodes: HollowNodes,
    plane: Arc<ControlPlane>,
}

impl Stage {
    pub(super) async fn create(engine: EngineKind, story: &Story) -> Result<Self> {
        let vllm = match engine {
            EngineKind::Vllm => Some(install_vllm().await?),
            EngineKind::Emulated => None,
        };
        story.log("starting etcd, kube-apiserver and kube-controller-manager");
        let plane = Arc::new(ControlPlane::start(Options::default()).await?);
        story.log(&format!("Kubernetes is ready at {}", plane.url()));
        let logs = plane.dir().to_owned();
        let nodes = HollowNodes::start(plane.client(), 3, move |_| match &vllm {
            Some(script) => Plan::new(Engine::Command(Command::shell(script, &logs))),
            None => Plan::new(emulated()),
        })
        .await?;
        install_operator(&plane).await?;
        let labels = format!("app={NAME}");
        let front =
            Front::start(plane.client(), "default", &labels, Balance::LeastOutstanding).await?;
        Ok(Self { front, _nodes: nodes, plane })
    }

    pub(super) fn client(&self) -> Client {
        self.plane.client()
    }

    pub(super) fn kubectl(&self) -> Kubectl {
        Kubectl(self.plane.clone())
    }

    /// Returns the administrator's kubeconfig.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.plane.kubeconfig()
    }

    pub(super) fn front_url(&self) -> String {
        self.front.url()
    }

    /// Returns the folder of the logs, which exists as long as this value.
    pub(super) fn dir(&self) -> &Path {
        self.plane.dir()
    }

    /// Starts the operator with the permissions of its ServiceAccount, as in a user's cluster.
    pub(super) async fn start_operator(&self, binary: &Path) -> Result<Process> {
        let account = self.plane.service_account_kubeconfig(OPERATOR_NAMESPACE, OPERATOR_ACCOUNT);
        let spec = Spec::new("operator", binary, self.plane.dir().join("operator.log"))
            .args(["run", "--allow-loopback"])
            .env("KUBECONFIG", account.await?)
            .env("HEALTH_ADDRESS", "127.0.0.1:0")
            .grace(Duration::from_secs(10));
        Process::start(spec)
    }

    /// Creates the workload, and waits until its pod is ready.
    pub(super) async fn create_workload(&self) -> Result<()> {
        let set = workloads::stateful_set(NAME, 1, workloads::random_port())?;
        let sets = Api::<StatefulSet>::default_namespaced(self.client());
        sets.create(&PostParams::default(), &set).await.context("creating the StatefulSet")?;
        self.wait_for_ready_replicas(1).await
    }

    /// Creates the autoscaler, and waits until it has read a metric.
    pub(super) async fn create_autoscaler(&self, story: &Story) -> Result<()> {
        self.plane.apply_yaml(AUTOSCALER).await?;
        story.show("creating its LLMAutoscaler:", AUTOSCALER.trim());
        let condition = "--for=condition=ScalingActive";
        let name = format!("llmautoscaler/{NAME}");
        self.plane.kubectl(["wait", condition, &name, "--timeout=60s"]).await?;
        Ok(())
    }

    pub(super) async fn wait_for_ready_replicas(&self, count: i32) -> Result<()> {
        let sets = Api::<StatefulSet>::default_namespaced(self.client());
        let what = format!("{count} replicas to become ready");
        wait::until(&what, Duration::from_mins(3), async || {
            let status = sets.get(NAME).await?.status.unwrap_or_default();
            Ok((status.ready_replicas == Some(count)).then_some(()))
        })
        .await
    }

    /// Returns the ends of the logs of pods that are programs.
    pub(super) fn pod_logs(&self) -> String {
        let log = |index| {
            let name = format!("{NAME}-{index}.log");
            let log = std::fs::read_to_string(self.plane.dir().join(&name)).ok()?;
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            Some(format!("\n{name} has this at the end of its log:\n{tail}\n"))
        };
        (0..3).filter_map(log).collect()
    }

    /// Returns the note of the event about the rescale.
    pub(super) async fn rescale_event(&self) -> Result<String> {
        let args = ["get", "events", "--field-selector=reason=SuccessfulRescale"];
        wait::until("the event SuccessfulRescale", Duration::from_secs(20), async || {
            let events = self.plane.kubectl(args).await?;
            Ok(events.contains("SuccessfulRescale").then_some(events))
        })
        .await
    }
}

/// Installs the CRD, the roles and the namespace, as a user does. The Deployment is left out,
/// because its image is not run here.
async fn install_operator(plane: &ControlPlane) -> Result<()> {
    let folder = repository().join("config/default");
    let folder = folder.to_str().context("the repository's path is not UTF-8")?;
    let everything = plane.kubectl(["kustomize", folder]).await?;
    let objects: Vec<_> = everything
        .split("\n---\n")
        .filter(|object| !object.lines().any(|line| line == "kind: Deployment"))
        .collect();
    plane.apply_yaml(&objects.join("\n---\n")).await?;
    let crd = "crd/llmautoscalers.llmautoscaler.io";
    plane.kubectl(["wait", "--for=condition=Established", crd, "--timeout=30s"]).await?;
    Ok(())
}

fn emulated() -> Engine {
    let mut emulated = Emulated::default();
    emulated.config.max_num_seqs = SEQUENCES;
    // Prefill is as fast as on a GPU, so the queue reaches its length at once.
    emulated.config.prefill_tokens_per_second = 100_000.0;
    emulated.loading = LOADING;
    Engine::Emulated(emulated)
}

/// Returns the folder of the scripts that install, serve and load vLLM.
pub(super) fn vllm_folder() -> Result<PathBuf> {
    repository().join("tests/vllm").canonicalize().context("looking for tests/vllm")
}

/// Installs vLLM if it is missing, and returns the script that serves in a pod.
async fn install_vllm() -> Result<String> {
    let folder = vllm_folder()?;
    let install = tokio::process::Command::new(folder.join("install.sh"))
        .stdout(std::process::Stdio::null())
        .status()
        .await
        .context("running tests/vllm/install.sh")?;
    ensure!(install.success(), "tests/vllm/install.sh failed; see its output above");
    Ok(format!(r#"exec "{}/serve.sh" --max-num-seqs {SEQUENCES}"#, folder.display()))
}
