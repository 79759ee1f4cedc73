//! Marks RoleInstances: it is they that a smaller size of a stateless role removes, and not their pods.
//!
//! They are not watched. So whoever is marked is looked up before a size is written, which also finds what was left behind by
//! an operator that ended between a mark and its write.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::try_join_all;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch},
};
use llm_autoscaler_api::dialect;
use serde_json::{Value, json};

use super::{Failure, InService, in_time, params, unless_gone};
use crate::pods::{Instance, Pod};

impl InService {
    /// Marks the instances of pods of one role as those that are to be removed first, and no others of the role.
    ///
    /// # Errors
    /// One could not be marked; the text says why.
    pub async fn mark_instances(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let going: HashMap<&str, &Instance> = pods
            .iter()
            .filter_map(|pod| Some((pod.instance.as_ref()?.uid.as_str(), pod.instance.as_ref()?)))
            .collect();
        let Some((pod, instance)) = pods.iter().find_map(|pod| Some((pod, pod.instance.as_ref()?))) else {
            return Ok(()); // whoever has no pods goes first anyway
        };
        let api = self.instances(pod, instance);
        let its_role = ListParams::default().labels(&dialect::role_labels(&pod.labels));
        let found = in_time(api.list_metadata(&its_role)).await.map_err(|(_, failure)| failure)?;
        let changes = found.items.iter().filter_map(|instance| {
            let uid = instance.metadata.uid.as_deref()?;
            let cost = instance.annotations().get(dialect::INSTANCE_DELETION_COST);
            let is_marked = cost.is_some_and(|cost| cost == dialect::CHEAPEST);
            let is_to_be = going.contains_key(uid);
            let cost = if is_to_be { json!(dialect::CHEAPEST) } else { Value::Null };
            (is_marked != is_to_be).then(|| change(&api, instance.name_any(), uid, cost))
        });
        // Noted first: what may have been written has to be taken back.
        self.lock().marked_instances.extend(going.keys().map(ToString::to_string));
        try_join_all(changes).await.map(drop)
    }

    /// Takes the mark off the instance of a pod.
    pub(super) async fn unmark_instance(&self, pod: &Pod) -> Result<(), Failure> {
        let Some(instance) = &pod.instance else { return Ok(()) };
        change(&self.instances(pod, instance), instance.name.clone(), &instance.uid, Value::Null).await?;
        self.lock().marked_instances.remove(&instance.uid);
        Ok(())
    }

    fn instances(&self, pod: &Pod, instance: &Instance) -> Api<DynamicObject> {
        let version = instance.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(dialect::RBG_GROUP, version, dialect::RBG_INSTANCE);
        Api::namespaced_with(self.0.client.clone(), &pod.namespace, &ApiResource::from_gvk(&kind))
    }
}

/// Writes what one instance costs.
async fn change(api: &Api<DynamicObject>, name: String, uid: &str, cost: Value) -> Result<(), Failure> {
    // With the UID, a patch never reaches another instance of the same name.
    let metadata = json!({"uid": uid, "annotations": {dialect::INSTANCE_DELETION_COST: cost}});
    let patch = Patch::Merge(json!({"metadata": metadata}));
    unless_gone(in_time(api.patch_metadata(&name, &params(), &patch)).await)
}
