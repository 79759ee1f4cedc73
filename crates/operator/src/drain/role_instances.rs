//! Marks RoleInstances: a smaller size of a stateless role of a RoleBasedGroup removes them, and
//! not their pods.
//!
//! They are not watched. So the RoleInstances of a set are listed before a size is written, which
//! also finds marks left behind by an operator that ended between a mark and its write.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::try_join_all;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PartialObjectMeta, Patch},
};
use llm_autoscaler_api::workloads;
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_observe::pod::{Pod, role_instance::RoleInstance};
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    drain::pod_write::{self, Failure, PodWriter, Written},
    lock::lock,
    telemetry::WriteKind,
};

/// The time for which a mark is remembered. A later scale-down of the set lists its RoleInstances
/// and finds it all the same.
const REMEMBERED: Duration = Duration::from_hours(24);

/// The metadata of a RoleInstance.
type Metadata = PartialObjectMeta<DynamicObject>;

/// Writes to RoleInstances.
pub(super) struct RoleInstances {
    client: Client,
    writer: PodWriter,
    /// The RoleInstances that were marked. No watch shows them.
    marked: Mutex<HashMap<InstanceKey, Mark>>,
}

/// A RoleInstance. A pod names its own by an owner reference, which the API server does not check:
/// with its namespace, no pod of another one can be taken for one of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InstanceKey {
    namespace: String,
    uid: String,
}

/// A mark that was written.
#[derive(Clone, Debug)]
struct Mark {
    /// The UID of the set.
    set: String,
    at: Monotonic,
}

impl RoleInstances {
    pub(super) fn new(client: Client, writer: PodWriter) -> Self {
        Self { client, writer, marked: Mutex::default() }
    }

    /// Returns whether the RoleInstance of a pod was marked by this process.
    pub(super) fn is_marked(&self, pod: &Pod) -> bool {
        let Some(instance) = &pod.role_instance else { return false };
        self.lock().contains_key(&InstanceKey::new(&pod.namespace, &instance.uid))
    }

    /// Marks the RoleInstances of pods of one set as the first to be removed, and unmarks all
    /// others of the set.
    ///
    /// # Errors
    /// A RoleInstance could not be marked.
    pub(super) async fn mark(&self, pods: &[Arc<Pod>]) -> Result<(), Failure> {
        let going: HashSet<&str> =
            pods.iter().filter_map(|pod| Some(pod.role_instance.as_ref()?.uid.as_str())).collect();
        let Some((pod, instance)) =
            pods.iter().find_map(|pod| Some((pod, pod.role_instance.as_ref()?)))
        else {
            if !pods.is_empty() {
                // An older controller has no such objects, so waiting would not help.
                warn!(
                    "pods of a stateless role have no RoleInstance, so any of them may be removed"
                );
            }
            return Ok(());
        };
        let api = self.api(pod, instance);
        let of_role = ListParams::default().labels(&workloads::role_labels(&pod.labels));
        let found = pod_write::read(api.list_metadata(&of_role)).await?;
        let Some(marking) = Marking::plan(&found.items, &going) else { return Ok(()) };
        // Recorded before the writes, so that a mark is removed again even if its write seems to
        // have failed.
        self.record(&pod.namespace, &marking.set, &going);
        let writes = marking.changes.into_iter();
        let writes = writes.map(|change| self.set_cost(&pod.namespace, &api, change));
        if try_join_all(writes).await?.contains(&Written::Outdated) {
            return Err(Failure::outdated());
        }
        Ok(())
    }

    /// Removes the mark of the RoleInstance of a pod.
    ///
    /// # Errors
    /// The RoleInstance could not be read or written.
    pub(super) async fn unmark(&self, pod: &Pod) -> Result<Written, Failure> {
        let Some(instance) = &pod.role_instance else { return Ok(Written::Done) };
        let api = self.api(pod, instance);
        let named = ListParams::default().fields(&format!("metadata.name={}", instance.name));
        let found = pod_write::read(api.list_metadata(&named)).await?.items;
        let of_pod = |it: &Metadata| it.metadata.uid.as_ref() == Some(&instance.uid);
        let written = match found.iter().find(|found| of_pod(found) && has_mark(found)) {
            Some(found) => {
                let change = CostChange::new(found, Value::Null);
                self.set_cost(&pod.namespace, &api, change).await?
            }
            None => Written::Done,
        };
        if written == Written::Done {
            self.lock().remove(&InstanceKey::new(&pod.namespace, &instance.uid));
        }
        Ok(written)
    }

    /// Writes the deletion cost of one RoleInstance.
    async fn set_cost(
        &self,
        namespace: &str,
        api: &Api<DynamicObject>,
        CostChange { name, uid, version, cost }: CostChange,
    ) -> Result<Written, Failure> {
        // With the UID and the version, a patch reaches neither another RoleInstance of the same
        // name nor one that another copy of the operator has written to since.
        let annotations = json!({workloads::INSTANCE_DELETION_COST: cost});
        let metadata = json!({"uid": uid, "resourceVersion": version, "annotations": annotations});
        let (params, patch) = (pod_write::params(), Patch::Merge(json!({"metadata": metadata})));
        self.writer
            .write(WriteKind::RoleInstance, namespace, api.patch_metadata(&name, &params, &patch))
            .await
    }

    /// Records that these RoleInstances of a set are marked, and no others.
    fn record(&self, namespace: &str, set: &str, going: &HashSet<&str>) {
        let now = self.writer.writes.now();
        let mut marked = self.lock();
        // A set that is deleted in the middle of its scale-down would stay for ever.
        marked.retain(|_, mark| mark.set != set && now.since(mark.at) < REMEMBERED);
        let mark = Mark { set: set.to_owned(), at: now };
        marked.extend(going.iter().map(|uid| (InstanceKey::new(namespace, uid), mark.clone())));
    }

