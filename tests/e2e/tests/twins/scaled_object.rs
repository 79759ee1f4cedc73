//! An LLMAutoscaler with `mode: Recommend` beside a ScaledObject: KEDA's kind, and the HPA that
//! KEDA makes of one. The HPA is the real controller's, and KEDA itself does not run. KEDA's
//! metrics API is played by the API of the pods' pages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use chrono::Utc;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::PostParams;
use llm_autoscaler_e2e::{Cluster, SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

use crate::beside::{both, hpa, queue, set_mode, writes};

/// The name of the scenario.
pub(crate) const NAME: &str = "recommendation_beside_a_scaled_object";

/// The time of a switch: other autoscalers are listed once, and the status is written once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Only the status is written, with both numbers. The switch ends the recommendation at once,
/// although the ScaledObject keeps the target.
pub(crate) async fn run(cluster: &Arc<Cluster>) -> Result<()> {
    let stage = Stage::create_with(cluster.clone(), "keda", &["--sync-period-seconds=1"]).await?;
    let began = Utc::now();
    stage.engine("a", 1).await?;
    scaled_object(&stage).await?;
    set_mode(&stage, "Recommend").await?;
    queue(&stage, 25);
    both(&stage, 5, 3).await?;
    let ready = stage.until_condition("a", "Ready", "True", "Recommending").await?;
    ensure!(ready.observed_generation == Some(1), "{ready:?}");
    let status = stage.status("a").await?;
    let recommendation = status.targets[0].recommendation.as_ref();
    ensure!(recommendation.is_some_and(|it| it.replicas == 3), "{recommendation:?}");
    queue(&stage, 4);
    both(&stage, 1, 3).await?;

    set_mode(&stage, "Scale").await?;
    the_recommendation_ends_at_once(&stage).await?;
    stage.stays("a", 1, Duration::from_secs(3)).await?;
    let written: Vec<_> = writes(&stage)?.into_iter().filter(|(at, _)| *at >= began).collect();
    ensure!(!written.is_empty(), "the audit log has no status of ours");
    let only = ["llmautoscalers/status", "events"];
    ensure!(written.iter().all(|(_, resource)| only.contains(&&**resource)), "{written:?}");

    set_mode(&stage, "Recommend").await?;
    stage.until_condition("a", "Recommending", "True", "RecommendMode").await?;
    // The HPA goes with its owner. The switch looks for both at once, and not at the next listing.
    let delete = ["-n", &stage.namespace, "delete", "scaledobjects.keda.sh/a"];
    stage.control_plane().kubectl(delete).await?;
    wait::until("the HPA to be gone", SOON, async || {
        let hpa = stage.api::<HorizontalPodAutoscaler>().get_opt("keda-hpa-a").await?;
        Ok(hpa.is_none().then_some(()))
    })
    .await?;
    queue(&stage, 25);
    set_mode(&stage, "Scale").await?;
    stage.until_replicas("a", 3, AT_ONCE).await
}

/// Creates a ScaledObject, and the HPA that KEDA makes of one.
async fn scaled_object(stage: &Stage) -> Result<()> {
    let cluster = stage.control_plane();
    cluster.apply_yaml(include_str!("../../fixtures/scaledobject-crd.yaml")).await?;
    let established =
        ["wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=30s"];
    cluster.kubectl(established).await?;
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "a", "namespace": stage.namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "minReplicaCount": 1, "maxReplicaCount": 8,
        },
    });
    cluster.apply_yaml(&object.to_string()).await?;
    let get = ["-n", &stage.namespace, "get", "scaledobjects.keda.sh", "a", "-o", "json"];
    let made: Value = serde_json::from_str(&cluster.kubectl(get).await?)?;
    let mut hpa = serde_json::to_value(hpa()?)?;
    hpa["metadata"] = json!({
        "name": "keda-hpa-a",
        "labels": {"scaledobject.keda.sh/name": "a", "app.kubernetes.io/managed-by": "keda-operator"},
        "ownerReferences": [{
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "a",
            "uid": made["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
        }],
    });
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    hpas.create(&PostParams::default(), &serde_json::from_value(hpa)?).await?;
    Ok(())
}

/// Waits for the status of the mode `Scale`, and checks that it came soon.
async fn the_recommendation_ends_at_once(stage: &Stage) -> Result<()> {
    let began = Instant::now();
    let taken = stage.until_condition("a", "Ready", "False", "TargetTaken").await?;
    ensure!(taken.message.contains("is scaled by the"), "{}", taken.message);
    let status = loop {
        let status = stage.status("a").await?;
        let left = status.conditions.iter().any(|condition| condition.type_ == "Recommending");
        if !left && status.targets[0].recommendation.is_none() {
            break status;
        }
        ensure!(began.elapsed() < SOON, "the recommendation stays: {status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    ensure!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
    let sizes = (status.current_replicas, status.desired_replicas);
    ensure!(sizes.0 == sizes.1, "{sizes:?}");
    Ok(())
}
