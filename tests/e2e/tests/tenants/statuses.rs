//! Statuses that take long to write.

use std::time::Duration;

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{
    ApiProxy,
    api_proxy::{ApiFault, Rule},
};
use serde_json::json;
use tokio::time::Instant;

/// The number of autoscalers with slow statuses.
const SLOW: usize = 40;
/// The time that writing one of their statuses takes.
const TIME: Duration = Duration::from_secs(3);
/// The time within which a size must follow the load: an interval of a second, and one more.
const ON_TIME: Duration = Duration::from_secs(3);

/// A webhook or a policy makes statuses slow. Sizes used to wait for them: 43 s instead of 2.
pub(crate) async fn statuses_that_a_webhook_makes_slow(stage: &Stage) -> Result<String> {
    let proxy = ApiProxy::start(stage.control_plane().url()).await?;
    let path = "/status".to_owned();
    let fault = ApiFault::Slow(TIME);
    proxy.break_requests(vec![Rule { method: "PATCH", path, is_watch: false, fault }]);
    stage.operator.start_behind(proxy.url())?;
    stage.waiting("b", 4);
    stage.engine("b", 1).await?;
    stage.autoscaler("b", json!({})).await?;
    stage.until_condition("b", "Ready", "True", "Scaling").await?;
    // These have no target, so their statuses say that, and again whenever they change.
    for number in 0..SLOW {
        stage.autoscaler(&format!("slow-{number}"), json!({})).await?;
    }
    let mut slowest = Duration::ZERO;
    let stabilization = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}});
    stage.autoscaler("b", stabilization).await?;
    for (waiting, replicas) in [(11, 3), (1, 1), (11, 3)] {
        for number in 0..SLOW {
            let spec = json!({"maxReplicas": 3 + waiting});
            stage.autoscaler(&format!("slow-{number}"), spec).await?;
        }
        let began = Instant::now();
        stage.waiting("b", waiting);
        stage.until_replicas("b", replicas, SOON).await?;
        slowest = slowest.max(began.elapsed());
        stage.until_ready("b", replicas).await?;
    }
    ensure!(slowest <= ON_TIME, "a size came {:.1} s after the load", slowest.as_secs_f64());
    Ok(format!("sizes at most {:.1} s after the load", slowest.as_secs_f64()))
}
