//! Roles of RoleBasedGroups.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::rbg::{AdapterSelector, Kind};
use llm_autoscaler_testbed::wait;
use serde_json::json;

use super::{role, set_leaders_waiting, stays, until_requested, without_window};
use crate::groups::{
    Groups, as_kind, custom, leader_worker, number, replicas_of, scalable, standalone,
};

/// A replica is a leader and two workers. The adapter's selector cannot be parsed, and would match
/// all of them if it could.
pub(crate) async fn through_an_adapter_by_leaders(stage: &Stage) -> Result<()> {
    let groups =
        Groups::start_with(stage, |options| options.selector = AdapterSelector::LeadingComma)
            .await?;
    // 11 requests wait at the first replica, and 2 at each further one: 15 in all, which three
    // replicas can take.
    set_leaders_waiting(&groups, "pd-decode", 3, 2);
    stage.script.set(&format!("{}/pd-decode-0-0", stage.namespace), Page::waiting(11));
    let roles = [scalable(leader_worker(stage, "decode", 1, 3)), standalone(stage, "prefill", 2)];
    groups.group("pd", &roles).await?;
    stage
        .autoscaler(
            "decode",
            json!({
                "scaleTargetRef": role("pd", "decode"),
                "maxReplicas": 6,
                "behavior": without_window(),
            }),
        )
        .await?;

    until_requested(&groups, "pd", "decode", 3).await?;
    groups.until_role("pd", "decode", 3, 3).await?;
    stays(&groups, "pd", "decode", 3, Duration::from_secs(3)).await?;
    wait::until("three replicas to be counted", SOON, async || {
        let status = stage.status("decode").await?;
        let target = status.targets.first();
        let counts =
            target.map(|target| (&*target.name, target.current_replicas, target.ready_replicas));
        let reference = status.reference.as_deref() == Some("RoleBasedGroup/pd/decode");
        // The start of two replicas has been measured.
        let learned = target.is_some_and(|target| target.start_up_seconds.len() == 2);
        Ok((reference && learned && counts == Some(("decode", 3, 3))).then_some(()))
    })
    .await?;
    let group = groups.get(Kind::Group, "pd").await?;
    ensure!(replicas_of(&group, "prefill") == Some(2), "the other role has been touched");

    set_leaders_waiting(&groups, "pd-decode", 3, 0);
    until_requested(&groups, "pd", "decode", 1).await?;
    groups.until_role("pd", "decode", 1, 1).await
}

/// A replica is ready with all of its pods or not at all.
pub(crate) async fn replica_lacks_a_worker(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    set_leaders_waiting(&groups, "pd-decode", 2, 5);
    groups.group("pd", &[scalable(leader_worker(stage, "decode", 2, 2))]).await?;
    stage
        .autoscaler("decode", json!({"scaleTargetRef": role("pd", "decode"), "maxReplicas": 6}))
        .await?;
    let ready = async |expected: i32| {
        wait::until(&format!("{expected} ready replicas"), SOON, async || {
            let status = stage.status("decode").await?;
            let ready = status.targets.first().map(|target| target.ready_replicas);
            Ok((ready == Some(expected)).then_some(()))
        })
        .await
    };
    ready(2).await?;
    let worker = format!("{}/pd-decode-1-1", stage.namespace);
    stage.script.set_ready(&worker, false);
    ready(1).await?;
    stage.script.set_ready(&worker, true);
    ready(2).await
}

