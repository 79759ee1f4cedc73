//! Scaling groups and cliques of Grove's PodCliqueSets.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{engine::Page, wait};
use serde_json::{Value, json};

use super::{until_counted, without_window};
use crate::played::grove::{Grove, Kind, Selectors};

fn target(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "grove.io/v1alpha1", "kind": kind, "name": name})
}

/// Sets the pages of the two pods of a replica of the group `web-0-pair`.
fn set_pair_waiting(stage: &Stage, replica: u32, waiting: [u64; 2]) {
    for (clique, waiting) in ["left", "right"].into_iter().zip(waiting) {
        let pod = format!("{}/web-0-pair-{replica}-{clique}-0", stage.namespace);
        stage.script.set(&pod, Page::waiting(waiting));
    }
}

/// A replica is a pod of each of two cliques. The loads of both are added, and replicas are created
/// and removed as a whole.
pub(crate) async fn scaling_group_by_whole_replicas(stage: &Stage) -> Result<()> {
    let grove = Grove::start(stage, Selectors::Published).await?;
    // 11 requests wait in the first replica, and 2 in each further one: 15 in all, which three
    // replicas can take.
    set_pair_waiting(stage, 0, [6, 5]);
    (1..6).for_each(|replica| set_pair_waiting(stage, replica, [1, 1]));
    grove.set("web", &[("left", 1), ("right", 1)], &[("pair", &["left", "right"], 1)]).await?;
    grove.until_status(Kind::Group, "web-0-pair", "availableReplicas", 1).await?;
    let spec = json!({
        "scaleTargetRef": target("PodCliqueScalingGroup", "web-0-pair"),
        "maxReplicas": 6,
        "behavior": without_window(),
    });
    stage.autoscaler("pair", spec).await?;

    grove.until_replicas(Kind::Group, "web-0-pair", 3).await?;
    grove.until_status(Kind::Group, "web-0-pair", "availableReplicas", 3).await?;
    until_counted(stage, "pair", 3, 3).await?;
    stays(&grove, Kind::Group, "web-0-pair", 3).await?;

    // A pod that is not ready makes its replica unready.
    let right = format!("{}/web-0-pair-2-right-0", stage.namespace);
    stage.script.set_ready(&right, false);
    until_counted(stage, "pair", 3, 2).await?;
    stage.script.set_ready(&right, true);
    until_counted(stage, "pair", 3, 3).await?;

    (0..6).for_each(|replica| set_pair_waiting(stage, replica, [0, 0]));
    grove.until_replicas(Kind::Group, "web-0-pair", 1).await?;
    until_pods(stage, &["web-0-pair-0-left-0", "web-0-pair-0-right-0"]).await
}

/// Each pod of a clique that is in no group is a replica. Older versions publish no selector for
/// these pods.
pub(crate) async fn standalone_clique_without_a_selector(stage: &Stage) -> Result<()> {
    let grove = Grove::start(stage, Selectors::Missing).await?;
    for (index, waiting) in [11, 2, 2].into_iter().enumerate() {
        stage
            .script
            .set(&format!("{}/web-0-engine-{index}", stage.namespace), Page::waiting(waiting));
    }
    grove.set("web", &[("engine", 1)], &[]).await?;
    grove.until_status(Kind::Clique, "web-0-engine", "readyReplicas", 1).await?;
    let spec = json!({
        "scaleTargetRef": target("PodClique", "web-0-engine"),
        "maxReplicas": 6,
        "behavior": without_window(),
    });
    stage.autoscaler("engine", spec).await?;

    grove.until_replicas(Kind::Clique, "web-0-engine", 3).await?;
    until_counted(stage, "engine", 3, 3).await?;
    stage.script.set_all(&Page::idle());
    grove.until_replicas(Kind::Clique, "web-0-engine", 1).await?;
    until_pods(stage, &["web-0-engine-0"]).await
}

/// The group sets the sizes of its cliques, so a clique of a group is refused.
pub(crate) async fn clique_of_a_group_is_refused(stage: &Stage) -> Result<()> {
    let grove = Grove::start(stage, Selectors::Published).await?;
    stage.script.set_all(&Page::waiting(11));
    grove.set("web", &[("left", 1), ("right", 1)], &[("pair", &["left", "right"], 1)]).await?;
    grove.until_status(Kind::Group, "web-0-pair", "availableReplicas", 1).await?;
    stage
        .autoscaler("left", json!({"scaleTargetRef": target("PodClique", "web-0-pair-0-left")}))
        .await?;
    let refused = stage.until_condition("left", "AbleToScale", "False", "TargetControlled").await?;
    let expected = "scale the PodCliqueScalingGroup web-0-pair instead";
    ensure!(refused.message.ends_with(expected), "{}", refused.message);
    stays(&grove, Kind::Clique, "web-0-pair-0-left", 1).await
}

/// The API server refuses fewer pods than `minAvailable`. The autoscaler reports that, and goes on
/// when its bound is corrected.
pub(crate) async fn clique_below_its_minimum(stage: &Stage) -> Result<()> {
    let grove = Grove::start(stage, Selectors::Published).await?;
    grove.set("web", &[("engine", 2)], &[]).await?;
    grove.until_status(Kind::Clique, "web-0-engine", "readyReplicas", 2).await?;
    let mut spec = json!({
        "scaleTargetRef": target("PodClique", "web-0-engine"),
        "behavior": without_window(),
    });
    stage.autoscaler("engine", spec.clone()).await?;
    let able = stage.until_condition("engine", "AbleToScale", "False", "FailedUpdateScale").await?;
    ensure!(
        able.message.contains("greater than or equal to spec.minAvailable"),
        "{}",
        able.message
    );
    stays(&grove, Kind::Clique, "web-0-engine", 2).await?;

    spec["minReplicas"] = json!(2);
    stage.autoscaler("engine", spec).await?;
    stage.until_condition("engine", "Ready", "True", "Scaling").await.map(drop)
}

/// Watches an object for a while, and fails if it ever requests another number of replicas.
async fn stays(grove: &Grove, kind: Kind, name: &str, replicas: i64) -> Result<()> {
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    while tokio::time::Instant::now() < end {
        let now = grove.replicas(kind, name).await?;
        ensure!(now == replicas, "{name} was to stay at {replicas}, and was scaled to {now}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until exactly these pods exist.
async fn until_pods(stage: &Stage, names: &[&str]) -> Result<()> {
    wait::until(&format!("no pods but {names:?}"), SOON, async || {
        let pods = stage.api::<Pod>().list(&ListParams::default()).await?.items;
        let there: Vec<_> = pods.iter().map(ResourceExt::name_any).collect();
        Ok((there == names).then_some(()))
    })
    .await
}
