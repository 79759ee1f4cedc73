//! The copies of the operator that a Deployment asks for, run as a kubelet would.
//!
//! Each pod that the Deployment's controller has created gets a process: the binary under test with
//! the arguments, the environment and the memory limit of the pod's container, a token of its
//! ServiceAccount, and the name of the pod. Only these differ from a cluster, because all copies
//! are on one machine: the ports of the two addresses, the folder of mounted Secrets, which is
//! empty, and the API server's address, which is in a kubeconfig.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Container, EnvVar, Pod},
};
use kube::{Api, ResourceExt, api::ListParams};
use llm_autoscaler_api::Quantity;
use llm_autoscaler_e2e::{SOON, Stage, operator_binary, own_address};
use llm_autoscaler_testbed::{
    process::{Process, Spec},
    wait,
};

/// The copies of the operator that a Deployment asks for.
pub(crate) struct Copies<'a> {
    stage: &'a Stage,
    namespace: String,
    name: String,
    kubeconfig: PathBuf,
    pub(crate) all: Vec<Copy>,
    /// The number of processes so far, for the names of their logs.
    started: usize,
}

/// A copy: a pod and its process.
pub(crate) struct Copy {
    pod: Pod,
    process: Process,
    /// The URL of its health and metrics.
    url: String,
    /// The memory limit of its container, in bytes.
    limit: u64,
}

impl<'a> Copies<'a> {
    /// Starts a process for each pod of a Deployment, and waits until all are ready.
    pub(crate) async fn start(stage: &'a Stage, namespace: &str, name: &str) -> Result<Self> {
        let mut copies = Self {
            stage,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            kubeconfig: PathBuf::new(),
            all: Vec::new(),
            started: 0,
        };
        copies.follow_pods().await?;
        Ok(copies)
    }

    /// Ends the processes of pods that are gone by SIGTERM, and starts those of new ones, as in a
    /// rolling update.
    pub(crate) async fn follow_pods(&mut self) -> Result<()> {
        let pods = self.pods().await?;
        let account = pods[0].spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.context("the pods have no ServiceAccount")?;
        let cluster = self.stage.control_plane();
        self.kubeconfig = cluster.service_account_kubeconfig(&self.namespace, &account).await?;
        let is_there = |pod: &Pod| pods.iter().any(|new| new.uid() == pod.uid());
        for copy in self.all.extract_if(.., |copy| !is_there(&copy.pod)) {
            copy.process.terminate()?;
            wait::until("a copy to end", SOON, async || {
                Ok(copy.process.pid().is_none().then_some(()))
            })
            .await?;
        }
        for pod in pods {
            if !self.all.iter().any(|copy| copy.pod.uid() == pod.uid()) {
                let copy = self.run(pod)?;
                self.all.push(copy);
            }
        }
        for copy in &self.all {
            copy.until_ready().await?;
        }
        Ok(())
    }

