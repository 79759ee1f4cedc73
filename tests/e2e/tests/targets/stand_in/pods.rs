//! The pods of a replica.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;

use crate::groups::{
    Counts, Groups, PREFIX, as_kind, condition, counts, custom, leader_worker, measured,
    replicas_of, scalable, standalone, text,
};

/// The labels, names and readiness gates of pods, and labels that mislead.
pub(crate) async fn labels_names_and_gates(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    let stateful = as_kind(standalone(stage, "plain", 1), "apps/v1/StatefulSet");
    let deployed = as_kind(standalone(stage, "web", 1), "apps/v1/Deployment");
    let roles =
        [leader_worker(stage, "decode", 3, 2), standalone(stage, "prefill", 1), stateful, deployed];
    groups.group("pd", &roles).await?;

    for role in ["decode", "prefill", "plain", "web"] {
        let pods = groups.pods_of("pd", role).await?;
        let uids: Vec<_> = pods.values().map(|pod| label(pod, "group-uid")).collect();
        let same = !uids.is_empty() && uids.iter().all(|uid| !uid.is_empty() && *uid == uids[0]);
        measured(
            "every pod of every kind of workload has group-name, group-uid and role-name",
            same,
            &uids,
        )?;
        let old = pods
            .values()
            .any(|pod| pod.labels().keys().any(|key| key.starts_with("rolebasedgroup.")));
        measured("no pod has labels of the former prefix", !old, role)?;
    }
    leaders_and_workers(&groups).await?;

    let prefill = groups.pods_of("pd", "prefill").await?;
    let pod = prefill.values().next().context("no pod")?;
    measured(
        "the component of a standalone role is the role",
        label(pod, "component-name") == "prefill",
        pod.labels(),
    )?;
    measured(
        "component-size of a standalone role is 1",
        label(pod, "component-size") == "1",
        pod.labels(),
    )?;
    let index = pod.labels().get(&format!("{PREFIX}/component-index"));
    measured("component-index is only on leaders and workers", index.is_none(), index)
}

async fn leaders_and_workers(groups: &Groups<'_>) -> Result<()> {
    let pods = groups.pods_of("pd", "decode").await?;
    let names: Vec<_> = pods.keys().map(String::as_str).collect();
    let expected = [
        "pd-decode-0-0",
        "pd-decode-0-1",
        "pd-decode-1-0",
        "pd-decode-1-1",
        "pd-decode-2-0",
        "pd-decode-2-1",
    ];
    measured(
        "a leader is {rbg}-{role}-{i}-0, its workers are -1 and so on",
        names == expected,
        &names,
    )?;
    for (name, pod) in &pods {
        let (instance, index) = name.rsplit_once('-').context("a name without a number")?;
        let component = if index == "0" { "leader" } else { "worker" };
        let labels = [
            label(pod, "role-instance-name"),
            label(pod, "component-name"),
            label(pod, "component-index"),
        ];
        measured(
            "role-instance-name groups the pods of a replica",
            labels == [instance, component, index],
            labels,
        )?;
        measured(
            "component-id counts within the component",
            label(pod, "component-id") == "0",
            pod.labels(),
        )?;
        measured(
            "component-size of leaders and workers is the size of the pattern",
            label(pod, "component-size") == "2",
            pod.labels(),
        )?;
        let index = label(pod, "role-instance-index");
        measured(
            "all pods of a batch have the role-instance-index of its last replica",
            index == "2",
            index,
        )?;
        let pod_name = pod.labels().get("statefulset.kubernetes.io/pod-name").cloned();
        measured(
            "all pods of a batch have the pod-name of its last replica",
            pod_name.as_deref() == Some("pd-decode-2"),
            pod_name,
        )?;
        let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
        let gates: Vec<_> =
            gates.into_iter().flatten().map(|gate| gate.condition_type.as_str()).collect();
        measured(
            "pods have two readiness gates",
            gates == ["InPlaceUpdateReady", "InstancePodReady"],
            &gates,
        )?;
        let open = gates.iter().all(|gate| is_true(pod, gate)) && is_true(pod, "Ready");
        measured(
            "the controller opens the gates, and keeps the kubelet's conditions",
            open,
            &pod.status,
        )?;
    }
    Ok(())
}

