//! The real KEDA on the operator's external scaler, which scales StatefulSets by the HPAs that it
//! creates, and itself from and to zero.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use llm_autoscaler_e2e::{SOON, Stage, own_address};
use llm_autoscaler_testbed::{ClientAuthority, FakePrometheus, Page, wait};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The time in which KEDA and an HPA with a sync period of a second have to react.
const SCALED: Duration = Duration::from_mins(1);
/// The time for which a size that is left alone is observed.
const OBSERVED: Duration = Duration::from_secs(15);
/// The name of the HPA that KEDA creates for a ScaledObject is this and its name.
const HPA: &str = "keda-hpa-";

/// A recommendation and a number of pods decide over sizes, and each size is the recommendation.
/// Without a sample KEDA keeps the size; with `fallback` it takes that. While the operator is
/// killed it keeps the size in either case. Both go on afterwards.
pub(crate) async fn keda_follows_the_recommendation(stage: &Stage) -> Result<String> {
    let address = serve(stage, &["--external-scaler-plain-http"])?;
    for name in ["recommended", "pods"] {
        stage.waiting(name, 0);
        stage.engine(name, 1).await?;
        let spec = json!({"mode": "Recommend", "maxReplicas": 8, "behavior": at_once()});
        stage.autoscaler(name, spec).await?;
    }
    create(stage, "recommended", trigger(address, json!({})), json!({})).await?;
    let waiting = json!({"metric": "vllm:num_requests_waiting", "target": "5"});
    let fallback = json!({"fallback": {"failureThreshold": 3, "replicas": 6}});
    create(stage, "pods", trigger(address, waiting), fallback).await?;
    for (waiting, replicas) in [(11, 3), (0, 1), (21, 5)] {
        for name in ["recommended", "pods"] {
            // The queue is at one pod, so that the sum does not depend on the size.
            stage.script.set(&format!("{}/{name}-0", stage.namespace), Page::waiting(waiting));
        }
        for name in ["recommended", "pods"] {
            stage.until_replicas(name, replicas, SCALED).await.with_context(|| name)?;
            stage.until_ready(name, replicas).await?;
        }
    }

    for name in ["recommended", "pods"] {
        stage.page(name, &Page::Refuse);
    }
    let told = until_inactive(stage, "recommended").await?;
    let began = Instant::now();
    stage.until_replicas("pods", 6, SCALED).await.context("the fallback")?;
    let fallback_after = began.elapsed();
    stage.stays("recommended", 5, OBSERVED).await?;

    stage.operator.kill();
    until_inactive(stage, "recommended").await?;
    stage.stays("recommended", 5, OBSERVED).await?;
    // KEDA has a fallback only for a trigger of which it can read the target.
    ensure!(stage.replicas("pods").await? == 6, "the operator's absence was taken for zero");
    stage.operator.start()?;
    for name in ["recommended", "pods"] {
        stage.waiting(name, 0);
        stage.script.set(&format!("{}/{name}-0", stage.namespace), Page::waiting(11));
        stage.until_replicas(name, 3, SCALED).await.with_context(|| name)?;
    }
    Ok(format!("without a sample: {told}; fallback after {:.1} s", fallback_after.as_secs_f64()))
}

