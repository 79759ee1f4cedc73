//! Instances after the template of their role has changed.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::rbg::Kind;
use serde_json::{Value, json};

use super::instances::instances;
use crate::groups::{
    Counts, Groups, counts, in_its_source, measured, number, standalone, stateless,
};

/// Waits until the role's RoleInstanceSet counts this many replicas, of which so many are updated
/// and ready.
async fn until_set(groups: &Groups<'_>, expected: Counts) -> Result<()> {
    let what = format!("{expected:?}");
    let is_so = |set: &_| {
        let count = |field: &str| number(set, &format!("/status/{field}")).unwrap_or(0);
        let (replicas, ready) = (count("replicas"), count("readyReplicas"));
        Counts { replicas, ready, updated: count("updatedReplicas") } == expected
    };
    groups.until(Kind::InstanceSet, "pd-decode", &what, is_so).await.map(drop)
}

/// Returns the counts of the role in its group's status.
async fn stated(groups: &Groups<'_>) -> Result<Option<Counts>> {
    Ok(counts(&groups.get(Kind::Group, "pd").await?, "decode"))
}

fn all(replicas: i64) -> Counts {
    Counts { replicas, ready: replicas, updated: replicas }
}

fn with_strategy(mut role: Value, strategy: &Value) -> Value {
    role["rolloutStrategy"] = json!({"rollingUpdate": strategy});
    role
}

fn set_ready(stage: &Stage, pod: &str, ready: bool) {
    stage.script.set_ready(&format!("{}/{pod}", stage.namespace), ready);
}

fn uids(pods: &BTreeMap<String, Pod>) -> Vec<(String, Option<String>)> {
    pods.iter().map(|(name, pod)| (name.clone(), pod.uid())).collect()
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Metadata and images are changed in place, and instances below a partition stay as they are.
pub(crate) async fn instances_are_updated_in_place(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let role = with_strategy(standalone(stage, "decode", 3), &json!({"partition": 1}));
    groups.group("pd", &[role]).await?;
    let before = groups.pods_of("pd", "decode").await?;
    groups.patch_template("pd", "2").await?;
    until_set(&groups, Counts { updated: 2, ..all(3) }).await?;
    settle().await;
    let after = groups.pods_of("pd", "decode").await?;
    measured(
        "pods that are updated in place keep their names, UIDs and nodes",
        uids(&before) == uids(&after),
        (uids(&before), uids(&after)),
    )?;
    let versions: Vec<_> =
        after.values().map(|pod| pod.annotations().get("version").map(String::as_str)).collect();
    measured(
        "instances below the partition keep their template",
        versions == [None, Some("2"), Some("2")],
        versions,
    )?;
    groups.patch_role("pd", 0, "rolloutStrategy", json!({})).await?;
    until_set(&groups, all(3)).await
}

/// An instance that is not ready before a rollout blocks that of a stateful role, and the group's
/// status does not show it.
pub(crate) async fn unready_instance_blocks_a_rollout(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[standalone(stage, "decode", 3)]).await?;
    set_ready(stage, "pd-decode-0", false);
    groups.until_role("pd", "decode", 3, 2).await?;
    groups.patch_template("pd", "2").await?;
    until_set(&groups, Counts { replicas: 3, ready: 2, updated: 0 }).await?;
    settle().await;
    until_set(&groups, Counts { replicas: 3, ready: 2, updated: 0 }).await?;
    let seen = stated(&groups).await?;
    measured(
        "updatedReplicas of a role is written only with another number of replicas or ready ones",
        seen == Some(Counts { replicas: 3, ready: 2, updated: 3 }),
        seen,
    )?;
    set_ready(stage, "pd-decode-0", true);
    until_set(&groups, all(3)).await
}

/// In a stateless role the unready instance is updated first. The names of all instances stay.
pub(crate) async fn stateless_instances_are_updated_in_place(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[stateless(standalone(stage, "decode", 3))]).await?;
    let before: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
    set_ready(stage, &before[1], false);
    groups.until_role("pd", "decode", 3, 2).await?;
    groups.patch_template("pd", "2").await?;
    until_set(&groups, Counts { replicas: 3, ready: 2, updated: 1 }).await?;
    settle().await;
    let pods = groups.pods_of("pd", "decode").await?;
    let updated: Vec<&String> = pods
        .iter()
        .filter(|(_, pod)| pod.annotations().contains_key("version"))
        .map(|(name, _)| name)
        .collect();
    measured("the unready instance is updated first", updated == [&before[1]], &updated)?;
    set_ready(stage, &before[1], true);
    until_set(&groups, all(3)).await?;
    let after: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
    measured("stateless instances keep their names", before == after, (before, after))
}

/// With `type: RecreatePod` instances are replaced one at a time, the highest first.
pub(crate) async fn instances_are_replaced_one_by_one(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let role = with_strategy(standalone(stage, "decode", 3), &json!({"type": "RecreatePod"}));
    groups.group("pd", &[role]).await?;
    let before = groups.pods_of("pd", "decode").await?;
    // The new pod gets no node, so it does not become ready.
    stage.leave_pending("pd-decode-2");
    groups.patch_template("pd", "2").await?;
    until_set(&groups, Counts { replicas: 3, ready: 2, updated: 1 }).await?;
    settle().await;
    let after = groups.pods_of("pd", "decode").await?;
    let is_new = |name: &&str| before.get(*name).map(Pod::uid) != after.get(*name).map(Pod::uid);
    let replaced: Vec<&str> =
        ["pd-decode-0", "pd-decode-1", "pd-decode-2"].into_iter().filter(is_new).collect();
    in_its_source(
        "the highest instance is replaced first, and must be ready before the next",
        replaced == ["pd-decode-2"],
        &replaced,
    )?;
    stage.make_room("pd-decode-2");
    until_set(&groups, all(3)).await
}

/// A surge is a further instance, which all counts include.
pub(crate) async fn surge_is_counted(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let strategy = json!({"maxSurge": 1, "maxUnavailable": 0});
    groups.group("pd", &[with_strategy(standalone(stage, "decode", 3), &strategy)]).await?;
    set_ready(stage, "pd-decode-3", false);
    groups.patch_template("pd", "2").await?;
    let surging = Counts { replicas: 4, ready: 3, updated: 1 };
    until_set(&groups, surging).await?;
    let names: Vec<String> = groups.pods_of("pd", "decode").await?.into_keys().collect();
    measured(
        "the instance of a surge has the next ordinal",
        names.last().is_some_and(|name| name == "pd-decode-3"),
        &names,
    )?;
    let is_stated = |group: &_| counts(group, "decode") == Some(surging);
    groups.until(Kind::Group, "pd", "roleStatuses counts it", is_stated).await?;
    set_ready(stage, "pd-decode-3", true);
    until_set(&groups, all(3)).await
}
