//! A stand-in for the role scalers of DisaggregatedSets, which came with LeaderWorkerSet v0.10.
//!
//! The DisaggregatedSets themselves, their LeaderWorkerSets and their pods are made by the real
//! controller of v0.9, which has no scalers. What is added here follows v0.10.0, commit 2161f38,
//! as it was observed on a real control plane:
//!
//! - a role with `scaling.mode: External` has a scaler `{set}-{role}`, with the labels of both,
//!   owned by the set as its controller, and born with a size;
//! - the scaler's `spec.replicas` is the size of the role;
//! - its `status.replicas` counts the groups of all revisions, and its selector finds their
//!   leaders only.
//!
//! **Difference.** The real one keeps the size out of the DisaggregatedSet's spec; this one writes
//! it there, because the controller of v0.9 reads it there.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::until_established;
use crate::ControlPlane;
use crate::task::Task;

/// The interval between two passes over all DisaggregatedSets.
const INTERVAL: Duration = Duration::from_millis(200);
const GROUP: &str = "disaggregatedset.x-k8s.io";
const NAME: &str = "disaggregatedset.x-k8s.io/name";
const ROLE: &str = "disaggregatedset.x-k8s.io/role";
/// The name of the CRD of scalers.
const CRD: &str = "disaggregatedsetrolescalers.disaggregatedset.x-k8s.io";

/// The running stand-in. Dropping it stops it; its objects stay.
#[derive(Debug)]
pub struct RoleScalers {
    _task: Task,
}

impl RoleScalers {
    /// Installs the kind, and serves the DisaggregatedSets of a namespace.
    ///
    /// # Errors
    /// Fails if the API server refuses the CRDs.
    pub async fn start(control_plane: &ControlPlane, namespace: &str) -> Result<Self> {
        control_plane.apply_yaml(&crd().to_string()).await?;
        until_established(control_plane, CRD).await?;
        Ok(Self { _task: Task::spawn(run(control_plane.client(), namespace.to_owned())) })
    }
}

/// Returns the CRD of scalers.
fn crd() -> Value {
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let replicas = json!({"type": "integer", "format": "int32", "minimum": 0});
    let spec = json!({"type": "object", "properties": {"replicas": replicas}});
    let properties = json!({"spec": spec, "status": open});
    let scale = json!({
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": "DisaggregatedSetRoleScaler",
                "listKind": "DisaggregatedSetRoleScalerList",
                "plural": "disaggregatedsetrolescalers",
                "singular": "disaggregatedsetrolescaler",
            },
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                "subresources": {"status": {}, "scale": scale},
            }],
        },
    })
}

/// Adds `scaling.mode` of a role to the CRD of DisaggregatedSets of v0.9. Its controller ignores
/// the field.
pub(super) fn add_mode(crd: &mut Value) {
    let roles = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/roles/items";
    if let Some(role) = crd.pointer_mut(roles) {
        role["properties"]["scaling"] =
            json!({"type": "object", "properties": {"mode": {"type": "string"}}});
    }
}

async fn run(client: Client, namespace: String) {
    let api = |group: &str, kind: &str, plural: &str| {
        let kind = GroupVersionKind::gvk(group, "v1", kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource)
    };
    let kinds = Kinds {
        disaggregated: api(GROUP, "DisaggregatedSet", "disaggregatedsets"),
        scalers: api(GROUP, "DisaggregatedSetRoleScaler", "disaggregatedsetrolescalers"),
        sets: api("leaderworkerset.x-k8s.io", "LeaderWorkerSet", "leaderworkersets"),
    };
    loop {
        // A pass that fails, because something else has written meanwhile, is repeated.
        let _ = kinds.pass().await;
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Kinds {
    disaggregated: Api<DynamicObject>,
    scalers: Api<DynamicObject>,
    sets: Api<DynamicObject>,
}

impl Kinds {
    async fn pass(&self) -> Result<()> {
        for set in self.disaggregated.list(&ListParams::default()).await? {
            let roles = set.data["spec"]["roles"].as_array().cloned().unwrap_or_default();
            for (index, role) in roles.iter().enumerate() {
                if role["scaling"]["mode"] == "External" {
                    self.reconcile(&set, index, role).await?;
                }
            }
        }
        Ok(())
    }

    async fn reconcile(&self, set: &DynamicObject, index: usize, role: &Value) -> Result<()> {
        let role_name = role["name"].as_str().context("a role without a name")?;
        let name = format!("{}-{role_name}", set.name_any());
        let size = role["spec"]["replicas"].as_i64().unwrap_or(1);
        let Some(scaler) = self.scalers.get_opt(&name).await? else {
            let scaler = new_scaler(set, role_name, size);
            self.scalers.create(&manager(), &serde_json::from_value(scaler)?).await?;
            return Ok(());
        };
        let wanted = scaler.data["spec"]["replicas"].as_i64().unwrap_or(size);
        if wanted != size {
            let patch = json!([
                {"op": "test", "path": format!("/spec/roles/{index}/name"), "value": role_name},
                {"op": "add", "path": format!("/spec/roles/{index}/spec/replicas"), "value": wanted},
            ]);
            let patch = Patch::Json::<()>(serde_json::from_value(patch)?);
            self.disaggregated.patch(&set.name_any(), &PatchParams::default(), &patch).await?;
        }
        let selector = format!("{NAME}={},{ROLE}={role_name}", set.name_any());
        let sets = self.sets.list(&ListParams::default().labels(&selector)).await?;
        let count = |set: &DynamicObject| set.data["status"]["replicas"].as_i64().unwrap_or(0);
        let status = json!({
            "replicas": sets.iter().map(count).sum::<i64>(),
            "selector": format!("{selector},leaderworkerset.sigs.k8s.io/worker-index=0"),
        });
        if scaler.data["status"] != status {
            let patch = Patch::Merge(json!({"status": status}));
            self.scalers.patch_status(&name, &PatchParams::default(), &patch).await?;
        }
        Ok(())
    }
}

fn manager() -> kube::api::PostParams {
    kube::api::PostParams { field_manager: Some("lws".to_owned()), ..Default::default() }
}

fn new_scaler(set: &DynamicObject, role: &str, size: i64) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "DisaggregatedSetRoleScaler",
        "metadata": {
            "name": format!("{}-{role}", set.name_any()),
            "labels": {NAME: set.name_any(), ROLE: role},
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/v1"), "kind": "DisaggregatedSet",
                "name": set.name_any(), "uid": set.uid(), "controller": true,
            }],
        },
        "spec": {"replicas": size},
    })
}
