//! Faults of single series on a readable page.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{EnginePage, Page};
use serde_json::json;

const NO_WINDOW: &str = r#"{"scaleDown": {"stabilizationWindowSeconds": 0}}"#;

fn vllm(running: u64, waiting: u64) -> String {
    EnginePage::Vllm.page(running, waiting)
}

/// A series that appears twice on a page counts once.
pub(crate) async fn twice_on_a_page(stage: &Stage) -> Result<String> {
    stage.engine("a", 1).await?;
    let page = vllm(8, 5);
    let series =
        page.lines().find(|line| line.starts_with("vllm:num_requests_waiting")).unwrap_or_default();
    stage.page("a", &Page::text(format!("{page}{series}\n")));
    stage.autoscaler("a", json!({})).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    stage.stays("a", 1, Duration::from_secs(4)).await?;
    let status = stage.status("a").await?;
    ensure!(status.summary.as_deref() == Some("waiting 5/5"), "{:?}", status.summary);
    Ok("5 twice is 5".to_owned())
}

/// A restarted process counts from zero: the rate does not drop because of it, and is never
/// negative.
pub(crate) async fn counter_reset(stage: &Stage) -> Result<String> {
    stage.engine("a", 3).await?;
    let target = json!({"type": "AverageValue", "averageValue": "10"});
    // The counter grows by ten a second, with a restart of all pods after 8 s.
    let began = Instant::now();
    let count = || {
        let tenths = began.elapsed().as_millis() as u64 / 100;
        let answered = if tenths < 80 { 1_000_000 + tenths } else { tenths - 80 };
        stage.page("a", &Page::text(format!("answered_total {answered}\n")));
    };
    count();
    stage
        .autoscaler(
            "a",
            json!({
                "engine": "Custom",
                "metrics": [{
                    "series": {"name": "answered_total"},
                    "windowSeconds": 5,
                    "target": target,
                }],
                "behavior": serde_json::from_str::<serde_json::Value>(NO_WINDOW)?,
            }),
        )
        .await?;
    while began.elapsed() < Duration::from_secs(15) {
        count();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let replicas = stage.replicas("a").await?;
        ensure!(replicas == 3, "scaled to {replicas} after {:?}", began.elapsed());
    }
    let status = stage.status("a").await?;
    let current = status.targets[0].metrics[0].current.clone().unwrap_or_default();
    stage.until_replicas("a", 1, SOON).await?;
    Ok(format!(
        "10/s through a reset: stays at 3 (shown as {current}); at rest the rate is zero: 3 -> 1"
    ))
}

/// An engine upgrade renames a metric: the missing series is not zero, and the condition names the
/// similar series of the page.
pub(crate) async fn renamed(stage: &Stage) -> Result<String> {
    stage.engine("a", 3).await?;
    stage.page("a", &Page::text(vllm(8, 5)));
    stage
        .autoscaler("a", json!({"behavior": serde_json::from_str::<serde_json::Value>(NO_WINDOW)?}))
        .await?;
    stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;
    let page = vllm(0, 0).replace("vllm:num_requests_waiting", "vllm:num_requests_queued");
    stage.page("a", &Page::text(page));
    stage.stays("a", 3, Duration::from_secs(9)).await?;
    let active =
        stage.until_condition("a", "ScalingActive", "False", "FailedGetPodsMetric").await?;
    ensure!(active.message.contains("has no vllm:num_requests_waiting"), "{}", active.message);

    // The page may also be of another engine altogether.
    stage.page("a", &Page::text(EnginePage::Sglang.page(0, 0)));
    llm_autoscaler_testbed::wait::until("the condition to name the engine", SOON, async || {
        let conditions = stage.status("a").await?.conditions;
        let says = |c: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            c.type_ == "SamplesComplete" && c.message.contains("it looks like a page of SGLang")
        };
        Ok(conditions.iter().find(says).map(|_| ()))
    })
    .await?;
    // The pages are scraped one after the other.
    let expected = "the pages of all 3 pods are of SGLang, and the field engine is VLLM: set it to";
    llm_autoscaler_testbed::wait::until("the advice about all pods", SOON, async || {
        let advice = stage.until_condition("a", "Advisory", "True", "OtherEngine").await?;
        Ok(advice.message.contains(expected).then_some(()))
    })
    .await?;
    stage.stays("a", 3, Duration::from_secs(2)).await?;
    Ok("held, FailedGetPodsMetric; another engine's page is named".to_owned())
}