    fn api(&self, pod: &Pod, instance: &RoleInstance) -> Api<DynamicObject> {
        let version = instance.api_version.rsplit('/').next().unwrap_or_default();
        let kind = GroupVersionKind::gvk(workloads::RBG_GROUP, version, workloads::RBG_INSTANCE);
        Api::namespaced_with(self.client.clone(), &pod.namespace, &ApiResource::from_gvk(&kind))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceKey, Mark>> {
        lock(&self.marked)
    }
}

impl InstanceKey {
    fn new(namespace: &str, uid: &str) -> Self {
        Self { namespace: namespace.to_owned(), uid: uid.to_owned() }
    }
}

/// The writes that mark the RoleInstances of one set that are to be removed, and no others.
#[derive(Debug, PartialEq)]
struct Marking {
    /// The UID of the set.
    set: String,
    changes: Vec<CostChange>,
}

/// A write of a RoleInstance's deletion cost; null removes it.
#[derive(Debug, PartialEq)]
struct CostChange {
    name: String,
    uid: String,
    version: Option<String>,
    cost: Value,
}

impl CostChange {
    fn new(found: &Metadata, cost: Value) -> Self {
        Self {
            name: found.name_any(),
            uid: found.metadata.uid.clone().unwrap_or_default(),
            version: found.metadata.resource_version.clone(),
            cost,
        }
    }
}

impl Marking {
    /// Plans the writes for the RoleInstances with the UIDs in `going`. Returns `None` if none of
    /// these exists any more.
    fn plan(found: &[Metadata], going: &HashSet<&str>) -> Option<Self> {
        let goes = |instance: &Metadata| {
            instance.metadata.uid.as_deref().is_some_and(|uid| going.contains(uid))
        };
        let set = found.iter().find(|instance| goes(instance)).map(set_of)?;
        let of_set = found.iter().filter(|instance| set_of(instance) == set);
        let differing = of_set.filter(|instance| has_mark(instance) != goes(instance));
        let changes = differing.map(|instance| {
            let cost = if goes(instance) { json!(workloads::CHEAPEST) } else { Value::Null };
            CostChange::new(instance, cost)
        });
        Some(Self { set: set.unwrap_or_default().to_owned(), changes: changes.collect() })
    }
}

/// Returns the UID of the set that a RoleInstance belongs to.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;
    use crate::{
        clock::Clock,
        kube_api::{
            stand_in::{Answer, Received, StandIn},
            writes::Writes,
        },
        lease::Leases,
    };

    fn instance(name: &str, set: &str, is_marked: bool) -> Metadata {
        let cost = is_marked.then_some(workloads::CHEAPEST);
        let object = json!({
            "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleInstance",
            "metadata": {
                "name": name, "uid": name,
                "annotations": {workloads::INSTANCE_DELETION_COST: cost.unwrap_or("5")},
                "ownerReferences": [{
                    "apiVersion": "v", "kind": "RoleInstanceSet", "name": set, "uid": set,
                    "controller": true,
                }],
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[tokio::test]
    async fn a_mark_is_unknown_to_pods_of_another_namespace_and_is_not_kept_for_ever() {
        let metadata = json!({"resourceVersion": "1"});
        let empty = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata, "items": []});
        let api = StandIn::start(move |_: &Received| Answer::Json(200, empty.clone())).await;
        let writes = Writes::new(Clock::start(), Telemetry::default());
        let pod_writer = PodWriter { writes, leases: Leases::solo() };
        let instances = RoleInstances::new(api.client.clone(), pod_writer);
        let pod = |namespace: &str, uid: &str| {
            let (api_version, name) = ("workloads.x-k8s.io/v1alpha2".to_owned(), "a".to_owned());
            let instance = RoleInstance { api_version, name, uid: uid.to_owned() };
            let role_instance = Some(Box::new(instance));
            let pod = Pod::serving("a-0", "a");
            Pod { namespace: namespace.to_owned(), role_instance, ..pod }
        };
        instances.record("ns", "set", &HashSet::from(["1"]));
        let (own, foreign) = (pod("ns", "1"), pod("other", "1"));
        assert!(instances.is_marked(&own) && !instances.is_marked(&foreign));
        instances.unmark(&foreign).await.unwrap();
        assert!(instances.is_marked(&own), "a pod of another namespace claims the instance");
        for mark in instances.lock().values_mut() {
            mark.at = Monotonic::default();
        }
        instances.record("ns", "another", &HashSet::from(["2"]));
        assert!(instances.is_marked(&own), "a day has not passed");
        instances.unmark(&own).await.unwrap();
        assert!(!instances.is_marked(&own));
    }

    #[test]
    fn the_instances_of_a_set_are_marked_if_they_go_and_unmarked_if_they_stay() {
        let found = [
            instance("a", "set", false),
            instance("b", "set", true),
            instance("c", "set", true),
            instance("d", "set", false),
            instance("e", "another", true),
        ];
        // the instances that go; the writes of marks and unmarks
        let table = [
            (vec!["a", "b"], vec![("a", true), ("c", false)]),
            (vec!["b", "c"], vec![]),
            (vec!["d"], vec![("b", false), ("c", false), ("d", true)]),
        ];
        for (going, expected) in table {
            let marking = Marking::plan(&found, &going.iter().copied().collect()).unwrap();
            assert_eq!(marking.set, "set");
            let changes = marking.changes.iter();
            let changes: Vec<_> = changes.map(|it| (&*it.uid, !it.cost.is_null())).collect();
            assert_eq!(changes, expected, "{going:?}");
        }
        assert_eq!(Marking::plan(&found, &HashSet::from(["gone"])), None);
    }
}
