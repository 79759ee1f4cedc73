//! Real vLLM, behind the front that plays its Service.

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{Balance, Engine, Front};
use serde_json::json;

use crate::real::{START, TARGET, follow, install, program};

/// Scales by the requests in flight. The time to the first token has a value, too, and a target
/// that it does not reach.
pub(crate) async fn real_vllm(stage: &Stage) -> Result<String> {
    let scripts = install("vllm").await?;
    stage.assign(TARGET, Engine::Command(program(stage, &scripts.join("serve.sh"))?));
    stage.create_engine(TARGET, 1).await?;
    stage.until_ready_within(TARGET, 1, START).await?;
    let labels = format!("app={TARGET}");
    let front =
        Front::start(stage.client(), &stage.namespace, &labels, Balance::LeastOutstanding).await?;

    let in_flight = json!({"type": "AverageValue", "averageValue": "8"});
    let first_token = json!({"type": "Value", "value": "60"});
    let metrics = json!([
        {"name": "in-flight", "signal": "InFlightRequests", "target": in_flight},
        {"name": "first-token", "signal": "TimeToFirstToken", "windowSeconds": 10, "target": first_token},
    ]);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 5}});
    stage.autoscaler(TARGET, json!({"metrics": metrics, "behavior": behavior})).await?;
    stage.until_condition(TARGET, "Ready", "True", "Scaling").await?;
    follow(stage, &front.url(), &[TARGET]).await
}
