//! Targets with a size that another controller would revert.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::rbg::Kind;
use serde_json::json;

use super::{role, stays};
use crate::groups::{Groups, scalable, standalone};

/// The set would overwrite the size with its template's number, and the adapter would not even show
/// it.
pub(crate) async fn groups_of_a_set_are_refused(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(11));
    groups.group("child", &[scalable(standalone(stage, "decode", 1))]).await?;
    let label = "rbg.workloads.x-k8s.io/groupset-name=parent";
    let namespace = stage.namespace.as_str();
    stage
        .control_plane()
        .kubectl(["-n", namespace, "label", "rolebasedgroups", "child", label])
        .await?;
    stage.autoscaler("child", json!({"scaleTargetRef": role("child", "decode")})).await?;
    let stalled = stage.until_condition("child", "Stalled", "True", "FailedGetScale").await?;
    ensure!(
        stalled.message.contains("belongs to the RoleBasedGroupSet parent"),
        "{}",
        stalled.message
    );
    stays(&groups, "child", "decode", 1, Duration::from_secs(2)).await
}

/// A set has a scale, and no selector: there is nothing to measure.
pub(crate) async fn set_is_refused(stage: &Stage) -> Result<()> {
    let _groups = Groups::start(stage).await?;
    let target = json!({
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroupSet",
        "name": "parent",
    });
    stage.autoscaler("set", json!({"scaleTargetRef": target})).await?;
    let stalled = stage.until_condition("set", "Stalled", "True", "FailedGetScale").await?;
    ensure!(stalled.message.contains("has no selector"), "{}", stalled.message);
    Ok(())
}

/// An adapter that a person created accepts writes and has no effect.
pub(crate) async fn adapter_made_by_hand_is_refused(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("own", &[standalone(stage, "decode", 1)]).await?;
    let spec = json!({"scaleTargetRef": {"name": "own", "role": "decode"}, "replicas": 1});
    groups.create(Kind::Adapter, "by-hand", spec).await?;
    let target = json!({
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroupScalingAdapter",
        "name": "by-hand",
    });
    stage.autoscaler("own", json!({"scaleTargetRef": target})).await?;
    let stalled = stage.until_condition("own", "Stalled", "True", "FailedGetScale").await?;
    ensure!(stalled.message.contains("its controller ignores it"), "{}", stalled.message);
    Ok(())
}

/// A role belongs to a RoleBasedGroup, and a RoleBasedGroup is scaled by its roles.
pub(crate) async fn roles_of_other_kinds(stage: &Stage) -> Result<()> {
    let plain =
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a", "role": "decode"});
    let mut whole = role("a", "decode");
    whole.as_object_mut().map(|target| target.remove("role"));
    for target in [plain, whole] {
        let refused = stage.autoscaler("a", json!({"scaleTargetRef": target})).await;
        let text = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(
            text.contains("a RoleBasedGroup is scaled by its roles: name one in role"),
            "{text}"
        );
    }
    Ok(())
}
