//! Sizes that others set.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

/// Sets a size under the field manager `manager`.
async fn set(stage: &Stage, name: &str, replicas: i32, manager: &str) -> Result<()> {
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    stage.api::<StatefulSet>().patch(name, &params, &patch).await?;
    Ok(())
}

/// By default a size that the metrics do not require is changed back at once.
pub(crate) async fn manual_size_is_reverted_at_once(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_ready("a", 3).await?;
    set(stage, "a", 1, "kubectl-edit").await?;
    stage.until_replicas("a", 3, SOON).await?;
    let status = stage.status("a").await?;
    ensure!(
        !status.conditions.iter().any(|condition| condition.type_ == "ManualChange"),
        "{status:?}"
    );
    let page = stage.operator.metrics().await?;
    ensure!(page.contains("llm_autoscaler_changes_by_others_total 1"), "{page}");
    Ok(())
}

/// With `manualChange` in the spec a size that others set stays for that time, even out of bounds
/// and across a restart.
pub(crate) async fn manual_size_is_respected_for_a_while(stage: &Stage) -> Result<()> {
    const RESPECT: Duration = Duration::from_secs(20);
    stage.engine("a", 2).await?;
    stage.waiting("a", 5);
    let spec = json!({"minReplicas": 2, "manualChanges": {"respectSeconds": RESPECT.as_secs()}});
    stage.autoscaler("a", spec).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let changed = std::time::Instant::now();
    let scale = ["-n", &stage.namespace, "scale", "statefulset/a", "--replicas=1"];
    stage.control_plane().kubectl(scale).await?;
    stage.waiting("a", 11);
    let condition = stage.until_condition("a", "ManualChange", "True", "Respected").await?;
    ensure!(
        condition.message.starts_with("kubectl has changed the size from 2 to 1 at "),
        "{}",
        condition.message
    );
    stage.until_condition("a", "Ready", "True", "ManualChange").await?;

    stage.operator.kill();
    stage.operator.start()?;
    stage.stays("a", 1, RESPECT.saturating_sub(changed.elapsed() + Duration::from_secs(2))).await?;
    stage.until_replicas("a", 3, SOON).await?;
    ensure!(
        changed.elapsed() < RESPECT + Duration::from_secs(20),
        "changed back after {:?}",
        changed.elapsed()
    );
    wait::until("the condition to go", SOON, async || {
        let status = stage.status("a").await?;
        let is_there = status.conditions.iter().any(|condition| condition.type_ == "ManualChange");
        Ok((!is_there && status.targets.iter().all(|target| target.manual_change.is_none()))
            .then_some(()))
    })
    .await
}

/// Zero replicas disable the scaling, however long other sizes are respected.
pub(crate) async fn zero_replicas_disable_scaling(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.waiting("a", 11);
    stage.autoscaler("a", json!({"manualChanges": {"respectSeconds": 1}})).await?;
    stage.until_replicas("a", 3, SOON).await?;
    set(stage, "a", 0, "kubectl-edit").await?;
    stage.until_condition("a", "ScalingActive", "False", "ScalingDisabled").await?;
    stage.stays("a", 0, Duration::from_secs(3)).await
}

/// A tool that sets the same size again and again is named, although the operator restarts in
/// between.
pub(crate) async fn sizes_set_again_are_named_over_restarts(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    stage.waiting("a", 11);
    for times in 1..=3 {
        stage.until_replicas("a", 3, SOON).await?;
        stage.until_ready("a", 3).await?;
        set(stage, "a", 1, "kustomize-controller").await?;
        wait::until("the change to be remembered", SOON, async || {
            let status = stage.status("a").await?;
            let stored = status.targets.iter().find_map(|target| target.history.as_ref());
            let change = stored.and_then(|stored| stored.changes.first());
            Ok(change.filter(|change| change.times.len() == times).map(|_| ()))
        })
        .await?;
        stage.operator.kill();
        // The API server keeps the seconds of a change, and two in the same second count once.
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.operator.start()?;
    }
    let hint = stage.until_condition("a", "Advisory", "True", "SizeSetAgain").await?;
    let expected =
        "kustomize-controller has set the size of StatefulSet/a to 1 at least three times";
    ensure!(hint.message.starts_with(expected), "{}", hint.message);
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    Ok(())
}

/// Another writer that changes the size repeatedly is named in an event, once, and in the
/// conditions; it is answered ever more seldom.
pub(crate) async fn repeated_manual_changes_are_reported(stage: &Stage) -> Result<()> {
    // From the third change on the next write waits for 30 s, then for a minute.
    const WAITS: Duration = Duration::from_secs(90);
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    stage.waiting("a", 11);
    for round in 0..4 {
        stage.until_replicas("a", 3, WAITS).await?;
        let notes = stage.events("a", "ReplicasContested").await?;
        ensure!(notes.is_empty() || round == 3, "too early: {notes:?}");
        set(stage, "a", 1, "argocd-controller").await?;
    }
    let contested = stage.until_condition("a", "Ready", "False", "ReplicasContested").await?;
    ensure!(contested.message.starts_with("argocd-controller changes"), "{}", contested.message);
    stage.until_condition("a", "AbleToScale", "False", "ReplicasContested").await?;
    stage.until_replicas("a", 3, WAITS).await?;
    let notes = wait::until("the event", SOON, async || {
        let notes = stage.events("a", "ReplicasContested").await?;
        Ok((!notes.is_empty()).then_some(notes))
    })
    .await?;
    let expected =
        "argocd-controller has changed the size of StatefulSet/a three times within 10 minutes";
    ensure!(notes.len() == 1 && notes[0].starts_with(expected), "{notes:?}");
    Ok(())
}
