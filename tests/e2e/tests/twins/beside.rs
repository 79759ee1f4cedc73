//! An LLMAutoscaler with `mode: Recommend` beside a real HPA that scales the same StatefulSet. The
//! HPA's target is 5 waiting requests per replica, and that of ours is 10, so the two disagree.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use k8s_openapi::api::{apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use llm_autoscaler_api::RecommendationStatus;
use llm_autoscaler_e2e::{Cluster, SOON, Stage};
use llm_autoscaler_testbed::{engine::Page, wait};
use serde_json::{Value, json};

/// The name of the scenario.
pub(crate) const NAME: &str = "recommendation_beside_an_hpa";

/// The scale-down window of ours, in seconds. The HPA has none.
const WINDOW: u64 = 45;

/// The HPA scales as if it were alone, and ours says what it would do; then the two change places.
pub(crate) async fn run(cluster: &Arc<Cluster>) -> Result<()> {
    let stage = Stage::create_with(cluster.clone(), "beside", &["--sync-period-seconds=1"]).await?;
    let began = Utc::now();
    stage.engine("a", 1).await?;
    stage.api::<HorizontalPodAutoscaler>().create(&PostParams::default(), &hpa()?).await?;
    set_mode(&stage, "Recommend").await?;

    queue(&stage, 25);
    both(&stage, 5, 3).await?;
    let ready = stage.until_condition("a", "Ready", "True", "Recommending").await?;
    ensure!(ready.observed_generation == Some(1), "{ready:?}");
    let condition = stage.until_condition("a", "Recommending", "True", "RecommendMode").await?;
    ensure!(
        condition.message.contains("it has 5 replicas, and 3 are recommended"),
        "{}",
        condition.message
    );

    // The HPA follows the load at once; ours would wait for its own window, from its own size.
    queue(&stage, 4);
    both(&stage, 1, 3).await?;
    both(&stage, 1, 1).await?;
    queue(&stage, 25);
    both(&stage, 5, 3).await?;
    the_bill_has_both(&stage).await?;
    let recommended_until = Utc::now();

    stage.api::<HorizontalPodAutoscaler>().delete("a", &DeleteParams::default()).await?;
    the_switch_is_no_jump(&stage).await?;

    // Back: the size is left to others again.
    set_mode(&stage, "Recommend").await?;
    stage.until_condition("a", "Recommending", "True", "RecommendMode").await?;
    let by_hand = Patch::Merge(json!({"spec": {"replicas": 2}}));
    stage.api::<StatefulSet>().patch("a", &PatchParams::default(), &by_hand).await?;
    both(&stage, 2, 3).await?;
    stage.stays("a", 2, Duration::from_secs(5)).await?;

    let writes = writes(&stage)?;
    let early = |(at, _): &&(DateTime<Utc>, String)| (began..recommended_until).contains(at);
    let beside: Vec<_> = writes.iter().filter(early).map(|(_, resource)| resource).collect();
    ensure!(!beside.is_empty(), "the audit log has no status of ours");
    ensure!(
        beside.iter().all(|resource| ["llmautoscalers/status", "events"].contains(&&***resource)),
        "written beside the HPA: {beside:?}"
    );
    let sizes = writes.iter().filter(|(_, resource)| resource == "statefulsets/scale").count();
    ensure!(sizes == 1, "{sizes} sizes were written: {writes:?}");
    Ok(())
}

pub(crate) fn hpa() -> Result<HorizontalPodAutoscaler> {
    let object = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "minReplicas": 1, "maxReplicas": 8,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "vllm:num_requests_waiting"},
                "target": {"type": "AverageValue", "averageValue": "5"},
            }}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    });
    Ok(serde_json::from_value(object)?)
}

/// Applies ours with a mode.
pub(crate) async fn set_mode(stage: &Stage, mode: &str) -> Result<()> {
    let spec = json!({
        "mode": mode,
        "maxReplicas": 8,
        "metrics": [{
            "signal": "WaitingRequests",
            "target": {"type": "AverageValue", "averageValue": "10"},
        }],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW}},
    });
    stage.autoscaler("a", spec).await
}

