//! The manifests that are installed, and the objects that the operator creates.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use llm_autoscaler_testbed::{repository, wait};
use serde_json::json;

use crate::{Stage, stage::SOON};

/// Without the monitoring CRDs a condition reports that and scaling goes on. With them the
/// PodMonitor is applied, kept and, on request, removed.
pub(super) async fn pod_monitor_needs_its_crd(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    stage.engine("a", 1).await?;
    stage.waiting("a", 11);
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "PodMonitorReady", "False", "MonitoringNotInstalled").await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;

    cluster.apply_yaml(include_str!("../../fixtures/podmonitor-crd.yaml")).await?;
    let crd = "crd/podmonitors.monitoring.coreos.com";
    cluster.kubectl(["wait", "--for=condition=Established", crd, "--timeout=30s"]).await?;
    stage.autoscaler("a", json!({"podMonitor": {"labels": {"release": "prom"}}})).await?;
    stage.until_condition("a", "PodMonitorReady", "True", "Applied").await?;
    let get = ["-n", &stage.namespace, "get", "podmonitor", "a", "-o"];
    let text = cluster.kubectl([&get[..], &["json", "--show-managed-fields"]].concat()).await?;
    let monitor: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(monitor["metadata"]["labels"]["release"] == "prom", "{monitor}");
    ensure!(monitor["metadata"]["ownerReferences"][0]["kind"] == "LLMAutoscaler", "{monitor}");
    ensure!(monitor["spec"]["selector"] == json!({"matchLabels": {"app": "a"}}), "{monitor}");
    let manager = &monitor["metadata"]["managedFields"][0]["manager"];
    ensure!(manager == "llm-autoscaler-children", "{manager}");

    stage.autoscaler("a", json!({"podMonitor": {"mode": "Disabled"}})).await?;
    wait::until("the PodMonitor to be gone", SOON, async || {
        let names = ["-n", &stage.namespace, "get", "podmonitors", "-o", "name"];
        Ok(cluster.kubectl(names).await?.is_empty().then_some(()))
    })
    .await?;
    owns_replicas(stage).await
}

/// Checks that the field manager of scaling owns the replicas, so that GitOps tools can ignore
/// them.
async fn owns_replicas(stage: &Stage) -> Result<()> {
    let fields =
        stage.api::<StatefulSet>().get("a").await?.metadata.managed_fields.unwrap_or_default();
    let scale = fields.iter().find(|entry| entry.subresource.as_deref() == Some("scale"));
    let manager = scale.and_then(|entry| entry.manager.as_deref());
    ensure!(manager == Some("llm-autoscaler-scale"), "{manager:?}");
    Ok(())
}

/// The one-file installation equals the output of kustomize for `config/default`.
pub(super) async fn install_yaml_is_config_default(stage: &Stage) -> Result<()> {
    let root = repository();
    let rendered = stage
        .control_plane()
        .kubectl(["kustomize", &root.join("config/default").to_string_lossy()])
        .await?;
    let kept = tokio::fs::read_to_string(root.join("deploy/install.yaml")).await?;
    ensure!(rendered == kept, "deploy/install.yaml is out of date: run `make crds`");
    stage
        .control_plane()
        .kubectl([
            "apply",
            "--dry-run=server",
            "-k",
            &root.join("config/samples").to_string_lossy(),
        ])
        .await?;
    Ok(())
}
