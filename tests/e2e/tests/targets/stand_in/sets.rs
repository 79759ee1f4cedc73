//! Groups of a RoleBasedGroupSet.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::groups::{
    Groups, PREFIX, as_kind, condition, measured, number, replicas_of, scalable, standalone, text,
};

/// The adapter of a set's group looks bound and has no effect; only the set can be scaled.
pub(crate) async fn set_template_overrides_the_adapter(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let roles = [scalable(standalone(stage, "decode", 1))];
    let template = json!({"spec": {"roles": roles}});
    groups
        .create(Kind::GroupSet, "fleet", json!({"replicas": 1, "groupTemplate": template}))
        .await?;
    groups.until(Kind::Group, "fleet-0", "to be there", |_| true).await?;
    groups.until_role("fleet-0", "decode", 1, 1).await?;
    labels(&groups).await?;

    groups.until_bound("fleet-0-decode").await?;
    groups.scale("fleet-0-decode", 3).await?;
    let is_scaled = |adapter: &_| number(adapter, "/status/replicas") == Some(3);
    groups.until(Kind::Adapter, "fleet-0-decode", "status.replicas 3", is_scaled).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let adapter = groups.get(Kind::Adapter, "fleet-0-decode").await?;
    let seen = (text(&adapter, "/status/phase"), number(&adapter, "/spec/replicas"));
    measured("the adapter of a set's child shows Bound and 3", seen == ("Bound", Some(3)), seen)?;
    let group = groups.get(Kind::Group, "fleet-0").await?;
    let set = groups.get(Kind::InstanceSet, "fleet-0-decode").await?;
    let seen = (replicas_of(&group, "decode"), number(&set, "/spec/replicas"));
    measured(
        "the set restores its template: the workload stays at 1",
        seen == (Some(1), Some(1)),
        seen,
    )?;
    groups.until_role("fleet-0", "decode", 1, 1).await?;
    set_is_scaled(&groups).await
}

async fn labels(groups: &Groups<'_>) -> Result<()> {
    let group = groups.get(Kind::Group, "fleet-0").await?;
    let labels = ["groupset-name", "groupset-index"]
        .map(|key| group.labels().get(&format!("{PREFIX}/{key}")));
    let labels = labels.map(|value| value.map(String::as_str));
    measured("a set labels its groups", labels == [Some("fleet"), Some("0")], labels)?;
    let pods = groups.pods_of("fleet-0", "decode").await?;
    let pod = pods.values().next().context("no pod")?;
    let none = !pod.labels().keys().any(|key| key.contains("groupset"));
    measured("a set does not label the pods of its groups", none, pod.labels())
}

async fn set_is_scaled(groups: &Groups<'_>) -> Result<()> {
    let sets = groups.api(Kind::GroupSet);
    let two = Patch::Merge(json!({"spec": {"replicas": 2}}));
    sets.patch_scale("fleet", &PatchParams::default(), &two).await?;
    groups.until(Kind::Group, "fleet-1", "to be there", |_| true).await?;
    groups.until_role("fleet-1", "decode", 1, 1).await?;
    let both = |set: &_| {
        number(set, "/status/replicas") == Some(2)
            && number(set, "/status/readyReplicas") == Some(2)
    };
    groups.until(Kind::GroupSet, "fleet", "2 ready replicas", both).await?;
    let selector = sets.get_scale("fleet").await?.status.and_then(|status| status.selector);
    measured("a set can be scaled, and has no selector", selector.is_none(), selector)
}

/// Objects are deleted with their owner.
pub(crate) async fn objects_are_deleted_with_their_owner(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let stateful = as_kind(standalone(stage, "plain", 1), "apps/v1/StatefulSet");
    let roles = [scalable(standalone(stage, "decode", 1)), stateful];
    let template = json!({"spec": {"roles": roles}});
    groups
        .create(Kind::GroupSet, "fleet", json!({"replicas": 1, "groupTemplate": template}))
        .await?;
    groups
        .until(Kind::Group, "fleet-0", "to be ready", |group| condition(group, "Ready") == "True")
        .await?;
    groups.until_bound("fleet-0-decode").await?;
    groups.api(Kind::GroupSet).delete("fleet", &DeleteParams::default()).await?;
    wait::until("everything to be gone", SOON, async || {
        let mut left = groups.pods("").await?.len();
        for kind in Kind::ALL {
            left += groups.api(kind).list(&ListParams::default()).await?.items.len();
        }
        Ok((left == 0).then_some(()))
    })
    .await
}
