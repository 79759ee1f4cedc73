//! Pods with GPUs by Dynamic Resource Allocation. No driver and no scheduler run, so a scenario
//! allocates the devices itself.

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{
    Api,
    api::{
        ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    },
};
use llm_autoscaler_testbed::{wait, workloads::stateful_set};
use serde_json::{Value, json};

use crate::{SOON, Stage};

/// Creates a StatefulSet of pods with a claim of their own, made from a template that asks for
/// two GPUs.
///
/// # Errors
/// Fails if the API server refuses it.
pub async fn create(stage: &Stage, name: &str, replicas: u32) -> Result<()> {
    let exactly = json!({"deviceClassName": "gpu.nvidia.com", "count": 2});
    let template = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate",
        "metadata": {"name": name},
        "spec": {"spec": {"devices": {"requests": [{"name": "gpus", "exactly": exactly}]}}},
    });
    let template: DynamicObject = serde_json::from_value(template)?;
    let api = api(stage, "ResourceClaimTemplate", "resourceclaimtemplates");
    api.create(&PostParams::default(), &template).await?;
    let mut set = stateful_set(name, replicas, stage.port())?;
    set.metadata.namespace = Some(stage.namespace.clone());
    let pods = set.spec.as_mut().and_then(|spec| spec.template.spec.as_mut());
    let claims = json!([{"name": "gpus", "resourceClaimTemplateName": name}]);
    pods.context("it has a template")?.resource_claims = Some(serde_json::from_value(claims)?);
    stage.api::<StatefulSet>().create(&PostParams::default(), &set).await?;
    Ok(())
}

/// Allocates two GPUs, and a network device, to the claim of each pod of a StatefulSet.
///
/// # Errors
/// Fails if the claims are not made in time.
pub async fn allocate(stage: &Stage, name: &str, replicas: usize) -> Result<()> {
    let its = ListParams::default().labels(&format!("app={name}"));
    let claims = wait::until(&format!("the claims of {replicas} pods"), SOON, async || {
        let pods = stage.api::<Pod>().list(&its).await?.items;
        let statuses = pods.into_iter().filter_map(|pod| pod.status?.resource_claim_statuses);
        let claims = statuses.flatten().filter_map(|claim| claim.resource_claim_name);
        let claims: Vec<String> = claims.collect();
        Ok((claims.len() == replicas).then_some(claims))
    })
    .await?;
    for (place, claim) in claims.into_iter().enumerate() {
        let device = |driver: &str, device: String| json!({"request": "gpus", "driver": driver, "pool": "node", "device": device});
        let devices: [Value; 3] = [
            device("gpu.nvidia.com", format!("gpu-{}", 2 * place)),
            device("gpu.nvidia.com", format!("gpu-{}", 2 * place + 1)),
            device("nic.example.com", format!("nic-{place}")),
        ];
        let status = json!({"status": {"allocation": {"devices": {"results": devices}}}});
        let api = api(stage, "ResourceClaim", "resourceclaims");
        api.patch_status(&claim, &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(())
}

fn api(stage: &Stage, kind: &str, plural: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("resource.k8s.io", "v1", kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    Api::namespaced_with(stage.client(), &stage.namespace, &resource)
}
