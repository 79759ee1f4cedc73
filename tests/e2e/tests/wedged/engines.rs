//! An engine that answers no request, and one that answers a long one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, wait};
use serde_json::json;

/// The time after which an engine is wedged, and a quarter for the window of its counters.
const CERTAIN: Duration = Duration::from_secs(375);

/// A page of vLLM.
fn page(running: u64, tokens: u64) -> Page {
    Page::text(format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running {running}\n\
         # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 0\n\
         # TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc 0.25\n\
         # TYPE vllm:prompt_tokens_total counter\nvllm:prompt_tokens_total 500\n\
         # TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total {tokens}\n"
    ))
}

async fn scaled_by_requests(stage: &Stage) -> Result<()> {
    stage.page("a", &page(0, 0));
    stage.script.set(&format!("{}/a-0", stage.namespace), page(6, 9000));
    stage.engine("a", 1).await?;
    let target = json!({"type": "AverageValue", "averageValue": "32"});
    let spec = json!({
        "metrics": [{"signal": "InFlightRequests", "target": target}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    stage.autoscaler("a", spec).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    Ok(())
}

/// A replica with six requests that it never answers gets one replica beside it, which stays over a
/// restart of the operator, until a token comes.
pub(crate) async fn wedged_engine_is_replaced_once(stage: &Stage) -> Result<String> {
    let began = Instant::now();
    scaled_by_requests(stage).await?;
    stage.until_replicas("a", 2, CERTAIN).await?;
    let after = began.elapsed();
    ensure!(after > Duration::from_secs(290), "after {after:?} it was not certain");
    let hint = stage.until_condition("a", "Advisory", "True", "EngineWedged").await?;
    ensure!(hint.message.starts_with("a-0 (6 requests) had requests"), "{}", hint.message);
    stage.until_ready("a", 2).await?;
    wait::until("the wedged engine to be remembered", SOON, async || {
        let status = stage.status("a").await?;
        let stored = status.targets.iter().find_map(|target| target.history.as_ref());
        Ok(stored.filter(|stored| stored.wedged.len() == 1).map(|_| ()))
    })
    .await?;
    stage.operator.kill();
    stage.operator.start()?;
    stage.stays("a", 2, Duration::from_secs(20)).await?;
    stage.until_condition("a", "Advisory", "True", "EngineWedged").await?;
    stage.script.set(&format!("{}/a-0", stage.namespace), page(6, 9001));
    stage.until_replicas("a", 1, SOON).await?;
    Ok(format!("replaced after {} s", after.as_secs()))
}

/// An engine with one long request produces tokens, so it stays the only replica.
pub(crate) async fn long_request_is_progress(stage: &Stage) -> Result<String> {
    let began = Instant::now();
    scaled_by_requests(stage).await?;
    let mut tokens = 9000;
    while began.elapsed() < CERTAIN {
        tokens += 1;
        stage.script.set(&format!("{}/a-0", stage.namespace), page(6, tokens));
        stage.stays("a", 1, Duration::from_secs(20)).await?;
    }
    Ok(format!("{tokens} tokens"))
}