/// A target at zero is woken by the stream within seconds, although KEDA would poll after five
/// minutes only.
pub(crate) async fn keda_is_pushed_from_zero(stage: &Stage) -> Result<String> {
    let server = FakePrometheus::start().await?;
    let query = "gateway_queue";
    server.set(query, &[], 11.0);
    stage.engine("a", 1).await?;
    let spec = json!({
        "mode": "Recommend",
        "minReplicas": 0,
        "maxReplicas": 8,
        "scaleToZero": {"afterSeconds": 3},
        "metrics": [{
            "name": "gateway",
            "query": query,
            "target": {"type": "AverageValue", "averageValue": "5"},
        }],
        "sources": [{"prometheus": {"url": server.url(), "intervalSeconds": 1}}],
        "behavior": at_once(),
    });
    stage.autoscaler("a", spec).await?;
    let address = serve(stage, &["--external-scaler-plain-http"])?;
    let mut trigger = trigger(address, json!({}));
    trigger["type"] = json!("external-push");
    let to_zero = json!({"minReplicaCount": 0, "cooldownPeriod": 2});
    create(stage, "a", trigger, to_zero).await?;
    stage.until_replicas("a", 3, SCALED).await?;
    server.set(query, &[], 0.0);
    stage.until_replicas("a", 0, SCALED).await?;

    let rarely = Patch::Merge(json!({"spec": {"pollingInterval": 300}}));
    scaled_objects(stage).patch("a", &PatchParams::default(), &rarely).await?;
    stage.stays("a", 0, OBSERVED).await?;
    let began = Instant::now();
    server.set(query, &[], 11.0);
    let woken = wait::until("the target to be woken", SCALED, async || {
        Ok((stage.replicas("a").await? > 0).then(|| began.elapsed()))
    })
    .await?;
    stage.until_replicas("a", 3, SCALED).await?;
    Ok(format!("woken after {:.1} s", woken.as_secs_f64()))
}

/// The scaler serves by TLS, and answers clients with a certificate of its authority only.
pub(crate) async fn keda_needs_a_certificate(stage: &Stage) -> Result<String> {
    let (authority, folder) = (ClientAuthority::new()?, stage.folder()?);
    let (address, path) = (own_address(), |name: &str| folder.join(name).display().to_string());
    let (certificate, key) = authority.issue_to(&[&address.ip().to_string()])?;
    for (name, text) in [("ca.crt", &authority.pem()), ("tls.crt", &certificate), ("tls.key", &key)]
    {
        std::fs::write(path(name), text)?;
    }
    stage.operator.start_with(&[
        &format!("--external-scaler-address={address}"),
        &format!("--external-scaler-tls-cert-file={}", path("tls.crt")),
        &format!("--external-scaler-tls-key-file={}", path("tls.key")),
        &format!("--external-scaler-client-ca-file={}", path("ca.crt")),
    ])?;
    for name in ["with", "without"] {
        stage.waiting(name, 0);
        stage.engine(name, 1).await?;
        stage.autoscaler(name, json!({"mode": "Recommend", "behavior": at_once()})).await?;
        let (certificate, key) = authority.issue()?;
        let mut data = json!({"caCert": authority.pem()});
        if name == "with" {
            data["tlsClientCert"] = json!(certificate);
            data["tlsClientKey"] = json!(key);
        }
        authenticate(stage, name, &data).await?;
        let mut trigger = trigger(address, json!({}));
        trigger["authenticationRef"] = json!({"name": name});
        create(stage, name, trigger, json!({})).await?;
        stage.script.set(&format!("{}/{name}-0", stage.namespace), Page::waiting(11));
    }
    stage.until_replicas("with", 3, SCALED).await?;
    let told = wait::until("KEDA to get no answer without a certificate", SOON, async || {
        Ok(failure(&scaled_objects(stage).get("without").await?))
    })
    .await?;
    ensure!(stage.replicas("without").await? == 1, "no certificate was demanded: {told}");
    Ok(format!("without a certificate: {told}"))
}

