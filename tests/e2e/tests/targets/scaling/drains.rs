//! Replicas of several pods are drained as one.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::engine::Page;
use llm_autoscaler_testbed::wait;
use serde_json::json;

use super::{hasty, leaders_say, role, stays, until_asked};
use crate::groups::{Groups, leader_worker, scalable};

const GATE: &str = "llmautoscaler.io/in-service";

/// The instance with the highest ordinal goes: its pods are out of service, and its leader says when it is empty.
pub async fn a_role_by_its_highest_instance(stage: &Stage) -> Result<()> {
    let label = "llmautoscaler.io/aggregate-to-targets=true";
    let in_service = "llm-autoscaler-in-service";
    stage.control_plane().kubectl(["label", "--overwrite", "clusterrole", in_service, label]).await?;
    let groups = Groups::start(stage).await?;
    leaders_say(&groups, "pd-decode", 2, 0);
    let running = |leaders: [u64; 3]| {
        for (replica, running) in leaders.into_iter().enumerate() {
            let page = Page::Vllm { running, waiting: 0, kv: 0.1 };
            stage.script.set(&format!("{}/pd-decode-{replica}-0", stage.namespace), page);
        }
    };
    running([9, 9, 9]);
    let metric =
        json!({"signal": "InFlightRequests", "target": {"type": "AverageValue", "averageValue": "10"}});
    let spec = json!({
        "scaleTargetRef": role("pd", "decode"), "metrics": [metric], "behavior": hasty(), "drain": {"deadlineSeconds": 60},
    });
    stage.autoscaler("decode", spec).await?;
    let mut decode = leader_worker(stage, "decode", 3, 2);
    decode["leaderWorkerPattern"]["template"]["spec"]["readinessGates"] = json!([{"conditionType": GATE}]);
    groups.group("pd", &[scalable(decode)]).await?;

    running([5, 5, 5]);
    wait::until("the last instance to be out of service", SOON, async || {
        let pods = groups.pods_of("pd", "decode").await?;
        let closed = pods.iter().filter(|(_, pod)| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|condition| condition.type_ == GATE && condition.status == "False")
        });
        let closed: Vec<&String> = closed.map(|(name, _)| name).collect();
        ensure!(closed.iter().all(|name| name.starts_with("pd-decode-2-")), "{closed:?} are out of service");
        Ok((closed.len() == 2).then_some(()))
    })
    .await?;
    stays(&groups, "pd", "decode", 3, Duration::from_secs(3)).await?;
    running([8, 7, 0]);
    until_asked(&groups, "pd", "decode", 2).await?;
    groups.until_role("pd", "decode", 2, 2).await?;
    stage.until_condition("decode", "Draining", "False", "Drained").await.map(drop)
}
