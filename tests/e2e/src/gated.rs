//! Pods with the project's readiness gate.

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::api::PostParams;
use llm_autoscaler_testbed::{engine::Page, wait, workloads::stateful_set};
use serde_json::{Value, json};

use crate::{SOON, Stage};

/// The condition type of the readiness gate.
pub const GATE: &str = "llmautoscaler.io/in-service";

/// Permits the operator to patch pods.
///
/// # Errors
/// Fails if a role cannot be labelled.
pub async fn permit(stage: &Stage) -> Result<()> {
    for role in ["llm-autoscaler-in-service", "llm-autoscaler-deletion-cost"] {
        let label = "llmautoscaler.io/aggregate-to-targets=true";
        stage.control_plane().kubectl(["label", "--overwrite", "clusterrole", role, label]).await?;
    }
    Ok(())
}

/// Creates a StatefulSet with the readiness gate in its pods, which are not ready before the
/// operator opens the gate.
///
/// # Errors
/// Fails if the API server refuses it.
pub async fn create(stage: &Stage, name: &str, replicas: u32, grace: i64) -> Result<()> {
    let settings = PodSettings { grace, gates: &[GATE], ..PodSettings::default() };
    create_with(stage, name, replicas, &settings).await
}

/// The pod settings of a StatefulSet that affect its scale-downs.
#[derive(Clone, Copy)]
pub struct PodSettings<'a> {
    /// The termination grace period in seconds.
    pub grace: i64,
    /// The readiness gates of the pods.
    pub gates: &'a [&'a str],
    /// The pod management policy: `Parallel` or `OrderedReady`.
    pub management: &'a str,
    /// The seconds that a container sleeps before SIGTERM.
    pub pre_stop: Option<i64>,
}

impl Default for PodSettings<'_> {
    /// Kubernetes' grace period, no gate, no sleep, all pods at once.
    fn default() -> Self {
        Self { grace: 30, gates: &[], management: "Parallel", pre_stop: None }
    }
}

/// Like [`create`], with other pod settings.
///
/// # Errors
/// Fails if the API server refuses it.
pub async fn create_with(
    stage: &Stage,
    name: &str,
    replicas: u32,
    settings: &PodSettings<'_>,
) -> Result<()> {
    let PodSettings { grace, gates, management, pre_stop } = *settings;
    let mut set = stateful_set(name, replicas, stage.port())?;
    set.spec.as_mut().context("it has a spec")?.pod_management_policy = Some(management.to_owned());
    set.metadata.namespace = Some(stage.namespace.clone());
    let template = set
        .spec
        .as_mut()
        .and_then(|spec| spec.template.spec.as_mut())
        .context("it has a template")?;
    let gates: Vec<_> = gates.iter().map(|gate| json!({"conditionType": gate})).collect();
    template.readiness_gates = Some(serde_json::from_value(json!(gates))?);
    template.termination_grace_period_seconds = Some(grace);
    if let Some(seconds) = pre_stop {
        let lifecycle = json!({"preStop": {"sleep": {"seconds": seconds}}});
        template.containers[0].lifecycle = Some(serde_json::from_value(lifecycle)?);
    }
    stage.api::<StatefulSet>().create(&PostParams::default(), &set).await?;
    Ok(())
}

/// Applies an autoscaler with `drain`: 1 to 3 replicas at 10 requests each, of the StatefulSet of
/// this name or of a target in `change`.
///
/// # Errors
/// Fails if the API server refuses it.
pub async fn autoscaler(stage: &Stage, name: &str, deadline: i32, change: Value) -> Result<()> {
    let mut spec = json!({
        "metrics": [{
            "signal": "InFlightRequests",
            "target": {"type": "AverageValue", "averageValue": "10"},
        }],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        "drain": {"deadlineSeconds": deadline},
    });
    for (field, value) in change.as_object().context("a spec is an object")? {
        spec[field] = value.clone();
    }
    stage.autoscaler(name, spec).await
}

/// Makes a pod report `running` running requests.
pub fn running(stage: &Stage, pod: &str, running: u64) {
    stage.script.set(&format!("{}/{pod}", stage.namespace), page(running));
}

/// Returns a page with `running` running requests.
pub fn page(running: u64) -> Page {
    Page::Vllm { running, waiting: 0, kv: 0.1 }
}

/// Returns the status of one of a pod's conditions.
///
/// # Errors
/// Fails if the pod does not exist.
pub async fn condition(stage: &Stage, pod: &str, type_: &str) -> Result<Option<String>> {
    let conditions = stage.api::<Pod>().get(pod).await?.status.and_then(|status| status.conditions);
    let found = conditions.into_iter().flatten().find(|condition| condition.type_ == type_);
    Ok(found.map(|condition| condition.status))
}

/// Waits until a pod's gate is open, or closed if `expected` is false.
///
/// # Errors
/// Fails if that does not happen in time.
pub async fn until_in_service(stage: &Stage, pod: &str, expected: bool) -> Result<()> {
    let expected = if expected { "True" } else { "False" };
    wait::until(&format!("{GATE} and Ready of {pod} to be {expected}"), SOON, async || {
        let both = (condition(stage, pod, GATE).await?, condition(stage, pod, "Ready").await?);
        let is = |status: &Option<String>| status.as_deref() == Some(expected);
        Ok((is(&both.0) && is(&both.1)).then_some(()))
    })
    .await
}

/// Returns the number of the operator's drains that ended with `result`.
///
/// # Errors
/// Fails if the operator's metrics cannot be read.
pub async fn drains(stage: &Stage, result: &str) -> Result<u64> {
    let line = format!("llm_autoscaler_drains_total{{result=\"{result}\"}} ");
    let page = stage.operator.metrics().await?;
    let found = page.lines().find_map(|found| found.strip_prefix(&line));
    Ok(found.map_or(Ok(0), str::parse)?)
}
