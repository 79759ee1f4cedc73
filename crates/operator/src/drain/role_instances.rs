//! Marks RoleInstances: it is they that a smaller size of a stateless role removes, and not their pods.
//!
//! They are not watched. So whoever is marked is looked up before a size is written, which also finds what was left behind by
//! an operator that ended between a mark and its write.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::try_join_all;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PartialObjectMeta, Patch},
};
use llm_autoscaler_api::workloads;
use serde_json::{Value, json};
use tracing::warn;

use llm_autoscaler_observe::pod::{Pod, instance::Instance};
use crate::drain::pod_gates::{Failure, InService, in_time, params, unless_gone};

/// What is read of an instance.
type Metadata = PartialObjectMeta<DynamicObject>;

impl InService {
    /// Marks the instances of pods of one set as those that are to be removed first, and no others of the set.
    ///
    /// # Errors
    /// One could not be marked; the text says why.
    pub async fn mark_instances(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let going: HashSet<&str> =
            pods.iter().filter_map(|pod| Some(pod.instance.as_ref()?.uid.as_str())).collect();
        let Some((pod, instance)) = pods.iter().find_map(|pod| Some((pod, pod.instance.as_ref()?)))
        else {
            if !pods.is_empty() {
                // Of a controller that has no such objects: it cannot be told, and waiting would not help.
                warn!("pods of a stateless role are of no RoleInstance, so anybody may be removed");
            }
            return Ok(());
        };
        let api = self.instances(pod, instance);
        let its = ListParams::default().labels(&workloads::role_labels(&pod.labels));
        let found = in_time(api.list_metadata(&its)).await.map_err(|(_, failure)| failure)?;
        let goes = |instance: &Metadata| {
            instance.metadata.uid.as_deref().is_some_and(|uid| going.contains(uid))
        };
        let Some(set) = found.items.iter().find(|instance| goes(instance)).map(set) else {
            return Ok(());
        };
        let all = found.items.iter().filter(|instance| self::set(instance) == set);
        let differing = all.filter(|instance| is_marked(instance) != goes(instance));
        // Noted first: what may have been written has to be taken back.
        self.note_marked(set.unwrap_or_default(), &going);
        let changes = differing.map(|instance| {
            let cost = if goes(instance) { json!(workloads::CHEAPEST) } else { Value::Null };
            let uid = instance.metadata.uid.as_deref().unwrap_or_default();
            change(&api, instance.name_any(), uid, cost)
        });
        try_join_all(changes).await.map(drop)
    }

    /// Notes who is marked of a set; nobody else of it is.
    fn note_marked(&self, set: &str, going: &HashSet<&str>) {
        let marked = &mut self.lock().marked_instances;
        marked.retain(|_, of| of != set);
        marked.extend(going.iter().map(|uid| ((*uid).to_owned(), set.to_owned())));
    }

    /// Takes the mark off the instance of a pod.
    pub(super) async fn unmark_instance(&self, pod: &Pod) -> Result<(), Failure> {
        let Some(instance) = &pod.instance else { return Ok(()) };
        change(&self.instances(pod, instance), instance.name.clone(), &instance.uid, Value::Null)
            .await?;
        self.lock().marked_instances.remove(&instance.uid);
        Ok(())
    }

    fn instances(&self, pod: &Pod, instance: &Instance) -> Api<DynamicObject> {
        let version = instance.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(workloads::RBG_GROUP, version, workloads::RBG_INSTANCE);
        Api::namespaced_with(self.0.client.clone(), &pod.namespace, &ApiResource::from_gvk(&kind))
    }
}

/// The UID of the set that an instance belongs to.
fn set(instance: &Metadata) -> Option<&str> {
    let owners = instance.owner_references().iter();
    owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

fn is_marked(instance: &Metadata) -> bool {
    instance
        .annotations()
        .get(workloads::INSTANCE_DELETION_COST)
        .is_some_and(|cost| cost == workloads::CHEAPEST)
}

/// Writes what one instance costs.
async fn change(
    api: &Api<DynamicObject>,
    name: String,
    uid: &str,
    cost: Value,
) -> Result<(), Failure> {
    // With the UID, a patch never reaches another instance of the same name.
    let metadata = json!({"uid": uid, "annotations": {workloads::INSTANCE_DELETION_COST: cost}});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    unless_gone(in_time(api.patch_metadata(&name, &params(), &patch)).await)
}
