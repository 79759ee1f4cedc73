//! A namespace with an operator of its own.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Namespace, Pod},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerStatus};
use llm_autoscaler_testbed::{
    ControlPlane,
    engine::{Engine, Page, Script},
    wait,
    workloads::stateful_set,
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, operator_binary},
    operator::Operator,
};

/// The timeout of anything that should happen soon, on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// A namespace, the pages of its pods, and an operator that watches the namespace.
pub struct Stage {
    cluster: Arc<Cluster>,
    /// The namespace.
    pub namespace: String,
    /// The pages of the pods.
    pub script: Script,
    /// The operator that watches the namespace.
    pub operator: Operator,
}

impl Stage {
    /// Creates the namespace, and starts the operator if its manifests are installed.
    ///
    /// # Errors
    /// Fails if either does.
    pub async fn create(cluster: Arc<Cluster>, namespace: &str) -> Result<Self> {
        Self::create_with(cluster, namespace, &[]).await
    }

    /// Like [`Stage::create`], with further arguments of the operator.
    ///
    /// # Errors
    /// Same as [`Stage::create`].
    pub async fn create_with(
        cluster: Arc<Cluster>,
        namespace: &str,
        operator_args: &[&str],
    ) -> Result<Self> {
        let (script, operator) = Self::set_up(&cluster, namespace, operator_args).await?;
        if cluster.is_installed {
            operator.start()?;
        }
        Ok(Self { cluster, namespace: namespace.to_owned(), script, operator })
    }

    /// Creates the namespace, and an operator that is not started.
    ///
    /// # Errors
    /// Fails if the API server refuses the namespace.
    pub async fn create_idle(cluster: Arc<Cluster>, namespace: &str) -> Result<Self> {
        let (script, operator) = Self::set_up(&cluster, namespace, &[]).await?;
        Ok(Self { cluster, namespace: namespace.to_owned(), script, operator })
    }

