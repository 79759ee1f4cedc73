//! Changes of specs and sizes, and restarts, in the middle of scaling.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use kube::ResourceExt;
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_testbed::{ApiProxy, Webhook, wait};
use serde_json::json;

use crate::{Stage, stage::SOON};

/// A new bound applies at once, and a new target at the next sample; nothing is lost in between.
pub(super) async fn spec_is_edited_mid_flight(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({"maxReplicas": 2})).await?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 2, SOON).await?;
    let limited = stage.until_condition("a", "ScalingLimited", "True", "TooManyReplicas").await?;
    ensure!(limited.observed_generation == Some(1), "{limited:?}");

    stage.autoscaler("a", json!({"maxReplicas": 4})).await?;
    stage.until_replicas("a", 4, SOON).await?;
    stage.autoscaler("a", json!({"maxReplicas": 3})).await?;
    stage.until_replicas("a", 3, SOON).await?;
    let note = "New size: 3; reason: Current number of replicas above Spec.MaxReplicas";
    stage.until_event("a", "SuccessfulRescale", note).await?;

    // With a target that the load meets the size stays, and the status has the new generation.
    let metrics = json!([{
        "signal": "WaitingRequests",
        "target": {"type": "AverageValue", "averageValue": "11"},
    }]);
    stage.autoscaler("a", json!({"maxReplicas": 5, "metrics": metrics})).await?;
    // Earlier generations may have had the same condition.
    wait::until("the condition of generation 4", SOON, async || {
        let conditions = stage.status("a").await?.conditions;
        Ok(conditions.into_iter().find(|found| {
            found.type_ == "ScalingLimited"
                && found.reason == "DesiredWithinRange"
                && found.observed_generation == Some(4)
        }))
    })
    .await?;
    stage.stays("a", 3, Duration::from_secs(3)).await
}

/// A restart never makes a scale-down come earlier, and delays it by at most one window.
pub(super) async fn operator_is_killed_in_the_middle_of_a_window(stage: &Stage) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(15);
    stage.engine("a", 1).await?;
    let window = WINDOW.as_secs();
    stage
        .autoscaler("a", json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": window}}}))
        .await?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_ready("a", 3).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    stage.waiting("a", 0);
    let emptied = Instant::now();
    tokio::time::sleep(Duration::from_secs(5)).await;
    stage.operator.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.operator.start()?;
    let restarted = Instant::now();

    stage
        .stays(
            "a",
            3,
            WINDOW.saturating_sub(emptied.elapsed()).saturating_sub(Duration::from_secs(1)),
        )
        .await?;
    stage.until_replicas("a", 1, SOON).await?;
    ensure!(
        restarted.elapsed() <= WINDOW + Duration::from_secs(6),
        "shrunk {:?} after the restart",
        restarted.elapsed()
    );
    Ok(())
}

/// A load that the pages show while refused sizes wait to be tried again holds the size for a whole
/// window.
pub(super) async fn load_falls_while_sizes_are_refused(stage: &Stage) -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(10);
    stage.engine("a", 3).await?;
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": WINDOW.as_secs()}});
    stage.waiting("a", 5);
    stage.autoscaler("a", json!({"maxReplicas": 5, "behavior": behavior})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let rule = json!({
        "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["statefulsets/scale"],
        "operations": ["UPDATE"],
    });
    let webhook =
        Webhook::start(stage.control_plane(), "sizes.example.com", &stage.namespace, rule).await?;
    webhook.deny(403, "not now");
    stage.waiting("a", 9);
    stage.until_condition("a", "AbleToScale", "False", "FailedUpdateScale").await?;
    // The writes are tried after 1, 3 and 7 s, and then not before 11 s.
    tokio::time::sleep(Duration::from_secs(11)).await;

    stage.waiting("a", 1);
    webhook.allow();
    stage.stays("a", 3, WINDOW.saturating_sub(Duration::from_secs(1))).await?;
    stage.until_replicas("a", 1, SOON).await
}

/// Without news the operator writes nothing, and reads neither target nor metadata again; a size
/// that is set by hand is noticed all the same.
pub(super) async fn quiet_autoscaler_asks_for_nothing(stage: &Stage) -> Result<()> {
    let proxy = ApiProxy::start(stage.control_plane().url()).await?;
    stage.operator.start_behind(proxy.url())?;
    let requests = || proxy.count_objects(&stage.namespace);
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({"podMonitor": {"mode": "Disabled"}})).await?;
    stage.waiting("a", 5);
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    // The value in the first status may be older than the current page.
    tokio::time::sleep(Duration::from_secs(17)).await;
    let before = stage.api::<LLMAutoscaler>().get("a").await?;
    let asked = requests();
    // Two ticks, each of which would read the target without its watch.
    tokio::time::sleep(Duration::from_secs(31)).await;
    let made = requests() - asked;
    ensure!(made == 0, "{made} requests in 31 s");
    let after = stage.api::<LLMAutoscaler>().get("a").await?;
    ensure!(
        before.resource_version() == after.resource_version(),
        "written: {:?}, then {:?}",
        before.status,
        after.status
    );
    ensure!(
        after.status.is_some_and(|status| status.summary.as_deref() == Some("waiting 5/5")),
        "no values"
    );
    let scale = ["-n", &stage.namespace, "scale", "statefulset/a", "--replicas=2"];
    stage.control_plane().kubectl(scale).await?;
    wait::until("the size that was set to be noticed", SOON, async || {
        let status = stage.api::<LLMAutoscaler>().get("a").await?.status.unwrap_or_default();
        Ok((status.current_replicas == Some(2)).then_some(()))
    })
    .await
}

/// A size that a person sets is noticed, and kept while the metrics agree with it.
pub(super) async fn size_is_changed_by_hand(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    stage.waiting("a", 5);
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    let scale = ["-n", &stage.namespace, "scale", "statefulset/a", "--replicas=2"];
    stage.control_plane().kubectl(scale).await?;
    stage.until_ready("a", 2).await?;
    stage.stays("a", 2, Duration::from_secs(3)).await?;
    stage.waiting("a", 11);
    stage.until_replicas("a", 3, SOON).await
}
