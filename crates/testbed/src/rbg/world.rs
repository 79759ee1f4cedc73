//! A cache of the objects, and the writes to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use futures::StreamExt;
use futures::future::join_all;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions,
};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::objects::{Kind, apps, is_leaving, namespace, owner};
use crate::task::Task;

/// The stand-in's name in events and as a field manager, which is also the real controller's.
pub(super) const MANAGER: &str = "rbg";

/// The watched objects of one namespace or of all, and a client to change them.
///
/// The cache may not show the latest writes. So a write that must not happen twice carries the
/// resourceVersion that was read, or a name or UID that can be used only once; a refusal for that
/// reason is not an error.
pub(super) struct World {
    client: Client,
    stores: HashMap<String, Store<DynamicObject>>,
    said: Mutex<HashSet<String>>,
    watches: Vec<Task>,
}

impl World {
    pub(super) async fn watch(client: Client, only: Option<&str>) -> Result<Self> {
        let mut world =
            Self { client, stores: HashMap::new(), said: Mutex::default(), watches: Vec::new() };
        let ours = Kind::ALL.map(Kind::resource);
        for resource in ours.into_iter().chain([pods(), stateful_sets(), deployments()]) {
            let api: Api<DynamicObject> = match only {
                Some(namespace) => Api::namespaced_with(world.client.clone(), namespace, &resource),
                None => Api::all_with(world.client.clone(), &resource),
            };
            let writer = reflector::store::Writer::new(resource.clone());
            world.stores.insert(resource.plural, writer.as_reader());
            let events = watcher(api, watcher::Config::default()).default_backoff().reflect(writer);
            world.watches.push(Task::spawn(events.for_each(async |_| {})));
        }
        for store in world.stores.values() {
            store.wait_until_ready().await?;
        }
        Ok(world)
    }

    /// Returns all objects of a kind.
    pub(super) fn all(&self, resource: &ApiResource) -> Vec<Arc<DynamicObject>> {
        self.stores.get(&resource.plural).map(Store::state).unwrap_or_default()
    }

    /// Returns the object of a name.
    pub(super) fn find(
        &self,
        resource: &ApiResource,
        ns: &str,
        name: &str,
    ) -> Option<Arc<DynamicObject>> {
        let same = |object: &DynamicObject| {
            object.name_any() == name && object.namespace().as_deref() == Some(ns)
        };
        self.stores.get(&resource.plural).and_then(|store| store.find(same))
    }

    /// Returns the pods for which `wanted` holds.
    pub(super) fn pods(&self, wanted: impl Fn(&DynamicObject) -> bool) -> Vec<Arc<DynamicObject>> {
        self.stores.get("pods").map(|store| store.state_filter(wanted)).unwrap_or_default()
    }

    /// Creates an object. Returns true if it did not exist.
    pub(super) async fn create(&self, resource: &ApiResource, ns: &str, mut object: Value) -> bool {
        object["apiVersion"] = json!(resource.api_version);
        object["kind"] = json!(resource.kind);
        let name = object["metadata"]["name"].to_string();
        let result = match serde_json::from_value(object) {
            Ok(object) => {
                let params =
                    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
                self.api(resource, ns).create(&params, &object).await.map(drop)
            }
            Err(error) => Err(kube::Error::SerdeError(error)),
        };
        report(&format!("creating {} {ns}/{name}", resource.kind), result)
    }

    /// Merges a patch into the object as it was read. Returns true if the object had not changed.
    pub(super) async fn patch(
        &self,
        resource: &ApiResource,
        seen: &DynamicObject,
        patch: Value,
    ) -> bool {
        self.merge(resource, seen, patch, Patch::Merge).await
    }

    /// Merges a patch into a built-in object as it was read, lists by their keys. Returns true if
    /// the object had not changed.
    pub(super) async fn patch_strategic(
        &self,
        resource: &ApiResource,
        seen: &DynamicObject,
        patch: Value,
    ) -> bool {
        self.merge(resource, seen, patch, Patch::Strategic).await
    }

    async fn merge(
        &self,
        resource: &ApiResource,
        seen: &DynamicObject,
        mut patch: Value,
        strategy: fn(Value) -> Patch<Value>,
    ) -> bool {
        patch["metadata"]["resourceVersion"] = json!(seen.metadata.resource_version);
        let (ns, name, params) = (namespace(seen), seen.name_any(), manager());
        let result = self.api(resource, &ns).patch(&name, &params, &strategy(patch)).await;
        report(&format!("changing {} {ns}/{name}", resource.kind), result.map(drop))
    }