/// Sets the queue, all of which is at one pod.
pub(crate) fn queue(stage: &Stage, waiting: u64) {
    stage.script.set(&format!("{}/a-0", stage.namespace), Page::waiting(waiting));
}

/// Waits until the status has these sizes: that of the target, and the recommended one.
pub(crate) async fn both(stage: &Stage, current: i32, desired: i32) -> Result<()> {
    let (began, mut seen) = (Instant::now(), Vec::new());
    loop {
        let status = stage.status("a").await?;
        let sizes = (status.current_replicas, status.desired_replicas);
        if sizes == (Some(current), Some(desired)) {
            return Ok(());
        }
        if seen.last().is_none_or(|(_, last)| *last != sizes) {
            seen.push((began.elapsed().as_secs(), sizes));
        }
        ensure!(
            began.elapsed() < 2 * SOON,
            "expected {current} replicas, and {desired} recommended; seconds and sizes: {seen:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks the bill and the differences of the time so far, in which the HPA had more replicas, then
/// fewer, then more.
async fn the_bill_has_both(stage: &Stage) -> Result<()> {
    let RecommendationStatus { replicas, bill, differences } =
        *stage.status("a").await?.targets[0].recommendation.clone().context("no recommendation")?;
    ensure!(replicas == 3, "{replicas}");
    let sizes: Vec<_> = differences.iter().map(|each| (each.actual, each.recommended)).collect();
    ensure!(sizes.contains(&(5, 3)) && sizes.contains(&(1, 3)), "{differences:?}");
    ensure!(differences[0].until.is_none(), "the latest difference lasts: {differences:?}");
    ensure!(bill.covered_seconds > 0, "{bill:?}");
    let (least, most) = (bill.covered_seconds, 5 * bill.covered_seconds);
    for seconds in [bill.actual_replica_seconds, bill.recommended_replica_seconds] {
        ensure!((least..=most).contains(&seconds), "{bill:?}");
    }
    ensure!(bill.actual_replica_seconds != bill.recommended_replica_seconds, "{bill:?}");
    Ok(())
}

/// With the HPA gone, ours takes the size over as it is, and shrinks it after a whole window.
async fn the_switch_is_no_jump(stage: &Stage) -> Result<()> {
    wait::until("the deletion of the HPA to be noticed", Duration::from_mins(1), async || {
        let hpas = stage.api::<HorizontalPodAutoscaler>();
        Ok(hpas.get_opt("a").await?.is_none().then_some(()))
    })
    .await?;
    set_mode(stage, "Scale").await?;
    stage.stays("a", 5, Duration::from_secs(WINDOW - 5)).await?;
    // The other autoscalers of the cluster are listed every 30 s, and then the window begins.
    stage.until_replicas("a", 3, Duration::from_mins(2)).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let status = stage.status("a").await?;
    ensure!(status.targets[0].recommendation.is_none(), "{:?}", status.targets[0]);
    let left = status.conditions.iter().find(|condition| condition.type_ == "Recommending");
    ensure!(left.is_none(), "{left:?}");
    Ok(())
}

/// Reads the writes of the operator in the namespace from the audit log: time and resource.
pub(crate) fn writes(stage: &Stage) -> Result<Vec<(DateTime<Utc>, String)>> {
    let log = std::fs::read_to_string(stage.control_plane().audit_log())?;
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let write = |event: Value| {
        let object = &event["objectRef"];
        let is_ours = event["userAgent"].as_str()?.starts_with("llm-autoscaler/");
        let is_here = object["namespace"].as_str()? == stage.namespace;
        let is_write = ["create", "update", "patch", "delete"].contains(&event["verb"].as_str()?);
        let resource = object["resource"].as_str()?;
        let subresource = object["subresource"].as_str();
        let resource =
            subresource.map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
        let at = event["requestReceivedTimestamp"].as_str()?.parse().ok()?;
        (is_ours && is_here && is_write).then_some((at, resource))
    };
    Ok(events.filter_map(write).collect())
}
