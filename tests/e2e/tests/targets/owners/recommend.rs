//! Autoscalers that only recommend, beside one that scales the same target.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::json;

use super::stateful_set;

/// The older one only recommends, so the younger one has the target. The recommendation outlives
/// the operator.
pub(crate) async fn recommendation_beside_another_autoscaler(stage: &Stage) -> Result<()> {
    stage.engine("a", 1).await?;
    stage.waiting("a", 11);
    let shadow = json!({
        "scaleTargetRef": stateful_set("a"),
        "mode": "Recommend",
        "maxReplicas": 2,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    });
    stage.autoscaler("shadow", shadow).await?;
    let recommended = async |desired: i32, current: i32| {
        let what = format!("{desired} replicas to be recommended beside {current}");
        wait::until(&what, SOON, async || {
            let status = stage.status("shadow").await?;
            let sizes = (status.desired_replicas, status.current_replicas);
            Ok((sizes == (Some(desired), Some(current))).then_some(()))
        })
        .await
    };
    recommended(2, 1).await?;
    stage.stays("a", 1, Duration::from_secs(3)).await?;
    stage.until_condition("shadow", "Ready", "True", "Recommending").await?;
    told(stage).await?;

    // Creation timestamps have a resolution of a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let fast = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    stage.autoscaler("a", json!({"behavior": fast})).await?;
    stage.until_replicas("a", 3, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    recommended(2, 3).await?;
    stage.waiting("a", 0);
    stage.until_replicas("a", 1, SOON).await?;
    recommended(2, 1).await?;

    stage.operator.kill();
    stage.operator.start()?;
    stage.waiting("a", 1);
    stage.until_condition("shadow", "Ready", "True", "Recommending").await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    recommended(2, 1).await?;
    stage.stays("a", 1, Duration::from_secs(3)).await?;

    let set = stage.api::<StatefulSet>().get("a").await?;
    let scalers = set.managed_fields().iter().filter_map(|entry| entry.manager.as_deref());
    let ours = scalers.filter(|manager| *manager == "llm-autoscaler-scale").count();
    ensure!(ours == 1, "one of the two writes the size: {:?}", set.managed_fields());
    Ok(())
}

/// The log, `explain` and `bill` tell that a size is recommended, and not that it is under way.
async fn told(stage: &Stage) -> Result<()> {
    let log = stage.operator.log_tail(1000);
    ensure!(log.contains("action=\"recommended\"") && !log.contains("action=\"waiting\""), "{log}");
    let namespace = ["--namespace", &stage.namespace];
    let explained = stage.run_binary(&["explain", "shadow", namespace[0], namespace[1]]).await?;
    let billed = stage.run_binary(&["bill", "shadow", namespace[0], namespace[1]]).await?;
    for (text, part) in [
        (&explained, "1 requested, 1 ready, 2 recommended"),
        (&explained, "\nnext       nothing is written to StatefulSet/a with mode Recommend"),
        (&billed, "has mode Recommend and is not billed"),
    ] {
        ensure!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    Ok(())
}