    /// Replaces the update strategy of a RoleInstanceSet as it was read.
    pub(super) async fn replace_strategy(
        &self,
        resource: &ApiResource,
        seen: &DynamicObject,
        strategy: Value,
    ) -> bool {
        let patch = json!([
            {"op": "replace", "path": "/metadata/resourceVersion",
             "value": seen.metadata.resource_version},
            {"op": "add", "path": "/spec/updateStrategy", "value": strategy},
        ]);
        let (ns, name, params) = (namespace(seen), seen.name_any(), manager());
        let result = match serde_json::from_value(patch) {
            Ok(patch) => {
                let patch = Patch::<()>::Json(patch);
                self.api(resource, &ns).patch(&name, &params, &patch).await.map(drop)
            }
            Err(error) => Err(kube::Error::SerdeError(error)),
        };
        report(&format!("changing {} {ns}/{name}", resource.kind), result)
    }

    /// Merges a patch into the status, regardless of other changes. Returns false if the object is
    /// gone.
    pub(super) async fn patch_status(
        &self,
        resource: &ApiResource,
        seen: &DynamicObject,
        status: Value,
    ) -> bool {
        let patch = json!({"metadata": {"uid": seen.uid()}, "status": status});
        let (ns, name, params) = (namespace(seen), seen.name_any(), manager());
        let api = self.api(resource, &ns);
        // A pod's status is shared with its kubelet, so its conditions merge by type.
        let result = if resource.group.is_empty() {
            api.patch_status(&name, &params, &Patch::Strategic(patch)).await
        } else {
            api.patch_status(&name, &params, &Patch::Merge(patch)).await
        };
        report(&format!("writing the status of {} {ns}/{name}", resource.kind), result.map(drop))
    }

    /// Replaces the whole object. Returns true if the object had not changed.
    pub(super) async fn replace(&self, resource: &ApiResource, object: &DynamicObject) -> bool {
        let (ns, name) = (namespace(object), object.name_any());
        let params =
            PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let result = self.api(resource, &ns).replace(&name, &params, object).await;
        report(&format!("updating {} {ns}/{name}", resource.kind), result.map(drop))
    }

    /// Deletes exactly the object that was read. Returns true if it still existed.
    pub(super) async fn delete(&self, resource: &ApiResource, seen: &DynamicObject) -> bool {
        let (ns, name) = (namespace(seen), seen.name_any());
        let preconditions = Some(Preconditions { uid: seen.uid(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        let result = self.api(resource, &ns).delete(&name, &params).await;
        report(&format!("deleting {} {ns}/{name}", resource.kind), result.map(drop))
    }

    /// Deletes the objects of owners that are gone. The cluster's garbage collector does so, too,
    /// but discovers new kinds only every 30 s.
    pub(super) async fn delete_without_owner(&self, resource: &ApiResource, kind: Kind) {
        let owners: HashSet<_> =
            self.all(&kind.resource()).iter().filter_map(|owner| owner.uid()).collect();
        let objects = self.all(resource);
        let orphans = objects.iter().filter(|object| {
            owner(object, kind).is_some_and(|uid| !owners.contains(uid)) && !is_leaving(object)
        });
        join_all(orphans.map(async |orphan| self.delete(resource, orphan).await)).await;
    }

    /// Returns true the first time it is called with this name.
    pub(super) fn says_first(&self, name: &str) -> bool {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    }

    fn api(&self, resource: &ApiResource, ns: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), ns, resource)
    }
}

pub(super) fn pods() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&())
}

pub(super) fn stateful_sets() -> ApiResource {
    apps("StatefulSet", "statefulsets")
}

pub(super) fn deployments() -> ApiResource {
    apps("Deployment", "deployments")
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

/// Logs an error, and returns true if there was none. Conflicts with other writers are not logged;
/// the next pass retries.
fn report(what: &str, result: kube::Result<()>) -> bool {
    match result {
        Ok(()) => return true,
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        Err(error) => eprintln!("RoleBasedGroup stand-in: {what}: {error}"),
    }
    false
}
