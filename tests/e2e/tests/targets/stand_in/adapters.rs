//! Scaling adapters, and their authority over the sizes of roles.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::groups::{
    Groups, PREFIX, as_kind, measured, number, refusal, replicas_of, scalable, standalone, text,
};

/// A time in which the stand-in makes several passes.
const A_WHILE: Duration = Duration::from_secs(1);

/// The life of an adapter: absent, unbound, bound, scaled to zero and up again, deleted.
pub(crate) async fn life_of_an_adapter(stage: &Stage) -> Result<()> {
    let groups =
        Groups::start_with(stage, |options| options.binding = Duration::from_secs(2)).await?;
    let role = scalable(standalone(stage, "decode", 2));
    groups
        .create(
            Kind::Group,
            "pd",
            json!({"roles": [role, scalable(standalone(stage, "prefill", 1))]}),
        )
        .await?;
    let adapters = groups.api(Kind::Adapter);
    let adapter = groups.until(Kind::Adapter, "pd-decode", "to be there", |_| true).await?;
    measured(
        "a new adapter has no replicas",
        number(&adapter, "/spec/replicas").is_none(),
        &adapter.data,
    )?;
    let owner =
        adapter.metadata.owner_references.iter().flatten().next().map(|owner| owner.kind.as_str());
    measured("the group owns the adapter", owner == Some("RoleBasedGroup"), owner)?;
    let labels = adapter.metadata.labels.unwrap_or_default();
    let labels =
        ["group-name", "role-name"].map(|key| labels.get(&format!("{PREFIX}/{key}")).cloned());
    measured(
        "the adapter has the group's labels",
        labels == [Some("pd".to_owned()), Some("decode".to_owned())],
        &labels,
    )?;
    let (code, message) = refusal(adapters.get_scale("pd-decode").await)?;
    let is_500 = code == 500
        && message.contains("the spec replicas field")
        && message.contains("does not exist");
    measured(
        "the adapter's scale cannot be read until it is bound: 500",
        is_500,
        (code, &message),
    )?;
    let adapter = groups.until_bound("pd-decode").await?;
    let copied = (number(&adapter, "/spec/replicas"), number(&adapter, "/status/replicas"));
    measured("binding copies the role's replicas", copied == (Some(2), Some(2)), copied)?;

    groups.scale("pd-decode", 3).await?;
    groups.until_role("pd", "decode", 3, 3).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    measured(
        "the adapter's replicas become the role's and the workload's",
        replicas_of(&group, "decode") == Some(3),
        &group.data,
    )?;
    down_to_zero(&groups).await?;

    groups.patch_role("pd", 0, "scalingAdapter", json!({"enable": false})).await?;
    until_gone(&groups, "pd-decode").await?;
    let patch = json!([{"op": "remove", "path": "/spec/roles/1"}]);
    let patch = Patch::<Value>::Json(serde_json::from_value(patch)?);
    groups.api(Kind::Group).patch("pd", &PatchParams::default(), &patch).await?;
    until_gone(&groups, "pd-prefill").await?;
    measured("the adapter is deleted when its role no longer requests it, or is gone", true, ())
}

async fn down_to_zero(groups: &Groups<'_>) -> Result<()> {
    groups.scale("pd-decode", 0).await?;
    groups.until_role("pd", "decode", 0, 0).await?;
    let path = format!(
        "/apis/workloads.x-k8s.io/v1alpha2/namespaces/{}/rolebasedgroupscalingadapters/pd-decode/scale",
        groups.stage.namespace
    );
    let raw = groups.stage.control_plane().kubectl(["get", "--raw", &path]).await?;
    measured("a scale of zero has an empty spec", raw.contains(r#""spec":{}"#), &raw)?;
    groups.scale("pd-decode", 1).await?;
    groups.until_role("pd", "decode", 1, 1).await?;
    measured("a role grows again from zero", true, ())
}

async fn until_gone(groups: &Groups<'_>, name: &str) -> Result<()> {
    let adapters = groups.api(Kind::Adapter);
    wait::until(&format!("the adapter {name} to be gone"), SOON, async || {
        Ok(adapters.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// An adapter that a person creates accepts writes and has no effect.
pub(crate) async fn adapter_made_by_hand_has_no_effect(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[standalone(stage, "decode", 2)]).await?;
    let target = json!({"scaleTargetRef": {"name": "pd", "role": "decode"}, "replicas": 2});
    groups.create(Kind::Adapter, "by-hand", target).await?;
    groups.scale("by-hand", 4).await?;
    tokio::time::sleep(A_WHILE).await;
    let adapter = groups.get(Kind::Adapter, "by-hand").await?;
    measured(
        "an adapter that no group owns has no phase",
        text(&adapter, "/status/phase").is_empty(),
        &adapter.data,
    )?;
    let scale =
        groups.api(Kind::Adapter).get_scale("by-hand").await?.spec.and_then(|spec| spec.replicas);
    measured("the scale of such an adapter accepts writes", scale == Some(4), scale)?;
    let group = groups.get(Kind::Group, "pd").await?;
    measured(
        "the writes have no effect",
        replicas_of(&group, "decode") == Some(2),
        &group.data["spec"],
    )?;
    groups.until_role("pd", "decode", 2, 2).await
}

/// Sizes that other writers set are reverted, more or less visibly.
pub(crate) async fn adapter_overrides_other_writers(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let stateful = as_kind(standalone(stage, "plain", 1), "apps/v1/StatefulSet");
    groups.group("pd", &[scalable(standalone(stage, "decode", 4)), scalable(stateful)]).await?;

    groups.patch_role("pd", 0, "replicas", json!(2)).await?;
    tokio::time::sleep(A_WHILE).await;
    let group = groups.get(Kind::Group, "pd").await?;
    let set = groups.get(Kind::InstanceSet, "pd-decode").await?;
    let seen = (replicas_of(&group, "decode"), number(&set, "/spec/replicas"));
    measured(
        "the group's spec keeps the stale number, the workload the adapter's",
        seen == (Some(2), Some(4)),
        seen,
    )?;
    let events = stage.api::<Event>().list(&ListParams::default()).await?;
    let reported = events
        .items
        .iter()
        .any(|event| event.reason.as_deref() == Some("ReplicasOverriddenByAdapter"));
    measured("an event reports the conflict", reported, ())?;
    groups.until_role("pd", "decode", 4, 4).await?;

    groups.api(Kind::Adapter).delete("pd-decode", &DeleteParams::default()).await?;
    groups.until_role("pd", "decode", 2, 2).await?;
    let adapter = groups.until_bound("pd-decode").await?;
    let bound = number(&adapter, "/spec/replicas");
    measured("a new adapter binds to the stale number", bound == Some(2), bound)?;

    groups.patch(Kind::InstanceSet, "pd-decode", json!({"replicas": 5})).await?;
    groups
        .until(Kind::InstanceSet, "pd-decode", "replicas 2", |set| {
            number(set, "/spec/replicas") == Some(2)
        })
        .await?;
    let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
    stage.api::<StatefulSet>().patch_scale("pd-plain", &PatchParams::default(), &five).await?;
    wait::until("the StatefulSet to be scaled back", SOON, async || {
        Ok((stage.replicas("pd-plain").await? == 1).then_some(()))
    })
    .await?;
    measured("a workload that is scaled directly is scaled back at once", true, ())?;
    ensure!(number(&groups.get(Kind::Adapter, "pd-plain").await?, "/spec/replicas") == Some(1));
    Ok(())
}