    /// Creates a namespace, the script of its pods, and an operator that is not started.
    async fn set_up(
        cluster: &Cluster,
        namespace: &str,
        operator_args: &[&str],
    ) -> Result<(Script, Operator)> {
        let namespaces: Api<Namespace> = Api::all(cluster.control_plane.client());
        let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
        namespaces
            .create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() })
            .await?;
        let script = Script::default();
        cluster.assign(namespace, "", Engine::Scripted(script.clone()));
        Ok((script, Operator::new(cluster, namespace, operator_args)))
    }

    /// Creates the namespace of a neighbour, with a script of its own and an operator that is not
    /// started: that of this stage serves both, and all others.
    ///
    /// # Errors
    /// Fails if the API server refuses the namespace, or the operator does not start.
    pub async fn with_neighbour(&self) -> Result<Self> {
        // The attacks of earlier scenarios would go on, since the operator serves them too.
        let all = ["delete", "llmautoscalers", "--all", "--all-namespaces"];
        self.control_plane().kubectl(all).await?;
        self.operator.serve_all_namespaces()?;
        self.further(&format!("{}-neighbour", self.namespace)).await
    }

    /// Creates a further namespace, with a script of its own and an operator that is not started.
    ///
    /// # Errors
    /// Fails if the API server refuses the namespace.
    pub async fn further(&self, namespace: &str) -> Result<Self> {
        let (script, operator) = Self::set_up(&self.cluster, namespace, &[]).await?;
        let (cluster, namespace) = (self.cluster.clone(), namespace.to_owned());
        Ok(Self { cluster, namespace, script, operator })
    }

    /// Returns a second operator for this namespace, which is not started.
    pub fn second_operator(&self) -> Operator {
        Operator::new(&self.cluster, &self.namespace, &[])
    }

    /// Assigns another engine than the script to the future pods of a StatefulSet.
    pub fn assign(&self, name: &str, engine: Engine) {
        self.cluster.assign(&self.namespace, &format!("{name}-"), engine);
    }

    /// Leaves future pods of this name pending.
    pub fn leave_pending(&self, pod: &str) {
        self.cluster.leave_pending(&self.namespace, pod);
    }

    /// Gives a node to a pod of this name, now or when it is created.
    pub fn make_room(&self, pod: &str) {
        self.cluster.make_room(&self.namespace, pod);
    }

    /// Returns the control plane.
    pub fn control_plane(&self) -> &ControlPlane {
        &self.cluster.control_plane
    }

    /// Returns a folder for the files of this namespace's programs: their logs, as POD.log.
    ///
    /// # Errors
    /// Fails if it cannot be created.
    pub fn folder(&self) -> Result<PathBuf> {
        let folder = self.control_plane().dir().join(&self.namespace);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    /// Returns the administrator's client.
    pub fn client(&self) -> Client {
        self.control_plane().client()
    }

    /// Returns the port that the pods serve on.
    pub fn port(&self) -> u16 {
        self.cluster.port
    }

    /// Returns the API of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Creates a StatefulSet, and waits until its pods are ready.
    ///
    /// # Errors
    /// Fails if they do not become ready in time.
    pub async fn engine(&self, name: &str, replicas: u32) -> Result<()> {
        self.create_engine(name, replicas).await?;
        self.until_ready(name, replicas.cast_signed()).await
    }

    /// Creates a StatefulSet.
    ///
    /// # Errors
    /// Fails if the API server refuses it.
    pub async fn create_engine(&self, name: &str, replicas: u32) -> Result<()> {
        let mut engine = stateful_set(name, replicas, self.port())?;
        engine.metadata.namespace = Some(self.namespace.clone());
        self.api::<StatefulSet>().create(&PostParams::default(), &engine).await?;
        Ok(())
    }

    /// Deletes a StatefulSet, and waits until its pods are gone.
    ///
    /// # Errors
    /// Fails if they are not in time.
    pub async fn delete_engine(&self, name: &str) -> Result<()> {
        self.api::<StatefulSet>().delete(name, &DeleteParams::default()).await?;
        let its = ListParams::default().labels(&format!("app={name}"));
        wait::until(&format!("the pods of {name} to be gone"), SOON, async || {
            Ok(self.api::<Pod>().list(&its).await?.items.is_empty().then_some(()))
        })
        .await
    }

    /// Waits until this many pods of a StatefulSet are ready.
    ///
    /// # Errors
    /// Fails if they are not in time.
    pub async fn until_ready(&self, name: &str, replicas: i32) -> Result<()> {
        self.until_ready_within(name, replicas, SOON).await
    }

    /// Like [`Stage::until_ready`], with a timeout.
    ///
    /// # Errors
    /// Same as [`Stage::until_ready`].
    pub async fn until_ready_within(
        &self,
        name: &str,
        replicas: i32,
        within: Duration,
    ) -> Result<()> {
        let api = self.api::<StatefulSet>();
        wait::until(&format!("{replicas} pods of {name} to be ready"), within, async || {
            let status = api.get(name).await?.status.unwrap_or_default();
            Ok((status.ready_replicas.unwrap_or(0) == replicas && status.replicas == replicas)
                .then_some(()))
        })
        .await
    }

    /// Applies an LLMAutoscaler for the StatefulSet of the same name: 1 to 3 replicas, 5 waiting
    /// requests each. `spec` is merged over that; a field that is null is left out.
    ///
    /// # Errors
    /// Fails if the API server refuses it.
    pub async fn autoscaler(&self, name: &str, spec: Value) -> Result<()> {
        let mut object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
                "engine": "VLLM",
                "minReplicas": 1,
                "maxReplicas": 3,
                "metrics": [{
                    "signal": "WaitingRequests",
                    "target": {"type": "AverageValue", "averageValue": "5"},
                }],
                "sources": [{"scrape": {"intervalSeconds": 1}}],
            },
        });
        for (field, value) in spec.as_object().context("a spec is an object")? {
            object["spec"][field] = value.clone();
        }
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.retain(|_, value| !value.is_null());
        }
        let params = PatchParams::apply("user").force();
        self.api::<LLMAutoscaler>().patch(name, &params, &Patch::Apply(object)).await?;
        Ok(())
    }

    /// Runs the binary under test as the administrator, and returns its standard output.
    ///
    /// # Errors
    /// Fails if the program does.
    pub async fn run_binary(&self, args: &[&str]) -> Result<String> {
        let kubeconfig = self.control_plane().kubeconfig();
        let mut command = tokio::process::Command::new(operator_binary()?);
        let output =
            command.args(args).env("KUBECONFIG", kubeconfig).kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Returns the number of replicas that a StatefulSet requests.
    ///
    /// # Errors
    /// Fails if it does not exist.
    pub async fn replicas(&self, name: &str) -> Result<i32> {
        let spec = self.api::<StatefulSet>().get(name).await?.spec.context("no spec")?;
        Ok(spec.replicas.unwrap_or(1))
    }

    /// Waits until a StatefulSet requests this many replicas.
    ///
    /// # Errors
    /// Fails if it does not within this time.
    pub async fn until_replicas(&self, name: &str, replicas: i32, within: Duration) -> Result<()> {
        wait::until(&format!("{name} to be scaled to {replicas}"), within, async || {
            Ok((self.replicas(name).await? == replicas).then_some(()))
        })
        .await
    }

    /// Watches a StatefulSet for a while, and fails if it ever requests another number of replicas.
    ///
    /// # Errors
    /// Fails if it does.
    pub async fn stays(&self, name: &str, replicas: i32, how_long: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + how_long;
        while tokio::time::Instant::now() < end {
            let now = self.replicas(name).await?;
            ensure!(
                now == replicas,
                "{name} was to stay at {replicas} replicas, and was scaled to {now}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Returns the status of an LLMAutoscaler.
    ///
    /// # Errors
    /// Fails if it does not exist.
    pub async fn status(&self, name: &str) -> Result<LLMAutoscalerStatus> {
        Ok(self.api::<LLMAutoscaler>().get(name).await?.status.unwrap_or_default())
    }

    /// Waits until a condition has a status and a reason, and returns the condition.
    ///
    /// # Errors
    /// Fails if it does not in time.
    pub async fn until_condition(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> Result<Condition> {
        wait::until(&format!("{name} to have {type_}={status}/{reason}"), SOON, async || {
            let conditions = self.status(name).await?.conditions;
            Ok(conditions
                .into_iter()
                .find(|c| c.type_ == type_ && c.status == status && c.reason == reason))
        })
        .await
    }

    /// Waits until an object has an event with this reason and a note that begins like this. Events
    /// are sent after the write that they are about.
    ///
    /// # Errors
    /// There is no such event in time, or the API server does not answer.
    pub async fn until_event(&self, name: &str, reason: &str, note: &str) -> Result<()> {
        wait::until(&format!("{name} to have an event {reason}: {note}"), SOON, async || {
            let notes = self.events(name, reason).await?;
            Ok(notes.iter().any(|found| found.starts_with(note)).then_some(()))
        })
        .await
    }

    /// Returns the notes of an LLMAutoscaler's events with a reason.
    ///
    /// # Errors
    /// Fails if the API server does not answer.
    pub async fn events(&self, name: &str, reason: &str) -> Result<Vec<String>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?;
        let about = |event: &Event| {
            event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some(name))
        };
        let chosen = events
            .items
            .into_iter()
            .filter(|event| about(event) && event.reason.as_deref() == Some(reason));
        Ok(chosen.filter_map(|event| event.note).collect())
    }

    /// Makes all pods of a StatefulSet, including future ones, report this many waiting requests.
    pub fn waiting(&self, name: &str, waiting: u64) {
        self.page(name, &Page::waiting(waiting));
    }

    /// Makes all pods of a StatefulSet, including future ones, answer with a page.
    pub fn page(&self, name: &str, page: &Page) {
        for ordinal in 0..10 {
            self.script.set(&format!("{}/{name}-{ordinal}", self.namespace), page.clone());
        }
    }

    /// Describes the state of the namespace, for failed scenarios.
    pub async fn scene(&self) -> String {
        let log = self.operator.log_tail(30);
        let describe = self
            .control_plane()
            .kubectl(["-n", &self.namespace, "describe", "llmautoscalers"])
            .await;
        let pods = self.api::<Pod>().list(&ListParams::default()).await;
        let pods = pods.map(|list| {
            list.items.iter().filter_map(|pod| pod.metadata.name.clone()).collect::<Vec<_>>()
        });
        format!(
            "--- {}\n{}\npods: {pods:?}\noperator:\n{log}\n{}---",
            self.namespace,
            describe.unwrap_or_default(),
            self.logs_of_pods()
        )
    }

    /// Returns the ends of the logs of pods that are programs.
    fn logs_of_pods(&self) -> String {
        let files = std::fs::read_dir(self.control_plane().dir().join(&self.namespace));
        let tail = |file: std::fs::DirEntry| {
            let log = std::fs::read(file.path()).ok()?;
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n");
            Some(format!("{} ends with:\n{end}\n", file.file_name().display()))
        };
        files.into_iter().flatten().flatten().filter_map(tail).collect()
    }
}
