//! Instances after the template of their role has changed.

use std::time::Duration;

use anyhow::Result;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::json;

use super::instances::instances;
use crate::groups::{Counts, Groups, counts, in_its_source, standalone, stateless};

async fn until_updated(groups: &Groups<'_>, what: &str, expected: (i64, i64)) -> Result<Counts> {
    let seen = |group: &_| counts(group, "decode");
    let is_so =
        |group: &_| seen(group).is_some_and(|counts| (counts.updated, counts.ready) == expected);
    let group = groups.until(Kind::Group, "pd", what, is_so).await?;
    Ok(seen(&group).unwrap_or(Counts { replicas: -1, ready: -1, updated: -1 }))
}

/// Instances are replaced one at a time, and each waits until the previous one is ready; a
/// partition keeps its template.
pub(crate) async fn instances_are_replaced_one_by_one(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let mut role = standalone(stage, "decode", 3);
    role["rolloutStrategy"] = json!({"rollingUpdate": {"partition": 1}});
    groups.group("pd", &[role]).await?;
    let before = groups.pods_of("pd", "decode").await?;
    let last = format!("{}/pd-decode-2", stage.namespace);
    stage.script.set_ready(&last, false);
    groups.patch_template("pd", "2").await?;
    let seen = until_updated(&groups, "one of three is updated, two are ready", (1, 2)).await?;
    in_its_source("a rollout has fewer updated replicas than replicas", seen.replicas == 3, seen)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = groups.pods_of("pd", "decode").await?;
    let is_new = |name: &str| {
        before.get(name).map(|pod| &pod.metadata.uid)
            != after.get(name).map(|pod| &pod.metadata.uid)
    };
    let replaced: Vec<&str> = ["pd-decode-0", "pd-decode-1", "pd-decode-2"]
        .into_iter()
        .filter(|name| is_new(name))
        .collect();
    in_its_source(
        "the highest instance is replaced first, and must be ready before the next",
        replaced == ["pd-decode-2"],
        &replaced,
    )?;

    stage.script.set_ready(&last, true);
    until_updated(&groups, "two of three are updated", (2, 3)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = counts(&groups.get(Kind::Group, "pd").await?, "decode");
    in_its_source(
        "instances below the partition stay",
        after.is_some_and(|counts| counts.updated == 2),
        after,
    )?;
    groups.patch_role("pd", 0, "rolloutStrategy", json!({})).await?;
    until_updated(&groups, "all are updated", (3, 3)).await.map(drop)
}

/// In a stateless role new instances have new names.
pub(crate) async fn stateless_instances_are_replaced(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[stateless(standalone(stage, "decode", 2))]).await?;
    let before: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
    groups.patch_template("pd", "2").await?;
    wait::until("two instances of other names", SOON, async || {
        let after = instances(&groups, "decode").await?;
        Ok((after.len() == 2 && !after.keys().any(|name| before.contains(name))).then_some(()))
    })
    .await?;
    let seen = until_updated(&groups, "both are updated", (2, 2)).await?;
    in_its_source(
        "a stateless instance is replaced by one with another name",
        seen.replicas == 2,
        seen,
    )
}
