//! A stand-in for KEDA, as far as a migration meets it.
//!
//! It follows kedacore/keda, `controllers/keda/scaledobject_controller.go` and
//! `scaledobject_finalizer.go` (00015cc, 121e3b4): an HPA for each ScaledObject, with an owner
//! reference; none while `autoscaling.keda.sh/paused` is set, and then the condition Paused; a
//! finalizer, which sets the size that was there before KEDA if `restoreToOriginalReplicaCount` is
//! set. Unlike KEDA's, its HPA reads the pods' pages by the custom metrics API, with the threshold
//! of the first trigger.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::ControlPlane;
use serde_json::{Value, json};

use crate::scene::{NAME, hpa_spec};

/// The finalizer of KEDA.
const FINALIZER: &str = "finalizer.keda.sh";
/// The annotation that pauses a ScaledObject.
const PAUSED: &str = "autoscaling.keda.sh/paused";
/// The size before KEDA, of [`scaled_object`].
pub(crate) const ORIGINAL: i32 = 2;

/// Installs the CRD.
pub(crate) async fn install(cluster: &ControlPlane) -> Result<()> {
    cluster.apply_yaml(include_str!("../../fixtures/scaledobject-crd.yaml")).await?;
    let established =
        ["wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=30s"];
    cluster.kubectl(established).await.map(drop)
}

/// Returns the API of ScaledObjects.
pub(crate) fn scaled_objects(stage: &Stage) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = ApiResource::from_gvk_with_plural(&kind, "scaledobjects");
    Api::namespaced_with(stage.client(), &stage.namespace, &resource)
}

/// Creates a ScaledObject that restores the size on deletion.
pub(crate) async fn create(stage: &Stage) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": NAME},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": NAME},
            "minReplicaCount": 1, "maxReplicaCount": 6,
            "advanced": {"restoreToOriginalReplicaCount": true},
            "triggers": [{"type": "prometheus", "metadata": {
                "serverAddress": "http://prometheus.monitoring.svc:9090",
                "query": "sum(vllm:num_requests_waiting)", "threshold": "5",
            }}],
        },
    }))?;
    scaled_objects(stage).create(&PostParams::default(), &object).await?;
    Ok(())
}

/// The stand-in of one namespace. It stops when it is dropped.
pub(crate) struct Keda(tokio::task::JoinHandle<()>);

impl Keda {
    pub(crate) fn start(stage: &Stage) -> Self {
        let (objects, client) = (scaled_objects(stage), stage.client());
        let namespace = stage.namespace.clone();
        Self(tokio::spawn(async move {
            loop {
                // An object that has changed meanwhile is looked at again.
                if let Err(error) = reconcile(&objects, &client, &namespace).await {
                    eprintln!("the stand-in for KEDA in {namespace}: {error:#}");
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }))
    }
}

impl Drop for Keda {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn reconcile(objects: &Api<DynamicObject>, client: &Client, namespace: &str) -> Result<()> {
    let hpas: Api<HorizontalPodAutoscaler> = Api::namespaced(client.clone(), namespace);
    let targets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    for object in objects.list(&ListParams::default()).await? {
        let (name, hpa) = (object.name_any(), format!("keda-hpa-{}", object.name_any()));
        if object.metadata.deletion_timestamp.is_some() {
            finalize(&object, &targets).await?;
            let patch = json!({"metadata": {"finalizers": null}});
            objects.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            continue;
        }
        let is_paused = object.annotations().get(PAUSED).is_some_and(|value| value != "false");
        let existing = hpas.get_opt(&hpa).await?;
        match (is_paused, existing) {
            (true, Some(_)) => {
                hpas.delete(&hpa, &DeleteParams::default()).await?;
            }
            (false, None) => {
                hpas.create(&PostParams::default(), &its_hpa(&object, &hpa)?).await?;
            }
            _ => {}
        }
        let status = status(&object, is_paused, &targets).await?;
        let is_known = object.data.get("status") == Some(&status);
        if !is_known || object.finalizers().is_empty() {
            let patch = json!({"metadata": {"finalizers": [FINALIZER]}, "status": status});
            objects.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
    }
    Ok(())
}

/// Returns the status: the size before KEDA, and whether it is paused.
async fn status(
    object: &DynamicObject,
    is_paused: bool,
    targets: &Api<StatefulSet>,
) -> Result<Value> {
    let known = object.data.pointer("/status/originalReplicaCount").and_then(Value::as_i64);
    let original = if let Some(original) = known {
        original
    } else {
        let spec = targets.get(NAME).await?.spec.context("no spec")?;
        spec.replicas.unwrap_or(1).into()
    };
    let paused = if is_paused { "True" } else { "False" };
    Ok(json!({
        "originalReplicaCount": original,
        "conditions": [{"type": "Paused", "status": paused}],
    }))
}

/// Restores the size before KEDA, if that is wanted.
async fn finalize(object: &DynamicObject, targets: &Api<StatefulSet>) -> Result<()> {
    const RESTORES: &str = "/spec/advanced/restoreToOriginalReplicaCount";
    if object.data.pointer(RESTORES) != Some(&json!(true)) {
        return Ok(());
    }
    let original = object.data.pointer("/status/originalReplicaCount").context("no status")?;
    let patch = Patch::Merge(json!({"spec": {"replicas": original}}));
    let params = PatchParams { field_manager: Some("keda".to_owned()), ..PatchParams::default() };
    targets.patch_scale(NAME, &params, &patch).await?;
    Ok(())
}

fn its_hpa(object: &DynamicObject, name: &str) -> Result<HorizontalPodAutoscaler> {
    let mut spec = hpa_spec();
    spec["minReplicas"] = object.data["spec"]["minReplicaCount"].clone();
    spec["maxReplicas"] = object.data["spec"]["maxReplicaCount"].clone();
    let threshold = &object.data["spec"]["triggers"][0]["metadata"]["threshold"];
    spec["metrics"][0]["pods"]["target"]["averageValue"] = threshold.clone();
    let owner = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": object.name_any(),
        "uid": object.uid(), "controller": true, "blockOwnerDeletion": true,
    });
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "ownerReferences": [owner]}, "spec": spec,
    }))?)
}
