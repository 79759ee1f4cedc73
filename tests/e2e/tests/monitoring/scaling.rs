//! Sizes that depend on Prometheus's samples and on nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::PostParams;
use llm_autoscaler_testbed::{
    engine::Page,
    monitoring::{Adapter, Prometheus, pods_rule, scrape_pods},
    wait,
};
use serde_json::{Value, json};

use crate::setting::Setting;

/// The time that a size may take to follow: scraping, querying and deciding, one after the other.
const FOLLOWS: Duration = Duration::from_mins(1);

/// The only source of an autoscaler is a Prometheus that scrapes by the autoscaler's own
/// PodMonitor: the target grows from 1 to 3, and shrinks back.
pub(crate) async fn prometheus_alone_scales(setting: &Setting) -> Result<()> {
    let prometheus = setting.instance.run().await?;
    setting.engine("a", 1).await?;
    setting.autoscaler("a", by(&prometheus, &json!({}))).await?;
    setting.until_applied("a").await?;
    setting.until_scraped(&prometheus, &["a-0"]).await?;
    setting.until_condition("a", "Ready", "True", "Scaling").await?;
    setting.stays("a", 1, Duration::from_secs(3)).await?;

    setting.waiting("a", 11);
    setting.until_replicas("a", 3, FOLLOWS).await?;
    setting.until_scraped(&prometheus, &["a-0", "a-1", "a-2"]).await?;
    let active = setting.until_condition("a", "ScalingActive", "True", "ValidMetricFound").await?;
    ensure!(active.message.contains("vllm:num_requests_waiting"), "{}", active.message);
    setting.waiting("a", 0);
    setting.until_replicas("a", 1, FOLLOWS).await?;
    let targets = setting.status("a").await?.targets;
    let mut sources =
        targets.iter().flat_map(|target| &target.metrics).map(|metric| metric.source.as_deref());
    ensure!(sources.all(|source| source == Some("prometheus")), "{targets:?}");
    Ok(())
}

/// Scales by a PromQL query over series of the autoscaler's own PodMonitor.
pub(crate) async fn query_scales(setting: &Setting) -> Result<()> {
    let prometheus = setting.instance.run().await?;
    setting.engine("a", 1).await?;
    let labels = format!("pod_namespace={:?},workload_name=\"a\"", setting.namespace);
    let metrics = json!([{
        "name": "queue",
        "query": format!("sum(vllm:num_requests_waiting{{{labels}}})"),
        "target": {"type": "AverageValue", "averageValue": "5"},
    }]);
    setting.autoscaler("a", by(&prometheus, &json!({"metrics": metrics}))).await?;
    setting.until_scraped(&prometheus, &["a-0"]).await?;
    setting.until_condition("a", "Ready", "True", "Scaling").await?;

    // A total of 12 requires 3 replicas, however it is spread over them.
    setting.script.set(&format!("{}/a-0", setting.namespace), Page::waiting(12));
    setting.until_replicas("a", 3, FOLLOWS).await?;
    setting.stays("a", 3, Duration::from_secs(5)).await?;
    setting.script.set(&format!("{}/a-0", setting.namespace), Page::idle());
    setting.until_replicas("a", 1, FOLLOWS).await
}

/// Returns a spec with this Prometheus as the only source, which scrapes and is queried every
/// second; `spec` is merged over that.
fn by(prometheus: &Prometheus, spec: &Value) -> Value {
    let source = json!({"url": prometheus.url(), "intervalSeconds": 1, "staleAfterSeconds": 10});
    let mut all = json!({
        "sources": [{"prometheus": source}],
        "podMonitor": {"intervalSeconds": 1},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        all[field] = value.clone();
    }
    all
}

/// The usual chain, with the usual rule and a real HPA, beside an autoscaler that queries the same
/// Prometheus: both reach the same size.
pub(crate) async fn usual_chain_reaches_the_same_size(setting: &Setting) -> Result<()> {
    let namespace = &*setting.namespace;
    for name in ["hpa", "ours"] {
        setting.engine(name, 1).await?;
        setting.waiting(name, 11);
    }
    let configuration = scrape_pods(setting.control_plane(), &[namespace], Duration::from_secs(1));
    let prometheus = Prometheus::start(&configuration).await?;
    setting.until_scraped(&prometheus, &["hpa-0", "ours-0"]).await?;
    let series = "vllm:num_requests_waiting";
    let adapter =
        Adapter::start(setting.control_plane(), prometheus.url(), &[pods_rule(series)]).await?;
    let values = wait::until("the adapter to serve the series", FOLLOWS, async || {
        Ok(adapter.values(setting.control_plane(), namespace, series).await.ok())
    })
    .await
    .with_context(|| adapter.log_tail(10))?;
    let expected = ["hpa-0", "ours-0"].map(|pod| (pod.to_owned(), "11".to_owned()));
    ensure!(values == expected, "{values:?}");

    setting.api::<HorizontalPodAutoscaler>().create(&PostParams::default(), &hpa(series)?).await?;
    setting
        .autoscaler("ours", by(&prometheus, &json!({"podMonitor": {"mode": "Disabled"}})))
        .await?;
    setting.until_replicas("ours", 3, FOLLOWS).await?;
    setting.until_replicas("hpa", 3, FOLLOWS).await
}

fn hpa(series: &str) -> Result<HorizontalPodAutoscaler> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "hpa"},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{
                "type": "Pods",
                "pods": {
                    "metric": {"name": series},
                    "target": {"type": "AverageValue", "averageValue": "5"},
                },
            }],
        },
    }))?)
}
