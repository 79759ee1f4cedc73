//! Components of Dynamo's graphs with several nodes, by their scaling adapters.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{engine::Page, wait};
use serde_json::{Value, json};

use super::{WRONG, until_counted, without_window};
use crate::played::{
    dynamo::{Dynamo, Provider},
    grove::{Grove, Selectors},
};

fn target(version: &str, name: &str) -> Value {
    let api_version = format!("nvidia.com/{version}");
    json!({"apiVersion": api_version, "kind": "DynamoGraphDeploymentScalingAdapter", "name": name})
}

fn spec(version: &str) -> Value {
    json!({
        "scaleTargetRef": target(version, "web-decode"),
        "maxReplicas": 6,
        "behavior": without_window(),
    })
}

/// Sets the waiting requests of the leaders of two replicas; `pod` returns the name of a replica's
/// leader.
fn set_leaders_waiting(stage: &Stage, pod: impl Fn(u32) -> String, waiting: [u64; 2]) {
    for replica in 0..6 {
        let waiting = if replica == 0 { waiting[0] } else { waiting[1] };
        stage.script.set(&format!("{}/{}", stage.namespace, pod(replica)), Page::waiting(waiting));
    }
}

/// A component of two nodes on Grove: the workers have no metrics page, and the leaders report for
/// both.
pub(crate) async fn component_on_grove(stage: &Stage) -> Result<()> {
    let _grove = Grove::start(stage, Selectors::Published).await?;
    let dynamo = Dynamo::start(stage, Provider::Grove).await?;
    let pod = |role: &'static str| move |replica| format!("web-0-decode-{replica}-decode-{role}-0");
    stage.script.set_all(&Page::Refuse);
    set_leaders_waiting(stage, pod("ldr"), [11, 2]);
    dynamo.graph("web", "Decode", 2, 1).await?;
    stage.autoscaler("decode", spec("v1beta1")).await?;
    up_and_down(stage, &dynamo, pod("ldr"), &pod("wkr")(1)).await
}

/// That component with LeaderWorkerSets, one per replica: the groups of all of them have the
/// same index.
pub(crate) async fn component_of_leader_worker_sets(stage: &Stage) -> Result<()> {
    let dynamo = Dynamo::start(stage, Provider::LeaderWorkerSets).await?;
    let pod = |replica| format!("web-decode-{replica}-0");
    stage.script.set_all(&Page::waiting(WRONG));
    set_leaders_waiting(stage, pod, [11, 2]);
    dynamo.graph("web", "Decode", 2, 1).await?;
    stage.autoscaler("decode", spec("v1alpha1")).await?;
    up_and_down(stage, &dynamo, pod, "web-decode-1-0-1").await
}

/// Scales from one replica of two pods to three, which are each counted as a whole, and back.
async fn up_and_down(
    stage: &Stage,
    dynamo: &Dynamo,
    leader: impl Fn(u32) -> String,
    worker: &str,
) -> Result<()> {
    dynamo.until_replicas("web", 3).await?;
    until_counted(stage, "decode", 3, 3).await?;
    let worker = format!("{}/{worker}", stage.namespace);
    stage.script.set_ready(&worker, false);
    until_counted(stage, "decode", 3, 2).await?;
    stage.script.set_ready(&worker, true);
    until_counted(stage, "decode", 3, 3).await?;
    stays(dynamo, 3).await?;
    set_leaders_waiting(stage, leader, [0, 0]);
    dynamo.until_replicas("web", 1).await?;
    until_counted(stage, "decode", 1, 1).await
}

/// The adapter's selector matches all pods. If these have no label with their replica, nothing
/// shrinks.
pub(crate) async fn pods_without_a_replica_label(stage: &Stage) -> Result<()> {
    let dynamo = Dynamo::start(stage, Provider::Unlabelled).await?;
    stage.script.set_all(&Page::idle());
    dynamo.graph("web", "Decode", 2, 2).await?;
    stage.autoscaler("decode", spec("v1beta1")).await?;
    let advisory = stage.until_condition("decode", "Advisory", "True", "ReplicasMismatch").await?;
    ensure!(
        advisory.message.contains("has 2 replicas and its selector finds 4"),
        "{}",
        advisory.message
    );
    stage.until_condition("decode", "ScalingLimited", "True", "ReplicasMismatch").await?;
    stays(&dynamo, 2).await
}

/// With GitOps the autoscaler may be created before its graph, and the adapter before its first
/// status.
pub(crate) async fn adapter_that_is_not_there_yet(stage: &Stage) -> Result<()> {
    let dynamo =
        Dynamo::start_with(stage, Provider::LeaderWorkerSets, Duration::from_secs(8)).await?;
    stage.script.set_all(&Page::waiting(11));
    stage.autoscaler("decode", spec("v1beta1")).await?;
    let able = stage.until_condition("decode", "AbleToScale", "False", "FailedGetScale").await?;
    ensure!(able.message.contains("\"web-decode\" not found"), "{}", able.message);
    dynamo.graph("web", "Decode", 2, 1).await?;
    let unbound =
        stage.until_condition("decode", "ScalingActive", "False", "InvalidSelector").await?;
    ensure!(unbound.message.contains("missing a selector"), "{}", unbound.message);
    ensure!(dynamo.replicas("web").await? == (1, 1), "it has been scaled without knowing its pods");
    dynamo.until_replicas("web", 3).await?;
    wait::until("nothing to be stalled", SOON, async || {
        let conditions = stage.status("decode").await?.conditions;
        let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        ensure!(!conditions.iter().any(|c| c.type_ == "Stalled"), "it was only a matter of time");
        Ok(ready.then_some(()))
    })
    .await
}

/// Watches the graph and its adapter for a while, and fails if either ever requests another number
/// of replicas.
async fn stays(dynamo: &Dynamo, replicas: i64) -> Result<()> {
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    while tokio::time::Instant::now() < end {
        let now = dynamo.replicas("web").await?;
        ensure!(
            now == (replicas, replicas),
            "it was to stay at {replicas}, and was scaled to {now:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
