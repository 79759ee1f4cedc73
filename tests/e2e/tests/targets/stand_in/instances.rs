//! The instances between a RoleInstanceSet and its pods.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::json;

use crate::groups::{
    Groups, PREFIX, in_its_source, leader_worker, measured, scalable, standalone, stateless,
};

/// The annotation with an instance's deletion cost.
pub(crate) const COST: &str = "controller.kubernetes.io/instance-deletion-cost";

/// Returns the instances of a role, by name.
pub(crate) async fn instances(
    groups: &Groups<'_>,
    role: &str,
) -> Result<BTreeMap<String, DynamicObject>> {
    let its =
        ListParams::default().labels(&format!("{PREFIX}/group-name=pd,{PREFIX}/role-name={role}"));
    let list = groups.api(Kind::Instance).list(&its).await?;
    Ok(list.into_iter().map(|instance| (instance.name_any(), instance)).collect())
}

/// The names, labels and owners of instances.
pub(crate) async fn names_and_labels_of_instances(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let roles =
        [leader_worker(stage, "decode", 2, 2), stateless(leader_worker(stage, "prefill", 2, 2))];
    groups.group("pd", &roles).await?;
    for (role, mode) in [("decode", "Stateful"), ("prefill", "Stateless")] {
        let set = groups.get(Kind::InstanceSet, &format!("pd-{role}")).await?;
        let value = set.annotations().get(&format!("{PREFIX}/role-instance-pattern")).cloned();
        in_its_source(
            "a set has an annotation with its mode",
            value.as_deref() == Some(mode),
            value,
        )?;
    }
    let names: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
    in_its_source(
        "stateful instances are numbered",
        names == ["pd-decode-0", "pd-decode-1"],
        names,
    )?;
    let drawn = instances(&groups, "prefill").await?;
    for (name, instance) in &drawn {
        let id = instance
            .labels()
            .get(&format!("{PREFIX}/role-instance-id"))
            .cloned()
            .unwrap_or_default();
        let is_so = id.len() == 5 && *name == format!("pd-prefill-{id}");
        in_its_source(
            "names of stateless instances end with five random characters, which are a label",
            is_so,
            name,
        )?;
    }
    for (name, pod) in groups.pods_of("pd", "prefill").await? {
        let (instance, _) = name.rsplit_once('-').context("a name without a number")?;
        let value = pod.labels().get(&format!("{PREFIX}/role-instance-name")).cloned();
        in_its_source(
            "names of pods begin with their instance's name",
            value.as_deref() == Some(instance),
            &name,
        )?;
        let owner = pod.owner_references().first().cloned().context("no owner")?;
        let uid = drawn.get(instance).and_then(ResourceExt::uid);
        let is_so = owner.kind == "RoleInstance" && Some(owner.uid.clone()) == uid;
        in_its_source("an instance owns its pods", is_so, owner)?;
    }
    Ok(())
}

/// An unready instance is deleted first, then the one with the lower cost, then the newer one.
pub(crate) async fn cheapest_goes_first(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[scalable(stateless(standalone(stage, "decode", 4)))]).await?;
    let names: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
    for (name, cost) in [(&names[0], "-7"), (&names[1], "5"), (&names[2], "+9")] {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {COST: cost}}}));
        groups.api(Kind::Instance).patch(name, &PatchParams::default(), &patch).await?;
    }
    let scaled = async |replicas: i64, ready: i64| {
        groups.scale("pd-decode", replicas).await?;
        groups.until_role("pd", "decode", replicas, ready).await?;
        let left: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
        anyhow::Ok(left)
    };
    stage.script.set_ready(&format!("{}/{}", stage.namespace, names[1]), false);
    groups.until_role("pd", "decode", 4, 3).await?;
    let left = scaled(3, 3).await?;
    let is_so = left == [names[0].clone(), names[2].clone(), names[3].clone()];
    in_its_source(
        "an unready instance is deleted first, whatever its cost",
        is_so,
        (&names, left),
    )?;
    let left = scaled(2, 2).await?;
    in_its_source(
        "the cheapest instance is deleted next",
        left == [names[2].clone(), names[3].clone()],
        (&names, left),
    )?;

    groups.scale("pd-decode", 3).await?;
    groups.until_role("pd", "decode", 3, 3).await?;
    // By now their creation times differ by a second or more.
    let left = scaled(2, 2).await?;
    let is_so = left == [names[2].clone(), names[3].clone()];
    in_its_source(
        "the newest instance is deleted next; a cost with a plus sign is ignored",
        is_so,
        (&names, left),
    )?;
    wait::until("the pods to be gone", SOON, async || {
        Ok((groups.pods_of("pd", "decode").await?.len() == 2).then_some(()))
    })
    .await
}

/// An ordered role creates and deletes one instance after the other.
pub(crate) async fn ordered_instances_one_by_one(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let pod = |ordinal: i32| format!("{}/pd-decode-{ordinal}", stage.namespace);
    stage.script.set_ready(&pod(1), false);
    let mut role = scalable(standalone(stage, "decode", 3));
    role["podManagementPolicy"] = json!("OrderedReady");
    groups.create(Kind::Group, "pd", json!({"roles": [role]})).await?;
    groups.until_role("pd", "decode", 3, 1).await?;
    let settled = async || tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    settled().await;
    let names: Vec<String> = instances(&groups, "decode").await?.into_keys().collect();
    measured(
        "the next instance is created when those below are ready; all three count before",
        names == ["pd-decode-0", "pd-decode-1"],
        names,
    )?;
    stage.script.set_ready(&pod(1), true);
    groups.until_role("pd", "decode", 3, 3).await?;

    groups.until_bound("pd-decode").await?;
    stage.script.set_ready(&pod(1), false);
    stage.script.set_ready(&pod(2), false);
    groups.until_role("pd", "decode", 3, 1).await?;
    groups.scale("pd-decode", 1).await?;
    settled().await;
    let left = instances(&groups, "decode").await?.len();
    in_its_source("an unready instance is not deleted above another unready one", left == 3, left)?;
    stage.script.set_ready(&pod(1), true);
    groups.until_role("pd", "decode", 1, 1).await
}
