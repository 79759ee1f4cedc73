//! Server-side apply, by kubectl as persons and Argo CD use it, and by Flux.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{gitops::GitOpsTools, wait};
use serde_json::json;

use super::{adopt, adopter, apply, expect_owners, manifest, owners, writer};

/// Persons and pipelines; Argo CD's manager, and its way with conflicts.
const APPLIERS: [(&str, &[&str]); 2] = [
    ("kubectl", &["--server-side"]),
    (
        "argocd-controller",
        &["--server-side", "--field-manager=argocd-controller", "--force-conflicts"],
    ),
];

/// A size that Git has set is adopted. Then Git can drop it although the autoscaler has never
/// changed it; without an autoscaler the target falls to one replica.
pub(crate) async fn size_is_adopted_before_git_drops_it(stage: &Stage) -> Result<()> {
    apply(stage, &["--server-side"], &manifest(stage, "alone", Some(2))?).await?;
    for (manager, args) in APPLIERS {
        apply(stage, args, &manifest(stage, manager, Some(2))?).await?;
        adopt(stage, manager).await?;
        let applier = format!("{manager} Apply");
        let mut both = [applier.as_str(), &adopter()];
        both.sort_unstable();
        expect_owners(stage, manager, &both).await?;
        // The same size again is no conflict.
        apply(stage, args, &manifest(stage, manager, Some(2))?).await?;
        apply(stage, args, &manifest(stage, manager, None)?).await?;
        expect_owners(stage, manager, &[&adopter()]).await?;
        stage.stays(manager, 2, Duration::from_secs(2)).await?;
        stage.waiting(manager, 11);
        stage.until_replicas(manager, 3, SOON).await?;
        expect_owners(stage, manager, &[&writer()]).await?;
        ensure!(stage.events(manager, "SizeAdopted").await?.len() == 1, "adopted twice");
    }
    apply(stage, &["--server-side"], &manifest(stage, "alone", None)?).await?;
    ensure!(stage.replicas("alone").await? == 1, "the size does not need to be adopted");
    Ok(())
}

/// While an autoscaler is paused its target is not written, not even to adopt it.
pub(crate) async fn paused_autoscaler_adopts_nothing(stage: &Stage) -> Result<()> {
    stage.operator.kill();
    apply(stage, &["--server-side"], &manifest(stage, "a", Some(2))?).await?;
    stage.until_ready("a", 2).await?;
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({})).await?;
    let annotate = |text: &'static str| ["-n", &stage.namespace, "annotate", "llmas", "a", text];
    stage.control_plane().kubectl(annotate("llmautoscaler.io/paused=true")).await?;
    stage.operator.start()?;
    stage.until_condition("a", "Ready", "True", "Paused").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    expect_owners(stage, "a", &["kubectl Apply"]).await?;
    stage.control_plane().kubectl(annotate("llmautoscaler.io/paused-")).await?;
    wait::until("the size to be adopted", SOON, async || {
        Ok(owners(stage, "a").await?.contains(&adopter()).then_some(()))
    })
    .await
}

/// A size that the autoscaler has written is its own: another one is a conflict, which Argo CD
/// forces, and a manifest without the field changes nothing.
pub(crate) async fn written_size_stays(stage: &Stage) -> Result<()> {
    for (manager, args) in APPLIERS {
        apply(stage, args, &manifest(stage, manager, Some(2))?).await?;
        stage.until_ready(manager, 2).await?;
        stage.waiting(manager, 11);
        stage.autoscaler(manager, json!({})).await?;
        stage.until_replicas(manager, 3, SOON).await?;
        expect_owners(stage, manager, &[&writer()]).await?;
        let again = apply(stage, args, &manifest(stage, manager, Some(2))?).await;
        if args.contains(&"--force-conflicts") {
            again?;
            stage.until_replicas(manager, 3, SOON).await?;
        } else {
            let error = again.err().context("another size was no conflict")?.to_string();
            ensure!(error.contains("conflict with \"llm-autoscaler-scale\""), "{error}");
        }
        apply(stage, args, &manifest(stage, manager, None)?).await?;
        stage.stays(manager, 3, Duration::from_secs(2)).await?;
        expect_owners(stage, manager, &[&writer()]).await?;
    }
    Ok(())
}

/// The size of a custom resource is adopted through its scale subresource.
pub(crate) async fn custom_resource_is_adopted(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    cluster.apply_yaml(include_str!("../../../fixtures/crew-crd.yaml")).await?;
    let crd = ["wait", "--for=condition=Established", "crd/crews.example.com", "--timeout=30s"];
    cluster.kubectl(crd).await?;
    let crew = |spec: serde_json::Value| {
        let metadata = json!({"name": "a", "namespace": stage.namespace});
        let (api_version, kind) = ("example.com/v1", "Crew");
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
            .to_string()
    };
    let flags = ["--server-side", "--field-manager=ci"];
    apply(stage, &flags, &crew(json!({"replicas": 2}))).await?;
    let target = json!({"apiVersion": "example.com/v1", "kind": "Crew", "name": "a"});
    stage.autoscaler("a", json!({"scaleTargetRef": target, "minReplicas": 2})).await?;
    let note = "spec.replicas of Crew/a belongs to llm-autoscaler-scale too now, beside ci";
    stage.until_event("a", "SizeAdopted", note).await?;
    apply(stage, &flags, &crew(json!({}))).await?;
    let kind = GroupVersionKind::gvk("example.com", "v1", "Crew");
    let kind = ApiResource::from_gvk_with_plural(&kind, "crews");
    let crews: Api<DynamicObject> = Api::namespaced_with(stage.client(), &stage.namespace, &kind);
    let found = crews.get("a").await?.data["spec"]["replicas"].clone();
    ensure!(found == json!(2), "the size is {found}");
    Ok(())
}

/// Flux sets its size again at each reconciliation, and may drop it once it is adopted or another
/// one has been written.
pub(crate) async fn flux_drops_the_size(stage: &Stage) -> Result<()> {
    let tools = GitOpsTools::build().await?;
    let flux = async |name: &str, replicas| {
        tools.flux_apply(stage.control_plane(), &manifest(stage, name, replicas)?).await
    };
    flux("alone", Some(2)).await?;
    flux("a", Some(2)).await?;
    adopt(stage, "a").await?;
    flux("a", None).await?;
    stage.stays("a", 2, Duration::from_secs(2)).await?;

    flux("b", Some(2)).await?;
    adopt(stage, "b").await?;
    stage.waiting("b", 11);
    stage.until_replicas("b", 3, SOON).await?;
    let changed = flux("b", Some(2)).await?;
    ensure!(changed.contains("configured"), "Flux has left the size alone: {changed}");
    stage.until_replicas("b", 3, SOON).await?;
    flux("b", None).await?;
    stage.stays("b", 3, Duration::from_secs(2)).await?;
    expect_owners(stage, "b", &[&writer()]).await?;

    flux("alone", None).await?;
    ensure!(stage.replicas("alone").await? == 1, "the size does not need to be adopted");
    Ok(())
}