/// A former name of a series still works, and is reported.
pub(crate) async fn former_name(stage: &Stage) -> Result<String> {
    stage.engine("a", 1).await?;
    let page = |usage: &str| {
        let page = vllm(8, 0).replace("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc");
        let series = "vllm:gpu_cache_usage_perc{engine=\"0\",model_name=\"qwen3-32b\"}";
        let lines: Vec<String> = page
            .lines()
            .map(|line| {
                if line.starts_with(series) { format!("{series} {usage}") } else { line.to_owned() }
            })
            .collect();
        Page::text(lines.join("\n") + "\n")
    };
    stage.page("a", &page("0.4"));
    let target = json!({"type": "AverageValue", "averageValue": "400m"});
    stage
        .autoscaler("a", json!({"metrics": [{"signal": "KVCacheUsage", "target": target}]}))
        .await?;
    let advice = stage.until_condition("a", "Advisory", "True", "FormerName").await?;
    let expected = "KVCacheUsage is read from vllm:gpu_cache_usage_perc, a former name of vllm:kv_cache_usage_perc";
    ensure!(advice.message.contains(expected), "{}", advice.message);
    stage.page("a", &page("0.9"));
    stage.until_replicas("a", 3, SOON).await?;
    Ok("works (1 -> 3), Advisory=True/FormerName".to_owned())
}

/// A latency over too few requests gives no signal. It neither grows nor shrinks the target, and
/// does not keep another metric from shrinking it.
pub(crate) async fn too_few_events(stage: &Stage) -> Result<String> {
    stage.engine("a", 3).await?;
    let page = |events: u64, waiting: u64| {
        let bucket = |le: &str, count: u64| {
            format!("vllm:time_to_first_token_seconds_bucket{{le=\"{le}\"}} {count}\n")
        };
        Page::text(format!(
            "{}{}{}vllm:num_requests_waiting {waiting}\n",
            bucket("1", 0),
            bucket("5", events),
            bucket("+Inf", events)
        ))
    };
    stage.page("a", &page(0, 5));
    let ttft = json!({
        "name": "ttft",
        "signal": "TimeToFirstToken",
        "windowSeconds": 5,
        "target": {"type": "Value", "value": "2"},
    });
    let behavior: serde_json::Value = serde_json::from_str(NO_WINDOW)?;
    stage
        .autoscaler("a", json!({"metrics": [ttft], "behavior": behavior, "maxReplicas": 6}))
        .await?;
    stage.until_condition("a", "ScalingActive", "True", "NoSignal").await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    // Six events of nearly 5 s in total.
    stage.page("a", &page(2, 5));
    stage.stays("a", 3, Duration::from_secs(7)).await?;
    // Thirty events are enough: 4.6 s against 2.
    stage.page("a", &page(12, 5));
    stage.until_replicas("a", 6, SOON).await?;

    let waiting = json!({
        "name": "queue",
        "signal": "WaitingRequests",
        "target": {"type": "AverageValue", "averageValue": "5"},
    });
    stage.page("a", &page(12, 0));
    tokio::time::sleep(Duration::from_secs(6)).await;
    stage
        .autoscaler(
            "a",
            json!({"metrics": [ttft, waiting], "behavior": behavior, "maxReplicas": 6}),
        )
        .await?;
    stage.until_replicas("a", 1, SOON).await?;
    Ok("no events: ScalingActive=True/NoSignal; 6: held; 30: 3 -> 6; at rest, with a queue beside it: 6 -> 1"
        .to_owned())
}
