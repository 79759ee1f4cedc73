//! Marks RoleInstances: a smaller size of a stateless role of a RoleBasedGroup removes them, and not their pods.
//!
//! They are not watched. So the RoleInstances of a set are listed before a size is written, which also finds marks left behind
//! by an operator that ended between a mark and its write.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
};

use futures::future::try_join_all;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PartialObjectMeta, Patch},
};
use llm_autoscaler_api::workloads;
use llm_autoscaler_observe::pod::{Pod, instance::Instance};
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    drain::pod_write::{self, Failure},
    lock::lock,
};

/// What is read of a RoleInstance.
type Metadata = PartialObjectMeta<DynamicObject>;

/// Writes to RoleInstances.
pub(super) struct RoleInstances {
    client: Client,
    /// The UIDs of the RoleInstances that were marked, each with that of its set: no watch would tell.
    marked: Mutex<HashMap<String, String>>,
}

impl RoleInstances {
    pub(super) fn new(client: Client) -> Self {
        Self { client, marked: Mutex::default() }
    }

    /// Returns whether the RoleInstance of a pod was marked by this process.
    pub(super) fn is_marked(&self, pod: &Pod) -> bool {
        pod.instance.as_ref().is_some_and(|instance| self.lock().contains_key(&instance.uid))
    }

    /// Marks the RoleInstances of pods of one set as the first to be removed, and no others of the set.
    ///
    /// # Errors
    /// A RoleInstance could not be marked.
    pub(super) async fn mark(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let going: HashSet<&str> =
            pods.iter().filter_map(|pod| Some(pod.instance.as_ref()?.uid.as_str())).collect();
        let Some((pod, instance)) = pods.iter().find_map(|pod| Some((pod, pod.instance.as_ref()?)))
        else {
            if !pods.is_empty() {
                // An older controller has no such objects: it cannot be told, and waiting would not help.
                warn!(
                    "pods of a stateless role have no RoleInstance, so any of them may be removed"
                );
            }
            return Ok(());
        };
        let api = self.api(pod, instance);
        let of_role = ListParams::default().labels(&workloads::role_labels(&pod.labels));
        let found = pod_write::read(api.list_metadata(&of_role)).await?;
        let goes = |instance: &Metadata| {
            instance.metadata.uid.as_deref().is_some_and(|uid| going.contains(uid))
        };
        let Some(set) = found.items.iter().find(|instance| goes(instance)).map(set_of) else {
            return Ok(());
        };
        let of_set = found.items.iter().filter(|instance| set_of(instance) == set);
        let differing = of_set.filter(|instance| has_mark(instance) != goes(instance));
        // Recorded first: what may have been written has to be taken back.
        self.record(set.unwrap_or_default(), &going);
        let changes = differing.map(|instance| {
            let cost = if goes(instance) { json!(workloads::CHEAPEST) } else { Value::Null };
            let uid = instance.metadata.uid.as_deref().unwrap_or_default();
            set_cost(&api, instance.name_any(), uid, cost)
        });
        try_join_all(changes).await.map(drop)
    }

    /// Takes the mark off the RoleInstance of a pod.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) async fn unmark(&self, pod: &Pod) -> Result<(), Failure> {
        let Some(instance) = &pod.instance else { return Ok(()) };
        let api = self.api(pod, instance);
        set_cost(&api, instance.name.clone(), &instance.uid, Value::Null).await?;
        self.lock().remove(&instance.uid);
        Ok(())
    }

    /// Records which RoleInstances of a set are marked: these, and no others.
    fn record(&self, set: &str, going: &HashSet<&str>) {
        let mut marked = self.lock();
        marked.retain(|_, of| of != set);
        marked.extend(going.iter().map(|uid| ((*uid).to_owned(), set.to_owned())));
    }

    fn api(&self, pod: &Pod, instance: &Instance) -> Api<DynamicObject> {
        let version = instance.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(workloads::RBG_GROUP, version, workloads::RBG_INSTANCE);
        Api::namespaced_with(self.client.clone(), &pod.namespace, &ApiResource::from_gvk(&kind))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        lock(&self.marked)
    }
}

/// The UID of the set that a RoleInstance belongs to.
fn set_of(instance: &Metadata) -> Option<&str> {
    let owners = instance.owner_references().iter();
    owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

fn has_mark(instance: &Metadata) -> bool {
    instance
        .annotations()
        .get(workloads::INSTANCE_DELETION_COST)
        .is_some_and(|cost| cost == workloads::CHEAPEST)
}

/// Writes the deletion cost of one RoleInstance.
async fn set_cost(
    api: &Api<DynamicObject>,
    name: String,
    uid: &str,
    cost: Value,
) -> Result<(), Failure> {
    // With the UID, a patch never reaches another RoleInstance of the same name.
    let metadata = json!({"uid": uid, "annotations": {workloads::INSTANCE_DELETION_COST: cost}});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    pod_write::write(api.patch_metadata(&name, &pod_write::params(), &patch)).await
}
