//! The selectors of adapters, and their effect on HPAs and kubectl.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{DeleteParams, PostParams};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::rbg::{AdapterSelector, Kind};
use llm_autoscaler_testbed::wait;
use serde_json::json;
use std::time::Duration;

use crate::groups::{
    Groups, PREFIX, as_kind, custom, leader_worker, measured, number, scalable, standalone, text,
};

/// The timeout for an HPA, which syncs every 15 s.
const HPA: Duration = Duration::from_mins(1);

/// The roles that have a wrong selector, and the selector of a new adapter.
pub(crate) async fn selector_is_computed_once(stage: &Stage) -> Result<()> {
    let groups =
        Groups::start_with(stage, |options| options.selector = AdapterSelector::LeadingComma)
            .await?;
    let stateful = as_kind(standalone(stage, "sts", 1), "apps/v1/StatefulSet");
    let deployed = as_kind(standalone(stage, "deploy", 1), "apps/v1/Deployment");
    let roles =
        [leader_worker(stage, "multi", 1, 2), standalone(stage, "single", 1), stateful, deployed];
    groups.group("pd", &roles.map(scalable)).await?;
    let comma = format!(",{PREFIX}/component-index=0");
    for (role, expected) in [("multi", comma.as_str()), ("single", ""), ("sts", ""), ("deploy", "")]
    {
        let selector = selector(&groups, role).await?;
        measured(
            "a selector that is computed before the set's status begins with a comma, or is empty",
            selector == expected,
            (role, &selector),
        )?;
    }
    for role in ["multi", "single", "sts", "deploy"] {
        rebind(&groups, role).await?;
        let selector = selector(&groups, role).await?;
        let is_right = !selector.is_empty() && !selector.starts_with(',');
        let expected = matches!(role, "multi" | "single");
        measured(
            "a new adapter's selector is right for RoleInstanceSets only",
            is_right == expected,
            (role, &selector),
        )?;
        let leaders = selector.ends_with(&comma);
        measured(
            "only the selector of leaders and workers selects an index",
            leaders == (role == "multi"),
            (role, &selector),
        )?;
    }
    drop(groups);

    let groups =
        Groups::start_with(stage, |options| options.selector = AdapterSelector::Empty).await?;
    groups.group("empty", &[scalable(leader_worker(stage, "multi", 1, 2))]).await?;
    ensure!(text(&groups.until_bound("empty-multi").await?, "/status/selector").is_empty());
    drop(groups);
    let groups = Groups::start(stage).await?;
    groups.group("right", &[scalable(custom(stage, "mix", 1))]).await?;
    let adapter = groups.until_bound("right-mix").await?;
    let set = groups.get(Kind::InstanceSet, "right-mix").await?;
    ensure!(text(&adapter, "/status/selector") == text(&set, "/status/labelSelector"));
    Ok(())
}

async fn selector(groups: &Groups<'_>, role: &str) -> Result<String> {
    let adapter = groups.until_bound(&format!("pd-{role}")).await?;
    Ok(text(&adapter, "/status/selector").to_owned())
}

async fn rebind(groups: &Groups<'_>, role: &str) -> Result<()> {
    let name = format!("pd-{role}");
    let before = groups.get(Kind::Adapter, &name).await?.metadata.uid;
    groups.api(Kind::Adapter).delete(&name, &DeleteParams::default()).await?;
    let is_new = |adapter: &kube::api::DynamicObject| {
        adapter.metadata.uid != before && text(adapter, "/status/phase") == "Bound"
    };
    groups.until(Kind::Adapter, &name, "a new one that is bound", is_new).await.map(drop)
}

/// HPAs and kubectl fail on wrong selectors.
pub(crate) async fn hpas_and_kubectl_fail_on_wrong_selectors(stage: &Stage) -> Result<()> {
    let groups =
        Groups::start_with(stage, |options| options.selector = AdapterSelector::LeadingComma)
            .await?;
    let roles = [leader_worker(stage, "multi", 1, 2), standalone(stage, "single", 1)];
    groups.group("pd", &roles.map(scalable)).await?;
    for role in ["multi", "single"] {
        hpa(&groups, role).await?;
    }
    let scale =
        ["-n", &stage.namespace, "scale", "rolebasedgroupscalingadapter/pd-multi", "--replicas=2"];
    let printed = stage.control_plane().kubectl(scale).await;
    let error = printed.err().map(|error| format!("{error:#}"));
    measured("kubectl scale fails on a leading comma", error.is_some(), &error)?;
    let replicas = number(&groups.get(Kind::Adapter, "pd-multi").await?, "/spec/replicas");
    measured(
        "the write of kubectl scale takes effect all the same",
        replicas == Some(2),
        replicas,
    )?;
    groups.until_role("pd", "multi", 2, 2).await?;

    let seen = until_condition(stage, "single", "ScalingActive", "InvalidSelector").await?;
    measured(
        "an HPA reports an empty selector as missing",
        seen.contains("missing a selector"),
        &seen,
    )?;
    let seen = until_condition(stage, "multi", "AbleToScale", "FailedGetScale").await?;
    measured("an HPA cannot read a scale with a leading comma", !seen.is_empty(), &seen)
}

async fn hpa(groups: &Groups<'_>, role: &str) -> Result<()> {
    let target = json!({
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": Kind::Adapter.name(),
        "name": format!("pd-{role}"),
    });
    let average = json!({"type": "Utilization", "averageUtilization": 50});
    let hpa: HorizontalPodAutoscaler = serde_json::from_value(json!({
        "metadata": {"name": role},
        "spec": {
            "scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": average}}],
        },
    }))?;
    let api = groups.stage.api::<HorizontalPodAutoscaler>();
    api.create(&PostParams::default(), &hpa).await.context("creating an HPA").map(drop)
}

/// Waits until a condition is False for a reason, and returns its message.
async fn until_condition(stage: &Stage, hpa: &str, type_: &str, reason: &str) -> Result<String> {
    let api = stage.api::<HorizontalPodAutoscaler>();
    wait::until(&format!("the HPA of {hpa} to have {type_}=False/{reason}"), HPA, async || {
        let conditions =
            api.get(hpa).await?.status.and_then(|status| status.conditions).unwrap_or_default();
        let mut found =
            conditions.into_iter().filter(|found| found.type_ == type_ && found.status == "False");
        let message = found.find(|found| found.reason.as_deref() == Some(reason));
        Ok(message.map(|found| found.message.unwrap_or_default()))
    })
    .await
}
