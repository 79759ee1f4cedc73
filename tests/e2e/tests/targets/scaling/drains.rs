//! Replicas of several pods are drained as a whole.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use super::{role, set_leaders_waiting, stays, until_requested, without_window};
use crate::groups::{Groups, leader_worker, scalable, standalone};

/// The condition type of the readiness gate.
pub(crate) const GATE: &str = "llmautoscaler.io/in-service";

/// Grants the operator permissions that it lacks by default.
pub(crate) async fn permit(stage: &Stage, roles: &[&str]) -> Result<()> {
    for role in roles {
        let label = "llmautoscaler.io/aggregate-to-targets=true";
        stage.control_plane().kubectl(["label", "--overwrite", "clusterrole", role, label]).await?;
    }
    Ok(())
}

/// Applies an autoscaler with `drain` for the role `decode` of the group `pd`: up to three
/// replicas, 10 requests each.
pub(crate) async fn autoscaler(stage: &Stage) -> Result<()> {
    let metric = json!({
        "signal": "InFlightRequests",
        "target": {"type": "AverageValue", "averageValue": "10"},
    });
    let spec = json!({
        "scaleTargetRef": role("pd", "decode"),
        "metrics": [metric],
        "behavior": without_window(),
        "drain": {"deadlineSeconds": 60},
    });
    stage.autoscaler("decode", spec).await
}

/// Adds the readiness gate to the pods of a standalone role.
pub(crate) fn gated(mut role: Value) -> Value {
    role["standalonePattern"]["template"]["spec"]["readinessGates"] =
        json!([{"conditionType": GATE}]);
    role
}

/// Makes a pod report this many running requests.
pub(crate) fn running(stage: &Stage, pod: &str, running: u64) {
    stage
        .script
        .set(&format!("{}/{pod}", stage.namespace), Page::Vllm { running, waiting: 0, kv: 0.1 });
}

/// Returns the pods of the role that are out of service.
pub(crate) async fn out_of_service(groups: &Groups<'_>) -> Result<Vec<String>> {
    let pods = groups.pods_of("pd", "decode").await?;
    let is_out = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|condition| condition.type_ == GATE && condition.status == "False")
    };
    Ok(pods.into_iter().filter(|(_, pod)| is_out(pod)).map(|(name, _)| name).collect())
}

/// Waits until these pods are out of service, and fails if another one is.
pub(crate) async fn until_out(groups: &Groups<'_>, expected: &[&str]) -> Result<()> {
    wait::until(&format!("{expected:?} to be out of service"), SOON, async || {
        let out = out_of_service(groups).await?;
        ensure!(
            out.iter().all(|name| expected.contains(&name.as_str())),
            "{out:?} are out of service"
        );
        Ok((out.len() == expected.len()).then_some(()))
    })
    .await
}

/// The instance with the highest ordinal is removed: its pods leave service, and its leader's page
/// shows when it is empty.
pub(crate) async fn a_role_by_its_highest_instance(stage: &Stage) -> Result<()> {
    permit(stage, &["llm-autoscaler-in-service"]).await?;
    let groups = Groups::start(stage).await?;
    set_leaders_waiting(&groups, "pd-decode", 2, 0);
    let all_run = |leaders: [u64; 3]| {
        for (replica, requests) in leaders.into_iter().enumerate() {
            running(stage, &format!("pd-decode-{replica}-0"), requests);
        }
    };
    all_run([9, 9, 9]);
    autoscaler(stage).await?;
    let mut decode = leader_worker(stage, "decode", 3, 2);
    decode["leaderWorkerPattern"]["template"]["spec"]["readinessGates"] =
        json!([{"conditionType": GATE}]);
    groups.group("pd", &[scalable(decode)]).await?;

    all_run([5, 5, 5]);
    until_out(&groups, &["pd-decode-2-0", "pd-decode-2-1"]).await?;
    stays(&groups, "pd", "decode", 3, Duration::from_secs(3)).await?;
    all_run([8, 7, 0]);
    until_requested(&groups, "pd", "decode", 2).await?;
    groups.until_role("pd", "decode", 2, 2).await?;
    stage.until_condition("decode", "Draining", "False", "Drained").await.map(drop)
}

/// In an ordered role, in which no instance is removed above one that is not ready, one instance at
/// a time is out of service.
pub(crate) async fn ordered_role_drains_one_by_one(stage: &Stage) -> Result<()> {
    permit(stage, &["llm-autoscaler-in-service"]).await?;
    let groups = Groups::start(stage).await?;
    let all_run = |requests: u64| {
        for ordinal in 0..3 {
            running(stage, &format!("pd-decode-{ordinal}"), requests);
        }
    };
    all_run(9);
    autoscaler(stage).await?;
    let mut decode = scalable(gated(standalone(stage, "decode", 3)));
    decode["podManagementPolicy"] = json!("OrderedReady");
    groups.group("pd", &[decode]).await?;
    all_run(2);
    until_out(&groups, &["pd-decode-2"]).await?;
    stays(&groups, "pd", "decode", 3, Duration::from_secs(3)).await?;
    all_run(0);
    until_requested(&groups, "pd", "decode", 1).await?;
    groups.until_role("pd", "decode", 1, 1).await
}
