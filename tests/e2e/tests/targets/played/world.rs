//! The untyped objects of a namespace, and the writes of a played controller.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::{
    api::core::v1::Pod,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, ResourceExt,
    api::{
        ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams,
    },
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

/// The interval between two passes of a played controller.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);

/// The labels of an object or a pod.
pub(super) type Labels = BTreeMap<String, String>;

/// The reads and writes of a played controller in the namespace of a stage.
#[derive(Clone)]
pub(super) struct World {
    client: Client,
    namespace: String,
    port: u16,
}

impl World {
    /// Creates the world of a stage.
    pub(super) fn of(stage: &Stage) -> Self {
        Self { client: stage.client(), namespace: stage.namespace.clone(), port: stage.port() }
    }

    /// Returns the API of a kind.
    pub(super) fn api(&self, kind: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, kind)
    }

    /// Returns all objects of a kind that are not being deleted.
    pub(super) async fn all(&self, kind: &ApiResource) -> Result<Vec<DynamicObject>> {
        let mut objects = self.api(kind).list(&ListParams::default()).await?.items;
        objects.retain(|object| object.metadata.deletion_timestamp.is_none());
        Ok(objects)
    }

    /// Creates an object with a controlling owner.
    pub(super) async fn create(
        &self,
        kind: &ApiResource,
        name: &str,
        labels: Labels,
        owner: Option<&DynamicObject>,
        spec: Value,
    ) -> Result<()> {
        let mut object = DynamicObject::new(name, kind);
        object.metadata.labels = Some(labels);
        object.metadata.owner_references = owner.map(owned_by).transpose()?;
        object.data = json!({"spec": spec});
        let created = self.api(kind).create(&PostParams::default(), &object).await;
        created.with_context(|| format!("creating {} {name}", kind.kind))?;
        Ok(())
    }

    /// Writes the replicas of an object, if it has not changed since it was read.
    pub(super) async fn resize(
        &self,
        kind: &ApiResource,
        seen: &DynamicObject,
        replicas: i64,
    ) -> Result<()> {
        if seen.data["spec"]["replicas"] == replicas {
            return Ok(());
        }
        let version = &seen.metadata.resource_version;
        let patch =
            json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": replicas}});
        self.api(kind)
            .patch(&seen.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Writes a status if it differs from the one that was read.
    pub(super) async fn status(
        &self,
        kind: &ApiResource,
        seen: &DynamicObject,
        status: Value,
    ) -> Result<()> {
        if seen.data.get("status") == Some(&status) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({"status": status}));
        self.api(kind).patch_status(&seen.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Deletes an object.
    pub(super) async fn delete(&self, kind: &ApiResource, name: &str) -> Result<()> {
        self.api(kind).delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// Returns the pods that have a label.
    pub(super) async fn pods(&self, label: &str) -> Result<Vec<Pod>> {
        Ok(self.pod_api().list(&ListParams::default().labels(label)).await?.items)
    }

    /// Creates the missing pods and deletes the surplus ones.
    pub(super) async fn keep(
        &self,
        wanted: &BTreeMap<String, (Labels, Labels)>,
        there: &[Pod],
    ) -> Result<()> {
        for (name, (labels, annotations)) in wanted {
            if there.iter().all(|pod| pod.name_any() != *name) {
                let port = json!({"name": "http", "containerPort": self.port});
                let pod = json!({
                    "metadata": {"name": name, "labels": labels, "annotations": annotations},
                    "spec": {
                        "containers": [{"name": "engine", "image": "engine", "ports": [port]}],
                    },
                });
                self.pod_api()
                    .create(&PostParams::default(), &serde_json::from_value(pod)?)
                    .await?;
            }
        }
        let surplus =
            there.iter().filter(|pod| !wanted.contains_key(&pod.name_any()) && !is_leaving(pod));
        for pod in surplus {
            self.pod_api().delete(&pod.name_any(), &DeleteParams::default()).await?;
        }
        Ok(())
    }

    fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Returns a kind by its names.
pub(super) fn kind(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Installs CRDs, and waits until they are served.
pub(super) async fn install(stage: &Stage, manifests: &str, names: &[&str]) -> Result<()> {
    stage.control_plane().apply_yaml(manifests).await?;
    let definitions = Api::<CustomResourceDefinition>::all(stage.client());
    for name in names {
        wait::until(&format!("{name} to be served"), SOON, async || {
            let conditions = definitions.get(name).await?.status.unwrap_or_default().conditions;
            let mut conditions = conditions.into_iter().flatten();
            Ok(conditions.any(|c| c.type_ == "Established" && c.status == "True").then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Logs the error of a pass; conflicts with other writers are not logged, because the next pass
/// retries.
pub(super) fn report(controller: &str, pass: Result<()>) {
    let Err(error) = pass else { return };
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        _ => eprintln!("{controller}: {error:#}"),
    }
}

/// Returns true if a pod is ready and not being deleted.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    !is_leaving(pod) && conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Returns true if a pod is being deleted.
pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn owned_by(owner: &DynamicObject) -> Result<Vec<OwnerReference>> {
    let types = owner.types.as_ref().context("an owner without a kind")?;
    Ok(serde_json::from_value(json!([{
        "apiVersion": types.api_version,
        "kind": types.kind,
        "name": owner.name_any(),
        "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true,
    }]))?)
}
