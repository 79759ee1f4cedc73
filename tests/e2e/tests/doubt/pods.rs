//! Faults of pods and their pages.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{EnginePage, Page};
use serde_json::json;

/// The time that a size must stay. It exceeds the lifetime of stale samples with a scrape a second:
/// three intervals and a timeout.
const WATCHED: Duration = Duration::from_secs(9);

/// Brings three replicas to their target. First one breaks while the others become idle, then all
/// break; in the end all are idle and well.
async fn break_pages(stage: &Stage, broken: Page, expected: &str) -> Result<String> {
    stage.engine("a", 3).await?;
    stage.waiting("a", 5);
    stage
        .autoscaler("a", json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}))
        .await?;
    stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;

    let pod = |ordinal: u32| format!("{}/a-{ordinal}", stage.namespace);
    stage.script.set(&pod(2), broken.clone());
    // Until the break is noticed, the pod's last sample still counts.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    stage.script.set(&pod(0), Page::idle());
    stage.script.set(&pod(1), Page::idle());
    stage.stays("a", 3, WATCHED).await?;
    let one = stage.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;
    ensure!(one.message.contains("a-2: http://"), "{}", one.message);
    ensure!(one.message.contains(expected), "{expected:?} is not in: {}", one.message);

    stage.page("a", &broken);
    stage.until_condition("a", "Ready", "False", "FailedGetPodsMetric").await?;
    stage.stays("a", 3, WATCHED).await?;

    stage.waiting("a", 0);
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_condition("a", "Ready", "True", "Scaling").await?;
    Ok(format!(
        "one of three: held, SamplesComplete=False ({expected}); all: held, Ready=False; well again: 3 -> 1"
    ))
}

pub(crate) async fn refuse(stage: &Stage) -> Result<String> {
    break_pages(stage, Page::Refuse, "Connection refused").await
}

pub(crate) async fn hang(stage: &Stage) -> Result<String> {
    break_pages(stage, Page::Hang, "timed out after 1 s").await
}

pub(crate) async fn answer_500(stage: &Stage) -> Result<String> {
    let page =
        Page::Raw { status: 500, content_type: "text/plain".to_owned(), body: "oops".to_owned() };
    break_pages(stage, page, "returned HTTP status 500").await
}

pub(crate) async fn garbage(stage: &Stage) -> Result<String> {
    let page = Page::text("<html><body>vllm:num_requests_waiting 0</body></html>\n");
    break_pages(stage, page, "not a metrics page in Prometheus's text format").await
}

/// The page is cut off within a number: its text reports 1 waiting request instead of 10.
pub(crate) async fn half_a_page(stage: &Stage) -> Result<String> {
    let page = EnginePage::Vllm.page(0, 10);
    let cut = page.find("vllm:num_requests_waiting{").unwrap_or_default();
    let cut = cut + page[cut..].find(" 10").unwrap_or_default() + 2;
    ensure!(page[..cut].ends_with(" 1"), "cut within the number");
    break_pages(stage, Page::Cut(page[..cut].to_owned()), "is cut off").await
}

pub(crate) async fn fifty_megabytes(stage: &Stage) -> Result<String> {
    break_pages(stage, Page::Endless(50 << 20), "the response is larger than").await
}

pub(crate) async fn not_a_number(stage: &Stage) -> Result<String> {
    let page = EnginePage::Vllm
        .page(0, 0)
        .replace("waiting{engine=\"0\",model_name=\"qwen3-32b\"} 0", "waiting NaN");
    break_pages(stage, Page::text(page), "vllm:num_requests_waiting is NaN, which is no number")
        .await
}

