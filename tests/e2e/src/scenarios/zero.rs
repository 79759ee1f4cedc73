//! Scaling to zero and back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::{
    Resource,
    api::{Patch, PatchParams},
};
use llm_autoscaler_api::{LLMAutoscaler, managers};
use llm_autoscaler_testbed::{FakePrometheus, Page, http_client, wait};
use serde_json::{Value, json};

use crate::{Stage, stage::SOON};

/// The idle time in seconds before the last replica is removed.
const AFTER: u64 = 6;

/// The spec of an autoscaler that goes to zero and back by a query about the gateway.
fn spec_of_query(query: &str, url: &str, interval: u64) -> Value {
    json!({
        "minReplicas": 0, "scaleToZero": {"afterSeconds": AFTER},
        "metrics": [{
            "name": "gateway",
            "query": query,
            "target": {"type": "AverageValue", "averageValue": "5"},
        }],
        "sources": [{"prometheus": {"url": url, "intervalSeconds": interval}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    })
}

/// The last replica is removed after a time without load; a Prometheus query about the gateway
/// brings it back.
pub(super) async fn to_zero_and_back_by_a_query(stage: &Stage) -> Result<()> {
    let server = FakePrometheus::start().await?;
    let query = "gateway_queue";
    server.set(query, &[], 11.0);
    stage.engine("a", 1).await?;
    let spec = |interval: u64| spec_of_query(query, &server.url(), interval);
    stage.autoscaler("a", spec(1)).await?;
    stage.until_replicas("a", 3, SOON).await?;

    server.set(query, &[], 0.0);
    stage.until_replicas("a", 1, SOON).await?;
    stage.until_condition("a", "ScalingLimited", "True", "NotIdleYet").await?;
    stage.until_replicas("a", 0, SOON).await?;
    stage.until_condition("a", "ScaledToZero", "True", "ScaledToZero").await?;
    stage.stays("a", 0, Duration::from_secs(2)).await?;
    // A restarted operator has no memory of the reason for zero; it reads the status. At zero it
    // queries twice a second all the same.
    stage.autoscaler("a", spec(60)).await?;
    stage.operator.kill();
    stage.operator.start()?;
    stage.stays("a", 0, Duration::from_secs(3)).await?;
    server.set(query, &[], 11.0);
    stage.until_replicas("a", 3, Duration::from_secs(15)).await?;
    // The answers that woke it are not forgotten for the older ones of the usual queries.
    stage.stays("a", 3, Duration::from_secs(5)).await?;
    stage.until_condition("a", "ScaledToZero", "False", "NotScaledToZero").await.map(drop)
}

/// A target that was scaled to zero just before the operator was killed comes back as from any
/// other zero, although no status tells that it was scaled to zero.
pub(super) async fn back_from_a_zero_that_no_status_tells(stage: &Stage) -> Result<()> {
    let server = FakePrometheus::start().await?;
    let query = "gateway_queue";
    server.set(query, &[], 4.0);
    stage.engine("a", 1).await?;
    stage.autoscaler("a", spec_of_query(query, &server.url(), 1)).await?;
    stage.until_condition("a", "ScalingActive", "True", "ValidMetricFound").await?;
    server.set(query, &[], 0.0);
    stage.until_condition("a", "ScalingLimited", "True", "NotIdleYet").await?;
    let awake = stage.status("a").await?;
    stage.until_replicas("a", 0, SOON).await?;
    stage.until_condition("a", "ScaledToZero", "True", "ScaledToZero").await?;
    stage.operator.kill();
    // As the operator has written it, so that no one else has a part in it.
    let (api_version, kind) = (LLMAutoscaler::api_version(&()), LLMAutoscaler::kind(&()));
    let patch = json!({"apiVersion": api_version, "kind": kind, "status": awake});
    let params = PatchParams::apply(managers::STATUS).force();
    stage.api::<LLMAutoscaler>().patch_status("a", &params, &Patch::Apply(patch)).await?;
    stage.operator.start()?;
    stage.until_condition("a", "ScaledToZero", "True", "ScaledToZero").await?;
    stage.stays("a", 0, Duration::from_secs(2)).await?;
    server.set(query, &[], 11.0);
    stage.until_replicas("a", 3, SOON).await
}

/// The counters of a gateway bring the last replica back, although the gateway refuses each request
/// and its gauge of requests in flight is 0 at every sample.
pub(super) async fn to_zero_and_back_by_arrivals_at_a_gateway(stage: &Stage) -> Result<()> {
    let page = |refused: u32| {
        let counted = format!(
            "smg_http_requests_total{{method=\"POST\",path=\"/v1/completions\"}} {refused}\n\
             smg_router_requests_total{{model=\"other\"}} {refused}\nsmg_admission_inflight 0\n"
        );
        Page::text(if refused == 0 { "smg_worker_pool_size 0\n".to_owned() } else { counted })
    };
    stage.engine("gateway", 1).await?;
    stage.page("gateway", &page(0));
    stage.engine("a", 1).await?;
    stage.waiting("a", 0);
    let gateway = |interval: u64| {
        let pods = json!({"matchLabels": {"app": "gateway"}});
        json!({"podSelector": pods, "gateway": "SMG", "port": "http", "intervalSeconds": interval})
    };
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    let mut spec = json!({
        "minReplicas": 0, "scaleToZero": {"afterSeconds": AFTER},
        "metrics": [
            {"name": "in-flight", "signal": "InFlightRequests", "target": target},
            {"name": "arrivals", "signal": "ArrivalRate", "windowSeconds": 5, "target": target},
        ],
        "sources": [{"scrape": {"intervalSeconds": 1}}, {"scrape": gateway(2)}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    stage.autoscaler("a", spec.clone()).await?;
    stage.until_replicas("a", 0, SOON).await?;
    stage.until_condition("a", "ScaledToZero", "True", "ScaledToZero").await?;
    // At zero it is scraped twice a second all the same.
    spec["sources"][1]["scrape"] = gateway(60);
    stage.autoscaler("a", spec.clone()).await?;
    stage.stays("a", 0, Duration::from_secs(2)).await?;
    let pod = format!("{}/gateway-0", stage.namespace);
    let before = stage.script.requests(&pod);
    wait::until("frequent scrapes of the gateway", Duration::from_secs(10), async || {
        Ok((stage.script.requests(&pod) >= before + 4).then_some(()))
    })
    .await?;

    stage.page("gateway", &page(1));
    stage.until_replicas("a", 1, Duration::from_secs(10)).await?;
    let note = "New size: 1; reason: pods metric smg_http_requests_total above target";
    stage.until_event("a", "SuccessfulRescale", note).await?;
    stage.until_condition("a", "FirstSourceUsed", "True", "FirstSource").await?;
    // No further request comes, and the target sleeps again.
    spec["sources"][1]["scrape"] = gateway(2);
    stage.autoscaler("a", spec).await?;
    stage.until_replicas("a", 0, SOON).await
}

/// A wake call brings the first replica back if no source reports at zero. The caller must be
/// authenticated and authorized.
pub(super) async fn to_zero_and_back_by_a_call(stage: &Stage) -> Result<()> {
    // Events of a size follow each other after 10 s, and the latest one is told.
    const AFTER: u64 = self::AFTER + 4;
    stage.engine("a", 1).await?;
    stage.waiting("a", 0);
    let spec = json!({
        "minReplicas": 0, "scaleToZero": {"afterSeconds": AFTER},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    stage.autoscaler("a", spec).await?;
    stage.until_condition("a", "Advisory", "True", "OnlyCallsWake").await?;
    stage.until_replicas("a", 0, SOON).await?;
    stage.until_condition("a", "ScaledToZero", "True", "ScaledToZero").await?;

    let cluster = stage.control_plane();
    let namespace = stage.namespace.as_str();
    for account in ["gateway", "stranger"] {
        cluster.kubectl(["-n", namespace, "create", "serviceaccount", account]).await?;
    }
    let account = format!("--serviceaccount={namespace}:gateway");
    let role = "--clusterrole=llm-autoscaler-caller";
    cluster.kubectl(["-n", namespace, "create", "rolebinding", "caller", role, &account]).await?;
    let token = async |account: &str, audience: &[&str]| {
        let create = ["-n", namespace, "create", "token", account];
        cluster.kubectl([&create, audience].concat()).await
    };
    let ours = ["--audience=llm-autoscaler"];
    let (gateway, stranger) = (token("gateway", &ours).await?, token("stranger", &ours).await?);
    let for_the_api_server = token("gateway", &[]).await?;

    // Each row is (token, target, expected answer).
    let table = [
        (None, "a", 401),
        (Some("nonsense"), "a", 401),
        (Some(for_the_api_server.as_str()), "a", 401),
        (Some(stranger.as_str()), "a", 403),
        (Some(gateway.as_str()), "b", 404),
    ];
    for (token, name, expected) in table {
        let status = call(stage, name, token).await?;
        ensure!(status == expected, "{name}: {status} and not {expected}");
    }
    stage.stays("a", 0, Duration::from_secs(2)).await?;
    // The API server applies a new RoleBinding a moment later.
    wait::until("the gateway's call to be taken", SOON, async || {
        Ok((call(stage, "a", Some(&gateway)).await? == 202).then_some(()))
    })
    .await?;
    stage.until_replicas("a", 1, SOON).await?;
    // The woken replica stays for the idle time, and is then removed again.
    stage.stays("a", 1, Duration::from_secs(AFTER - 3)).await?;
    let note = "New size: 1; reason: a wake call arrived";
    stage.until_event("a", "SuccessfulRescale", note).await?;
    stage.until_replicas("a", 0, SOON).await
}

async fn call(stage: &Stage, name: &str, token: Option<&str>) -> Result<u16> {
    let url = format!("{}/{}/{name}", stage.operator.wake_url(), stage.namespace);
    let request = http_client().post(url);
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {}", token.trim())),
        None => request,
    };
    Ok(request.send().await.context("calling the operator")?.status().as_u16())
}
