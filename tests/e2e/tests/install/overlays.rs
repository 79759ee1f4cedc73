//! The overlays of config, by kustomize.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Packaging, repository};
use serde_json::json;

use crate::{
    copies::Copies,
    objects, traffic,
    values::{RELEASE, SYSTEM},
};

/// config/ha is installed with the guide's scenario and a leader that is killed. What it has
/// labelled is removed again; CRD and targets stay.
pub(crate) async fn overlay_is_installed_and_removed(stage: &Stage) -> Result<String> {
    let (packaging, cluster) = (Packaging::locate().await?, stage.control_plane());
    let mut objects = objects::parse(&packaging.kustomize(repository().join("config/ha")).await?)?;
    // Pods of the testbed are at loopback addresses.
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        let env = container["env"].as_array_mut().context("no environment")?;
        env.push(json!({"name": "ALLOW_LOOPBACK", "value": "true"}));
    }
    // The namespace exists from the chart's scenario, if that has run.
    cluster.apply_yaml(&objects::write(&objects)).await?;
    let mut copies = Copies::start(stage, SYSTEM, RELEASE).await?;
    ensure!(copies.all.len() == 2, "{} copies", copies.all.len());
    let gap = traffic::grow_and_lose_the_leader(stage, &mut copies).await?;
    let budget = ["-n", SYSTEM, "get", "pdb", RELEASE, "-o", "jsonpath={.status.currentHealthy}"];
    ensure!(cluster.kubectl(budget).await? == "2", "the budget does not count both copies");
    let memory = copies.ensure_well()?;

    let file = packaging.folder().join("objects.yaml");
    std::fs::write(&file, objects::write(&objects))?;
    // The CRD has no label, so this leaves it, as docs/install.md says.
    let label = "app.kubernetes.io/name=llm-autoscaler";
    cluster.kubectl(["delete", "-l", label, "-f", &*file.to_string_lossy()]).await?;
    let roles = cluster.kubectl(["get", "clusterroles", "-o", "name"]).await?;
    ensure!(!roles.contains(RELEASE), "ClusterRoles are left: {roles}");
    drop(copies);
    traffic::ensure_left_alone(stage, 1).await?;
    cluster.kubectl(["delete", "crd", "llmautoscalers.llmautoscaler.io"]).await?;
    Ok(format!(
        "1 -> 3 -> 1, {:.1} s after the leader was killed; at most {memory} MB",
        gap.as_secs_f64()
    ))
}