/// A role without an adapter is patched in its group, once the operator has the permission. The
/// other roles are left alone.
pub(crate) async fn without_an_adapter(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(11));
    groups.group("pd", &[standalone(stage, "prefill", 2), standalone(stage, "decode", 1)]).await?;
    let spec = json!({"scaleTargetRef": role("pd", "decode"), "behavior": without_window()});
    stage.autoscaler("decode", spec).await?;
    let able = stage.until_condition("decode", "AbleToScale", "False", "FailedUpdateScale").await?;
    ensure!(able.message.contains("or let the operator patch RoleBasedGroups"), "{}", able.message);

    let label = "llmautoscaler.io/aggregate-to-targets=true";
    let name = "llm-autoscaler-targets-role-based-groups";
    stage.control_plane().kubectl(["label", "clusterrole", name, label]).await?;
    until_requested(&groups, "pd", "decode", 3).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    ensure!(replicas_of(&group, "prefill") == Some(2), "the other role has been touched");
    groups.until_role("pd", "decode", 3, 3).await?;

    // The role's index may change; it is identified by its name.
    let roles = json!([standalone(stage, "decode", 3), standalone(stage, "prefill", 2)]);
    groups.patch(Kind::Group, "pd", json!({"roles": roles})).await?;
    stage.script.set_all(&Page::idle());
    until_requested(&groups, "pd", "decode", 1).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    ensure!(replicas_of(&group, "prefill") == Some(2), "the other role has been touched");
    Ok(())
}

/// Roles that are plain StatefulSets have adapters without any selector. The adapter itself may be
/// the target, too.
pub(crate) async fn an_adapter_without_a_selector(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    stage.script.set_all(&Page::waiting(11));
    let stateful = as_kind(standalone(stage, "engine", 1), "apps/v1/StatefulSet");
    groups.group("plain", &[scalable(stateful)]).await?;
    let target = json!({
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": "RoleBasedGroupScalingAdapter",
        "name": "plain-engine",
    });
    stage.autoscaler("plain", json!({"scaleTargetRef": target})).await?;
    until_requested(&groups, "plain", "engine", 3).await
}

/// If no pod of a replica is the leader, the loads of all its pods are added.
pub(crate) async fn loads_of_a_replicas_pods_are_added(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    // A router and two engines: 12 requests wait in each replica, not 4.
    stage.script.set_all(&Page::waiting(4));
    groups.group("mix", &[scalable(custom(stage, "all", 1))]).await?;
    stage.autoscaler("mix", json!({"scaleTargetRef": role("mix", "all")})).await?;
    until_requested(&groups, "mix", "all", 3).await?;
    wait::until("the value of a replica to be 12", SOON, async || {
        let status = stage.status("mix").await?;
        let metric = status.targets.first().and_then(|target| target.metrics.first());
        Ok(metric.filter(|metric| metric.current.as_deref() == Some("12")).map(drop))
    })
    .await
}

/// With GitOps the autoscaler may be created before its group, and the group before its adapter is
/// bound.
pub(crate) async fn missing_group_is_waited_for(stage: &Stage) -> Result<()> {
    let groups =
        Groups::start_with(stage, |options| options.binding = Duration::from_secs(16)).await?;
    stage.script.set_all(&Page::waiting(11));
    stage.autoscaler("late", json!({"scaleTargetRef": role("late", "decode")})).await?;
    let able = stage.until_condition("late", "AbleToScale", "False", "FailedGetScale").await?;
    ensure!(able.message.contains("\"late\" not found"), "{}", able.message);

    let roles = json!([scalable(standalone(stage, "prefill", 1))]);
    groups.create(Kind::Group, "late", json!({"roles": roles})).await?;
    let message = async |part: &str| {
        wait::until(&format!("AbleToScale to contain {part}"), SOON, async || {
            let conditions = stage.status("late").await?.conditions;
            ensure!(
                !conditions.iter().any(|condition| condition.type_ == "Stalled"),
                "it may come"
            );
            let able = conditions.into_iter().find(|condition| condition.type_ == "AbleToScale");
            Ok(able.filter(|able| able.message.contains(part)).map(drop))
        })
        .await
    };
    message("has no role decode; its roles are prefill").await?;
    let roles = json!([
        scalable(standalone(stage, "prefill", 1)),
        scalable(standalone(stage, "decode", 1))
    ]);
    groups.patch(Kind::Group, "late", json!({"roles": roles})).await?;
    message("late-decode is not bound to its role yet").await?;
    groups.until_bound("late-decode").await?;
    wait::until("the role to grow", SOON, async || {
        let adapter = groups.get(Kind::Adapter, "late-decode").await?;
        Ok((number(&adapter, "/spec/replicas") == Some(3)).then_some(()))
    })
    .await
}
