//! The chart on a cluster: installed, upgraded, rolled back, uninstalled.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Packaging, wait};
use serde_json::{Value, json};

use crate::{
    copies::Copies,
    traffic,
    values::{RELEASE, SYSTEM, chart},
};

/// The label of namespaces in which only restricted pods may run.
const RESTRICTED: &str = "pod-security.kubernetes.io/enforce=restricted";

/// The guide's scenario, under the chart's ServiceAccount with two copies of which the leader is
/// killed. The release is upgraded, rolled back and uninstalled; CRD and targets stay.
pub(crate) async fn release_is_installed_upgraded_and_rolled_back(stage: &Stage) -> Result<String> {
    let release = Release::prepare(stage, SYSTEM).await?;
    let package = release.package("0.1.0").await?;
    let next = release.package("0.1.1").await?;
    let values = json!({"allowLoopback": true, "lease": {"durationSeconds": 5}});
    release.change(&["install", RELEASE, &package], &values).await?;
    let mut copies = Copies::start(stage, SYSTEM, RELEASE).await?;
    ensure!(copies.all.len() == 2, "{} copies", copies.all.len());
    let gap = traffic::grow_and_lose_the_leader(stage, &mut copies).await?;

    let values = json!({"replicas": 3, "lease": {"buckets": 2}});
    release.change(&["upgrade", RELEASE, &next, "--reset-then-reuse-values"], &values).await?;
    copies.follow_pods().await?;
    ensure!(copies.all.len() == 3, "{} copies after the upgrade", copies.all.len());
    traffic::grow(stage).await.with_context(|| copies.logs())?;

    release.helm(&["rollback", RELEASE, "1", "--wait", "--timeout=60s"]).await?;
    copies.follow_pods().await?;
    ensure!(copies.all.len() == 2, "{} copies after the rollback", copies.all.len());
    traffic::shrink(stage).await.with_context(|| copies.logs())?;
    traffic::grow(stage).await.with_context(|| copies.logs())?;
    let memory = copies.ensure_well()?;

    release.helm(&["uninstall", RELEASE, "--wait", "--timeout=60s"]).await?;
    drop(copies);
    traffic::ensure_left_alone(stage, 3).await?;
    release.ensure_gone(stage).await?;
    // What was left is taken over by the next installation.
    release.change(&["install", RELEASE, &package], &json!({"allowLoopback": true})).await?;
    let copies = Copies::start(stage, SYSTEM, RELEASE).await?;
    traffic::shrink(stage).await.with_context(|| copies.logs())?;
    release.helm(&["uninstall", RELEASE]).await?;
    drop(copies);
    release.remove_crd(stage).await?;
    Ok(format!(
        "1 -> 3 -> 1, {:.1} s after the leader was killed; at most {memory} MB",
        gap.as_secs_f64()
    ))
}

/// With `watchNamespace` the release has Roles only, and scales in that namespace, from its own.
pub(crate) async fn release_of_one_namespace(stage: &Stage) -> Result<String> {
    let system = "llm-autoscaler-one";
    let release = Release::prepare(stage, system).await?;
    let values = json!({
        "allowLoopback": true,
        "watchNamespace": stage.namespace,
        "rbac": {"credentialsNamespaces": [stage.namespace], "drain": true},
        "networkPolicy": {"enabled": true},
    });
    release.change(&["install", RELEASE, &chart()], &values).await?;
    let manifest = release.helm(&["get", "manifest", RELEASE]).await?;
    ensure!(!manifest.contains("kind: ClusterRole"), "it has a ClusterRole");
    let mut copies = Copies::start(stage, system, RELEASE).await?;
    traffic::grow_and_lose_the_leader(stage, &mut copies).await?;
    let memory = copies.ensure_well()?;
    for line in copies.logs().lines() {
        ensure!(!line.contains("forbidden"), "{line}");
    }
    release.helm(&["uninstall", RELEASE]).await?;
    drop(copies);
    release.remove_crd(stage).await?;
    Ok(format!("at most {memory} MB"))
}