    /// Waits until the Deployment has rolled out. Returns its pods.
    async fn pods(&self) -> Result<Vec<Pod>> {
        let client = self.stage.client();
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &self.namespace);
        let pods: Api<Pod> = Api::namespaced(client, &self.namespace);
        wait::until("the Deployment to roll out", SOON, async || {
            let deployment = deployments.get(&self.name).await?;
            let generation = deployment.metadata.generation;
            let spec = deployment.spec.context("no spec")?;
            let status = deployment.status.unwrap_or_default();
            let labels = spec.selector.match_labels.unwrap_or_default();
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let found = pods.list(&ListParams::default().labels(&labels.join(","))).await?.items;
            let found: Vec<Pod> =
                found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
            let has_rolled_out = status.observed_generation == generation
                && status.updated_replicas == spec.replicas
                && status.available_replicas == spec.replicas
                && i32::try_from(found.len()).ok() == spec.replicas;
            Ok(has_rolled_out.then_some(found))
        })
        .await
    }

    fn run(&mut self, pod: Pod) -> Result<Copy> {
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first().cloned());
        let container = container.context("a pod without a container")?;
        let folder = self.stage.folder()?;
        let health = own_address();
        let is_kept = |arg: &&String| {
            !["--health-address=", "--wake-address="].iter().any(|flag| arg.starts_with(flag))
        };
        let args = container.args.iter().flatten().filter(is_kept);
        let args: Vec<_> = args.map(|arg| mounted(&container, arg, &folder)).collect();
        let addresses =
            [format!("--health-address={health}"), format!("--wake-address={}", own_address())];
        let limit = memory_limit(&container)?;
        self.started += 1;
        let log = folder.join(format!("{}-{}.log", pod.name_any(), self.started));
        // The limit is on the memory that the process may write to, which is more than it uses.
        let limited = [format!("--data={limit}"), operator_binary()?.display().to_string()];
        let mut spec =
            Spec::new("operator", "prlimit", log).args(limited).args(args).args(addresses);
        for variable in container.env.iter().flatten() {
            spec = spec.env(&variable.name, value(variable, &pod)?);
        }
        let process = Process::start(spec.env("KUBECONFIG", &self.kubeconfig))?;
        Ok(Copy { pod, process, url: format!("http://{health}"), limit })
    }

    /// Waits until one of the copies holds a Lease, and returns its position.
    pub(crate) async fn leader(&self) -> Result<usize> {
        wait::until("a copy to hold the Lease", SOON, async || {
            for (position, copy) in self.all.iter().enumerate() {
                let page = copy.metrics().await.unwrap_or_default();
                if page.lines().any(|line| line == "llm_autoscaler_leases_held 1") {
                    return Ok(Some(position));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Kills the process of the copy that holds the Lease. Returns its position.
    pub(crate) async fn kill_leader(&mut self) -> Result<usize> {
        let leader = self.leader().await?;
        self.all[leader].process.stop();
        Ok(leader)
    }

    /// Starts the process of a copy again, as a kubelet does after a crash.
    pub(crate) async fn restart(&mut self, position: usize) -> Result<()> {
        let copy = self.run(self.all[position].pod.clone())?;
        self.all[position] = copy;
        self.all[position].until_ready().await
    }

    /// Fails if a copy has ended by itself or has had more memory than its limit. Returns the most
    /// memory that a copy has had, in MB.
    pub(crate) fn ensure_well(&mut self) -> Result<u64> {
        let mut most = 0;
        for copy in &mut self.all {
            let name = copy.pod.name_any();
            ensure!(copy.process.exited().is_none(), "{name} ended: {}", copy.process.log_tail(20));
            let pid = copy.process.pid().with_context(|| format!("{name} does not run"))?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.and_then(|peak| peak.split_whitespace().next()).context("no peak")?;
            let peak = 1024 * peak.parse::<u64>()?;
            ensure!(peak < copy.limit, "{name} has had {peak} bytes of {}", copy.limit);
            most = most.max(peak / 1_000_000);
        }
        Ok(most)
    }

    /// Returns the ends of the logs of all copies.
    pub(crate) fn logs(&self) -> String {
        let tails = self
            .all
            .iter()
            .map(|copy| format!("{}:\n{}", copy.pod.name_any(), copy.process.log_tail(25)));
        tails.collect::<Vec<_>>().join("\n")
    }
}

impl Copy {
    async fn until_ready(&self) -> Result<()> {
        let url = format!("{}/readyz", self.url);
        let client = llm_autoscaler_testbed::http_client();
        let ready = wait::until("a copy to be ready", SOON, async || {
            let answer = client.get(&url).send().await;
            Ok(answer.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        });
        ready.await.with_context(|| self.process.log_tail(20))
    }

    async fn metrics(&self) -> Result<String> {
        let url = format!("{}/metrics", self.url);
        Ok(llm_autoscaler_testbed::http_client().get(url).send().await?.text().await?)
    }
}

/// Returns an argument with the folder in place of the paths where volumes are mounted.
fn mounted(container: &Container, arg: &str, folder: &Path) -> String {
    let mounts = container.volume_mounts.iter().flatten();
    mounts.fold(arg.to_owned(), |arg, mount| {
        arg.replace(&mount.mount_path, &folder.join(&mount.name).to_string_lossy())
    })
}

fn memory_limit(container: &Container) -> Result<u64> {
    let resources = container.resources.as_ref().and_then(|resources| resources.limits.clone());
    let limit = resources.and_then(|limits| limits.get("memory").cloned());
    let limit = limit.context("the container has no limit of its memory")?;
    Ok(u64::try_from(Quantity(limit.0).milli()?.0 / 1000)?)
}

/// Returns the value of a variable, which may be a field of the pod.
fn value(variable: &EnvVar, pod: &Pod) -> Result<String> {
    let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
    match field.map(|field| &*field.field_path) {
        None => variable.value.clone().context("a variable without a value"),
        Some("metadata.name") => Ok(pod.name_any()),
        Some("metadata.namespace") => pod.namespace().context("a pod without a namespace"),
        Some(other) => anyhow::bail!("{} is from {other}", variable.name),
    }
}