/// A replica of several pods counts as one, and is ready when all of them are.
pub(crate) async fn replicas_are_groups_of_pods(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups
        .group(
            "pd",
            &[scalable(leader_worker(stage, "decode", 3, 2)), scalable(custom(stage, "mix", 2))],
        )
        .await?;
    let set = groups.get(Kind::InstanceSet, "pd-decode").await?;
    let selector = text(&set, "/status/labelSelector");
    let all = groups.pods(selector).await?.len();
    measured(
        "the selector of a RoleInstanceSet matches every pod of 3 replicas",
        all == 6,
        (selector, all),
    )?;
    let scale =
        groups.api(Kind::InstanceSet).get_scale("pd-decode").await?.status.context("no status")?;
    let scale = (scale.replicas, scale.selector);
    measured(
        "the scale of that set has 3 replicas",
        scale == (3, Some(selector.to_owned())),
        &scale,
    )?;

    let adapter = groups.until_bound("pd-decode").await?;
    let selector = text(&adapter, "/status/selector");
    let leaders = groups.pods(selector).await?.len();
    measured("an adapter's right selector matches leaders", leaders == 3, (selector, leaders))?;
    let adapter = groups.until_bound("pd-mix").await?;
    let all = groups.pods(text(&adapter, "/status/selector")).await?.len();
    measured("an adapter's right selector matches all pods of custom components", all == 6, all)?;
    let of_custom = groups.pods_of("pd", "mix").await?;
    let sizes: Vec<_> = of_custom.values().map(|pod| label(pod, "component-size")).collect();
    measured(
        "component-size of custom components is the component's",
        sizes == ["2", "2", "1", "2", "2", "1"],
        &sizes,
    )?;

    stage.script.set_ready(&format!("{}/pd-decode-1-1", stage.namespace), false);
    groups.until_role("pd", "decode", 3, 2).await?;
    let pods = groups.pods_of("pd", "decode").await?;
    let of_leader = pods.get("pd-decode-1-0").context("no leader")?;
    measured(
        "an unready worker makes its leader unready, by the gate InstancePodReady",
        !is_true(of_leader, "InstancePodReady") && is_true(of_leader, "ContainersReady"),
        &of_leader.status,
    )?;
    let group = groups.get(Kind::Group, "pd").await?;
    measured(
        "Ready is False while any role lacks a ready replica",
        condition(&group, "Ready") == "False",
        &group.data["status"],
    )?;
    let adapter = |ready: i64| {
        groups.until(Kind::Adapter, "pd-decode", "readyReplicas of the role", move |adapter| {
            crate::groups::number(adapter, "/status/readyReplicas") == Some(ready)
        })
    };
    adapter(2).await?;
    stage.script.set_ready(&format!("{}/pd-decode-1-1", stage.namespace), true);
    groups.until_role("pd", "decode", 3, 3).await?;
    let seen = adapter(3).await?.data;
    measured("the adapter's readyReplicas are those of the role", true, seen)?;
    let group = groups
        .until(Kind::Group, "pd", "Ready", |group| condition(group, "Ready") == "True")
        .await?;
    let observed = crate::groups::number(&group, "/status/observedGeneration");
    measured("observedGeneration follows", observed == group.metadata.generation, observed)
}

/// The highest ordinal is deleted first, ready or not.
pub(crate) async fn highest_ordinal_goes_first(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    groups.group("pd", &[scalable(standalone(stage, "decode", 3))]).await?;
    stage.script.set_ready(&format!("{}/pd-decode-0", stage.namespace), false);
    groups.until_role("pd", "decode", 3, 2).await?;
    groups.scale("pd-decode", 2).await?;
    wait::until("two pods", SOON, async || {
        Ok((groups.pods_of("pd", "decode").await?.len() == 2).then_some(()))
    })
    .await?;
    let left: Vec<_> = groups.pods_of("pd", "decode").await?.into_keys().collect();
    measured(
        "the highest ordinal is deleted, though it is ready and a lower one is not",
        left == ["pd-decode-0", "pd-decode-1"],
        &left,
    )?;
    groups.until_role("pd", "decode", 2, 1).await?;
    let group = groups.get(Kind::Group, "pd").await?;
    let seen = (replicas_of(&group, "decode"), counts(&group, "decode"));
    measured(
        "the status counts the unready instance",
        seen == (Some(2), Some(Counts { replicas: 2, ready: 1, updated: 2 })),
        seen,
    )
}

fn label<'a>(pod: &'a Pod, key: &str) -> &'a str {
    pod.labels().get(&format!("{PREFIX}/{key}")).map(String::as_str).unwrap_or_default()
}

fn is_true(pod: &Pod, type_: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|found| found.type_ == type_ && found.status == "True")
}
