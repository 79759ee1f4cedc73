//! Argo CD's customization of the kind: `deploy/argocd`.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::gitops::{self, GitOpsTools};
use serde_json::json;

use crate::health::{expect, object_of, until_current};

/// The tests beside the scripts pass, and the ConfigMap has these very scripts.
pub(crate) async fn scripts_pass_their_tests(_: &Stage) -> Result<String> {
    let folder = gitops::customization();
    let read = |path: &str| std::fs::read_to_string(folder.join(path));
    let config: ConfigMap = serde_saphyr::from_str(&read("../../argocd-cm.yaml")?)?;
    let data = config.data.unwrap_or_default();
    let health = data.get("resource.customizations.health.llmautoscaler.io_LLMAutoscaler");
    ensure!(health == Some(&read("health.lua")?), "argocd-cm.yaml has another health script");
    let actions = data.get("resource.customizations.actions.llmautoscaler.io_LLMAutoscaler");
    let actions: serde_json::Value =
        serde_saphyr::from_str(actions.map(String::as_str).unwrap_or_default())?;
    let discovery = read("actions/discovery.lua")?;
    ensure!(actions["discovery.lua"] == discovery, "argocd-cm.yaml has another discovery");
    for (place, name) in ["pause", "resume"].into_iter().enumerate() {
        let (script, found) =
            (read(&format!("actions/{name}/action.lua"))?, &actions["definitions"][place]);
        ensure!(found["name"] == name && found["action.lua"] == script, "{name} is another script");
    }
    GitOpsTools::build().await?.test_customization().await
}

/// The actions pause and resume a real autoscaler.
pub(crate) async fn actions_pause_and_resume(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    stage.engine("a", 1).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    until_current(stage, &tools).await?;
    run(stage, &tools, "pause").await?;
    stage.until_condition("a", "Ready", "True", "Paused").await?;
    expect(stage, &tools, "Current", "Suspended").await?;
    run(stage, &tools, "resume").await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    expect(stage, &tools, "Current", "Healthy").await
}

/// Runs an action, and merges what has changed into the object, as Argo CD does.
async fn run(stage: &Stage, tools: &GitOpsTools, action: &str) -> Result<()> {
    let before = object_of(stage).await?;
    let after = tools.action(action, &before).await?;
    ensure!(after["spec"] == before["spec"], "{action} has changed the spec");
    // A key that the script has removed is null in a merge patch.
    let mut annotations = after["metadata"]["annotations"].clone();
    for (key, _) in before["metadata"]["annotations"].as_object().into_iter().flatten() {
        if annotations.get(key).is_none() {
            annotations[key] = serde_json::Value::Null;
        }
    }
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    stage.api::<LLMAutoscaler>().patch("a", &PatchParams::default(), &patch).await?;
    Ok(())
}
