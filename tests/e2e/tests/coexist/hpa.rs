//! The real HPA on the operator's metrics.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::PostParams;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, wait};
use serde_json::{Value, json};

use crate::setting::serve;

/// The time in which an HPA with a sync period of a second has to react.
const SCALED: Duration = Duration::from_secs(30);

/// An HPA scales by the numbers of pods, and another one by the recommendation of an LLMAutoscaler.
/// Without a sample both say why, and leave the size as it is.
pub(crate) async fn scales_on_pods_and_on_the_recommendation(stage: &Stage) -> Result<String> {
    for name in ["pods", "recommended"] {
        stage.waiting(name, 0);
        stage.engine(name, 1).await?;
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        stage.autoscaler(name, json!({"mode": "Recommend", "behavior": behavior})).await?;
    }
    serve(stage).await?;
    let pods = json!({"type": "Pods", "pods": {
        "metric": {"name": "vllm:num_requests_waiting"},
        "target": {"type": "AverageValue", "averageValue": "5"},
    }});
    create_hpa(stage, "pods", &pods).await?;
    // The recommendation divided by the replicas is to be 1.
    let external = json!({"type": "External", "external": {
        "metric": {
            "name": "llm_autoscaler_recommended_replicas",
            "selector": {"matchLabels": {"autoscaler": "recommended"}},
        },
        "target": {"type": "AverageValue", "averageValue": "1"},
    }});
    create_hpa(stage, "recommended", &external).await?;
    for (waiting, replicas) in [(11, 3), (0, 1), (11, 3)] {
        for name in ["pods", "recommended"] {
            stage.waiting(name, waiting);
        }
        for name in ["pods", "recommended"] {
            stage.until_replicas(name, replicas, SCALED).await?;
            stage.until_ready(name, replicas).await?;
        }
    }
    for name in ["pods", "recommended"] {
        stage.page(name, &Page::Refuse);
    }
    let told = wait::until("both HPAs to say that they have no metric", SOON, async || {
        let texts = [inactive(stage, "pods").await?, inactive(stage, "recommended").await?];
        Ok(texts.iter().all(Option::is_some).then_some(texts))
    })
    .await?;
    let [by_pods, by_recommendation] = told.map(Option::unwrap_or_default);
    ensure!(by_pods.contains("no sample of vllm:num_requests_waiting"), "{by_pods}");
    ensure!(by_recommendation.contains("cannot compute"), "{by_recommendation}");
    stage.stays("pods", 3, Duration::from_secs(5)).await?;
    ensure!(stage.replicas("recommended").await? == 3, "the recommendation was taken for zero");
    Ok(format!("{by_pods}\n    {by_recommendation}"))
}

/// Creates an HPA of 1 to 3 replicas that scales down without a window.
async fn create_hpa(stage: &Stage, name: &str, metric: &Value) -> Result<()> {
    let hpa = json!({
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    });
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    hpas.create(&PostParams::default(), &serde_json::from_value(hpa)?).await?;
    Ok(())
}

/// Returns why an HPA has no metric; `None` while it has.
async fn inactive(stage: &Stage, name: &str) -> Result<Option<String>> {
    let hpa = stage.api::<HorizontalPodAutoscaler>().get(name).await?;
    let conditions = hpa.status.context("no status")?.conditions.unwrap_or_default();
    let inactive = conditions.into_iter().find(|it| it.type_ == "ScalingActive");
    Ok(inactive.filter(|it| it.status == "False").and_then(|it| it.message))
}