/// Helm, for one namespace.
struct Release<'a> {
    stage: &'a Stage,
    packaging: Packaging,
    namespace: String,
}

impl<'a> Release<'a> {
    /// Creates the namespace, in which only restricted pods may run.
    async fn prepare(stage: &'a Stage, namespace: &str) -> Result<Self> {
        let packaging = Packaging::locate().await?;
        let cluster = stage.control_plane();
        // A scenario that has failed leaves it.
        let crd = "llmautoscalers.llmautoscaler.io";
        cluster.kubectl(["delete", "crd", crd, "--ignore-not-found"]).await?;
        cluster.kubectl(["create", "namespace", namespace]).await?;
        cluster.kubectl(["label", "namespace", namespace, RESTRICTED]).await?;
        Ok(Self { stage, packaging, namespace: namespace.to_owned() })
    }

    async fn helm(&self, args: &[&str]) -> Result<String> {
        let args = [args, &["--namespace", &self.namespace]].concat();
        self.packaging.helm(self.stage.control_plane(), &args).await
    }

    /// Installs or upgrades, and waits until everything is ready.
    async fn change(&self, args: &[&str], values: &Value) -> Result<()> {
        let file = self.packaging.folder().join("values.json");
        std::fs::write(&file, values.to_string())?;
        let file = file.to_string_lossy();
        let further = ["--wait", "--timeout=60s", "--values", &*file];
        let notes = self.helm(&[args, &further].concat()).await?;
        ensure!(notes.contains("kubectl get llmautoscalers"), "there are no notes: {notes}");
        self.ensure_admitted().await
    }

    /// Packages the chart as another version.
    async fn package(&self, version: &str) -> Result<String> {
        let folder = self.packaging.folder();
        let to = folder.to_string_lossy();
        let (chart, version_flag) = (chart(), format!("--version={version}"));
        let args = ["package", &*chart, &*version_flag, "--destination", &*to];
        self.packaging.helm(self.stage.control_plane(), &args).await?;
        Ok(folder.join(format!("llm-autoscaler-{version}.tgz")).to_string_lossy().into_owned())
    }

    /// Fails if the API server has refused a pod, as one that is not restricted.
    async fn ensure_admitted(&self) -> Result<()> {
        let args = ["-n", &self.namespace, "get", "events", "-o", "name", "--field-selector"];
        let refused = [&args[..], &["reason=FailedCreate"]].concat();
        let refused = self.stage.control_plane().kubectl(refused).await?;
        ensure!(refused.is_empty(), "pods were refused: {refused}");
        Ok(())
    }

    /// Fails if anything but the CRD is left.
    async fn ensure_gone(&self, stage: &Stage) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(stage.client(), &self.namespace);
        wait::until("the pods to be gone", SOON, async || {
            Ok(pods.list(&ListParams::default()).await?.items.is_empty().then_some(()))
        })
        .await?;
        let kinds = "deployments,services,serviceaccounts,pdb,clusterroles,clusterrolebindings,\
                     roles,rolebindings,crd";
        let selector = format!("app.kubernetes.io/instance={RELEASE}");
        let args = ["get", kinds, "-A", "-o", "name", "-l", &selector];
        let left = stage.control_plane().kubectl(args).await?;
        let crd = "customresourcedefinition.apiextensions.k8s.io/llmautoscalers.llmautoscaler.io";
        ensure!(left.trim() == crd, "these are left: {left}");
        // A role that Kubernetes has written again has no label.
        let roles = stage.control_plane().kubectl(["get", "clusterroles", "-o", "name"]).await?;
        ensure!(!roles.contains(RELEASE), "ClusterRoles are left: {roles}");
        Ok(())
    }

    /// Removes the CRD, and with it the LLMAutoscalers, for the next scenario.
    async fn remove_crd(&self, stage: &Stage) -> Result<()> {
        let args = ["delete", "crd", "llmautoscalers.llmautoscaler.io"];
        stage.control_plane().kubectl(args).await.map(drop)
    }
}
