//! Unknown kinds that have several pods per replica.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{engine::Page, wait};
use serde_json::json;

use super::{WRONG, without_window};

/// Two replicas of two pods each. Without a rule to group pods into replicas nothing shrinks, and a
/// condition names the reason. With it, leaders are scraped and replicas are counted.
pub(crate) async fn pods_and_replicas_that_do_not_match(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    cluster.apply_yaml(include_str!("../../../fixtures/fleet-crd.yaml")).await?;
    cluster
        .kubectl(["wait", "--for=condition=Established", "crd/fleets.example.com", "--timeout=30s"])
        .await?;
    let fleet = json!({
        "apiVersion": "example.com/v1",
        "kind": "Fleet",
        "metadata": {"name": "pairs", "namespace": stage.namespace},
        "spec": {"size": 2}, "status": {"size": 2, "selector": "fleet=pairs"},
    });
    cluster.apply_yaml(&fleet.to_string()).await?;
    for (group, rank) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let name = format!("pair-{group}-{rank}");
        let page = Page::waiting(if rank == 0 { 0 } else { WRONG });
        stage.script.set(&format!("{}/{name}", stage.namespace), page);
        create_pod(stage, &name, group, rank).await?;
    }
    let target = json!({"apiVersion": "example.com/v1", "kind": "Fleet", "name": "pairs"});
    let spec = json!({"scaleTargetRef": target, "maxReplicas": 2, "behavior": without_window()});
    stage.autoscaler("pairs", spec.clone()).await?;
    let advisory = stage.until_condition("pairs", "Advisory", "True", "ReplicasMismatch").await?;
    ensure!(
        advisory.message.contains("has 2 replicas and its selector finds 4"),
        "{}",
        advisory.message
    );

    // All pods are idle now, and the grouping is still unknown.
    for rank in [0, 1] {
        for group in [0, 1] {
            stage.script.set(&format!("{}/pair-{group}-{rank}", stage.namespace), Page::idle());
        }
    }
    stage.until_condition("pairs", "ScalingLimited", "True", "ReplicasMismatch").await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(size(stage).await? == "2", "{}", size(stage).await?);

    for group in [0, 1] {
        stage.script.set(&format!("{}/pair-{group}-1", stage.namespace), Page::waiting(WRONG));
    }
    let mut described = spec;
    described["replicaPods"] = json!({
        "groupLabel": "group", "leaderSelector": {"matchLabels": {"rank": "0"}}, "size": 2,
    });
    stage.autoscaler("pairs", described).await?;
    wait::until("the fleet to be scaled to 1", SOON, async || {
        Ok((size(stage).await? == "1").then_some(()))
    })
    .await
}

async fn size(stage: &Stage) -> Result<String> {
    let path = "jsonpath={.spec.size}";
    stage
        .control_plane()
        .kubectl(["-n", &stage.namespace, "get", "fleet", "pairs", "-o", path])
        .await
}

async fn create_pod(stage: &Stage, name: &str, group: u32, rank: u32) -> Result<()> {
    let labels = json!({"fleet": "pairs", "group": group.to_string(), "rank": rank.to_string()});
    let port = json!({"name": "http", "containerPort": stage.port()});
    let pod = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "engine", "image": "engine", "ports": [port]}]},
    });
    stage.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    Ok(())
}