/// A ScaledObject is switched over to the LLMAutoscaler that it follows, and back: KEDA confirms
/// the pause, its HPA goes, and the size is that of before.
pub(crate) async fn keda_hands_over_and_back(stage: &Stage) -> Result<String> {
    let address = serve(stage, &["--external-scaler-plain-http"])?;
    stage.waiting("a", 0);
    stage.engine("a", 1).await?;
    let spec = json!({"mode": "Recommend", "maxReplicas": 8, "behavior": at_once()});
    stage.autoscaler("a", spec).await?;
    let queue = |waiting| {
        stage.script.set(&format!("{}/a-0", stage.namespace), Page::waiting(waiting));
    };
    queue(11);
    create(stage, "a", trigger(address, json!({})), json!({})).await?;
    stage.until_replicas("a", 3, SCALED).await?;
    stage.until_ready("a", 3).await?;
    let migrate = ["migrate", "a", "-n", &stage.namespace, "--yes", "--timeout=240"];
    let told = stage.run_binary(&migrate).await?;
    ensure!(told.contains("Done."), "{told}");
    ensure!(stage.replicas("a").await? == 3, "the switch changed the size");
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    ensure!(hpas.get_opt(&format!("{HPA}a")).await?.is_none(), "KEDA's HPA is still there");
    queue(21);
    stage.until_replicas("a", 5, SCALED).await?;
    let back: Vec<&str> = migrate.into_iter().chain(["--back"]).collect();
    let told = stage.run_binary(&back).await?;
    ensure!(told.contains("Done."), "{told}");
    queue(11);
    stage.until_replicas("a", 3, SCALED).await?;
    ensure!(hpas.get_opt(&format!("{HPA}a")).await?.is_some(), "KEDA has no HPA again");
    Ok(String::new())
}

/// Starts the operator with the external scaler, and returns its address.
fn serve(stage: &Stage, arguments: &[&str]) -> Result<SocketAddr> {
    let address = own_address();
    let place = format!("--external-scaler-address={address}");
    stage.operator.start_with(&[&[&*place], arguments].concat())?;
    Ok(address)
}

/// Returns a trigger of the type `external`.
fn trigger(address: SocketAddr, metadata: Value) -> Value {
    let mut metadata = metadata;
    metadata["scalerAddress"] = json!(address.to_string());
    json!({"type": "external", "metadata": metadata})
}

/// Creates a ScaledObject of 1 to 8 replicas, which is polled each second, for the StatefulSet of
/// its name.
async fn create(stage: &Stage, name: &str, trigger: Value, fields: Value) -> Result<()> {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name},
            "minReplicaCount": 1, "maxReplicaCount": 8, "pollingInterval": 1,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": at_once()}},
            "triggers": [trigger],
        },
    });
    for (field, value) in fields.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    let object = serde_json::from_value(object)?;
    scaled_objects(stage).create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Returns a behavior without a window of scale-downs.
fn at_once() -> Value {
    json!({"scaleDown": {"stabilizationWindowSeconds": 0}})
}

/// Creates a Secret with these texts, and a `TriggerAuthentication` that gives them to triggers.
async fn authenticate(stage: &Stage, name: &str, data: &Value) -> Result<()> {
    let namespace = &stage.namespace;
    let keys = data.as_object().into_iter().flatten().map(|(key, _)| key);
    let parameters: Vec<_> =
        keys.map(|key| json!({"parameter": key, "name": name, "key": key})).collect();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": data,
    });
    let authentication = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"secretTargetRef": parameters},
    });
    for object in [secret, authentication] {
        stage.control_plane().apply_yaml(&object.to_string()).await?;
    }
    Ok(())
}

fn scaled_objects(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = ApiResource::from_gvk_with_plural(&kind, "scaledobjects");
    Api::namespaced_with(stage.client(), &stage.namespace, &resource)
}

/// Returns the message of a `ScaledObject` that is not ready; `None` while that is not known.
fn failure(object: &DynamicObject) -> Option<String> {
    let conditions = object.data["status"]["conditions"].as_array();
    let is_failure = |it: &&Value| it["type"] == "Ready" && it["status"] == "False";
    let failed = conditions.into_iter().flatten().find(is_failure)?;
    Some(failed["message"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the HPA that KEDA created for a ScaledObject has no metric. Returns its message.
async fn until_inactive(stage: &Stage, name: &str) -> Result<String> {
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    wait::until(&format!("the HPA of {name} to have no metric"), 2 * SOON, async || {
        let status = hpas.get(&format!("{HPA}{name}")).await?.status.unwrap_or_default();
        let mut conditions = status.conditions.into_iter().flatten();
        let inactive = conditions.find(|it| it.type_ == "ScalingActive" && it.status == "False");
        Ok(inactive.and_then(|it| it.message))
    })
    .await
}
