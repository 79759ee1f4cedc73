//! Roles with a CoordinatedPolicy, by which they grow only together.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::rbg::Kind;
use llm_autoscaler_testbed::wait;
use serde_json::json;

use super::{role, stays, until_requested, without_window};
use crate::groups::{Groups, number, scalable, standalone};

/// The time within which replicas that are not removed are reported.
const REPORTED: Duration = Duration::from_mins(2);

/// Sets the KV cache usage of every engine.
fn cache(stage: &Stage, kv: f64) {
    stage.script.set_all(&Page::Vllm { running: 1, waiting: 0, kv });
}

/// A role waits for another one that has no nodes for its pods. The operator does not request the
/// held-back replicas again. A smaller size is requested at once, and carried out when the other
/// role has given up; until then the replicas stay.
pub(crate) async fn held_back_replicas_are_not_requested_again(stage: &Stage) -> Result<()> {
    let groups = Groups::start(stage).await?;
    cache(stage, 0.4);
    let two = |name: &str| scalable(standalone(stage, name, 2));
    groups.group("pd", &[two("prefill"), two("decode")]).await?;
    let scaling = json!({"maxSkew": "20%", "progression": "OrderReady"});
    let policy = json!({
        "name": "together",
        "roles": ["prefill", "decode"],
        "strategy": {"scaling": scaling},
    });
    groups.create(Kind::Policy, "pd", json!({"policies": [policy]})).await?;
    for ordinal in 2..10 {
        stage.leave_pending(&format!("pd-prefill-{ordinal}"));
    }
    groups.scale("pd-prefill", 10).await?;
    groups.until_role("pd", "prefill", 4, 2).await?;

    let metric = json!({
        "signal": "KVCacheUsage",
        "target": {"type": "AverageValue", "averageValue": "450m"},
    });
    let spec = json!({
        "scaleTargetRef": role("pd", "decode"),
        "maxReplicas": 20,
        "metrics": [metric],
        "behavior": without_window(),
    });
    stage.autoscaler("decode", spec).await?;
    stage.until_condition("decode", "ScalingActive", "True", "ValidMetricFound").await?;
    cache(stage, 0.9);
    until_requested(&groups, "pd", "decode", 4).await?;
    stays(&groups, "pd", "decode", 4, Duration::from_secs(10)).await?;
    let set = groups.get(Kind::InstanceSet, "pd-decode").await?;
    ensure!(number(&set, "/spec/replicas") == Some(2), "the policy was to hold it back");

    cache(stage, 0.1);
    until_requested(&groups, "pd", "decode", 1).await?;
    stays(&groups, "pd", "decode", 1, Duration::from_secs(3)).await?;
    let set = groups.get(Kind::InstanceSet, "pd-decode").await?;
    ensure!(number(&set, "/spec/replicas") == Some(2), "the policy was to hold it back");
    wait::until("the replica that is not removed to be reported", REPORTED, async || {
        let conditions = stage.status("decode").await?.conditions;
        let expected = "2 replicas exist and 1 are requested";
        let is_told = conditions
            .iter()
            .any(|condition| condition.type_ == "Advisory" && condition.message.contains(expected));
        Ok(is_told.then_some(()))
    })
    .await?;
    groups.scale("pd-prefill", 2).await?;
    groups.until_role("pd", "decode", 1, 1).await?;
    cache(stage, 0.9);
    groups.until_role("pd", "decode", 2, 2).await
}