/// Three of ten pods do not answer, and the others report no load: nothing shrinks. When the
/// kubelet reports that the three crash repeatedly, they are stuck, and the other samples suffice.
pub(crate) async fn three_of_ten_are_dead(stage: &Stage) -> Result<String> {
    stage.engine("a", 10).await?;
    stage.waiting("a", 5);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    stage.autoscaler("a", json!({"maxReplicas": 12, "behavior": behavior})).await?;
    stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;

    let dead = [2, 5, 7];
    for ordinal in dead {
        stage.script.set(&format!("{}/a-{ordinal}", stage.namespace), Page::Refuse);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for ordinal in (0..10).filter(|ordinal| !dead.contains(ordinal)) {
        stage.script.set(&format!("{}/a-{ordinal}", stage.namespace), Page::idle());
    }
    stage.stays("a", 10, WATCHED).await?;
    stage.until_condition("a", "SamplesComplete", "False", "MissingSamples").await?;

    // Seven of the nine that are not stuck are still too few; seven of eight are enough.
    crash(stage, "a-2").await?;
    let stuck = stage.until_condition("a", "ReplicasStuck", "True", "Crashing").await?;
    ensure!(stuck.message.contains("a-2: its containers cannot start"), "{}", stuck.message);
    stage.stays("a", 10, Duration::from_secs(3)).await?;
    crash(stage, "a-5").await?;
    stage.until_replicas("a", 1, SOON).await?;
    Ok("30 % silent: held at 10, SamplesComplete=False; two of the three stuck, ReplicasStuck=True/Crashing: 10 -> 1".to_owned())
}

/// Marks the pod's container as crash-looping, as a kubelet reports it.
async fn crash(stage: &Stage, pod: &str) -> Result<()> {
    stage.script.set_ready(&format!("{}/{pod}", stage.namespace), false);
    let status = json!({"status": {
        "conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "ContainersReady", "status": "False"},
        ],
        "containerStatuses": [{
            "name": "engine",
            "image": "vllm/vllm-openai",
            "imageID": "",
            "ready": false,
            "restartCount": 5,
            "state": {
                "waiting": {
                    "reason": "CrashLoopBackOff",
                    "message": "back-off 5m0s restarting failed container",
                },
            },
        }],
    }});
    // The node reports the loss of readiness first.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stage
        .api::<Pod>()
        .patch_status(pod, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    Ok(())
}

/// Two frontends report the load of a target. When one stops answering, the other's half does not
/// count as the total.
pub(crate) async fn one_of_two_frontends_is_silent(stage: &Stage) -> Result<String> {
    stage.engine("worker", 3).await?;
    stage.page("worker", &Page::Refuse);
    stage.engine("frontend", 2).await?;
    let page = |in_flight: u64| Page::text(EnginePage::DynamoFrontend.page(in_flight, 0));
    stage.page("frontend", &page(48));
    stage
        .autoscaler(
            "worker",
            json!({
                "engine": "Dynamo", "maxReplicas": 8,
                "metrics": [{
                    "signal": "InFlightRequests",
                    "target": {"type": "AverageValue", "averageValue": "32"},
                }],
                "sources": [{
                    "scrape": {
                        "podSelector": {"matchLabels": {"app": "frontend"}},
                        "intervalSeconds": 1,
                    },
                }],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            }),
        )
        .await?;
    stage.until_condition("worker", "Ready", "True", "Scaling").await?;
    stage.stays("worker", 3, Duration::from_secs(2)).await?;

    stage.script.set(&format!("{}/frontend-1", stage.namespace), Page::Hang);
    stage.stays("worker", 3, WATCHED).await?;
    // It is overloaded and no longer ready.
    let silent = format!("{}/frontend-1", stage.namespace);
    stage.script.set_ready(&silent, false);
    stage.stays("worker", 3, WATCHED).await?;
    // The load that one frontend alone reports may grow the target.
    stage.script.set(&format!("{}/frontend-0", stage.namespace), page(128));
    stage.until_replicas("worker", 4, SOON).await?;
    stage.script.set_ready(&silent, true);
    stage.page("frontend", &page(16));
    stage.until_replicas("worker", 1, SOON).await?;
    Ok("one of two, ready and not: held at 3, still grows to 4; both: 4 -> 1".to_owned())
}
