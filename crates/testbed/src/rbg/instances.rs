//! RoleInstanceSets: the pods of every replica. The real controller has a RoleInstance per replica in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::labels;
use super::labels::{
    COMPONENT, COMPONENT_ID, COMPONENT_INDEX, COMPONENT_SIZE, INSTANCE, INSTANCE_INDEX, POD_NAME, ROLE,
};
use super::objects::{Kind, is_leaving, is_true, label, namespace, number, owned_by, owner};
use super::role::{Component, Pattern, Shape, roles};
use super::workloads::add_labels;
use super::world::{World, pods};

/// What a pod waits for besides its containers.
const GATES: [&str; 2] = ["InPlaceUpdateReady", "InstancePodReady"];

pub(super) async fn pass(world: &World) {
    for set in world.all(&Kind::InstanceSet.resource()) {
        if !is_leaving(&set) {
            look_after(world, &set).await;
        }
    }
    world.delete_without_owner(&pods(), Kind::InstanceSet).await;
}

async fn look_after(world: &World, set: &DynamicObject) {
    let groups = world.all(&Kind::Group.resource());
    let uid = owner(set, Kind::Group);
    let Some(group) = groups.iter().find(|group| group.uid().as_deref() == uid) else { return };
    let Some(role) = roles(group).into_iter().find(|role| label(set, ROLE) == Some(&role.name)) else {
        return;
    };
    let Ok(pattern) = role.pattern else { return };
    let its_labels = labels::of_role(group, &role.name);
    let selector = labels::selector(group, &role.name);

    let replicas = number(set, "/spec/replicas").unwrap_or(1);
    let wanted: Vec<_> = (0..replicas).flat_map(|ordinal| planned(set, &pattern, ordinal)).collect();
    let there = world.pods(|pod| owner(pod, Kind::InstanceSet) == set.uid().as_deref());
    create_missing(world, set, &its_labels, &wanted, &there).await;
    delete_surplus(world, &wanted, &there).await;
    open_gates(world, &there).await;
    write_status(world, set, &pattern, &there, selector).await;
}

/// A pod of a replica.
struct Planned<'a> {
    name: String,
    instance: String,
    ordinal: i64,
    component: &'a Component,
    id: i64,
    shape: Shape,
}

/// The pods of the replica with this ordinal.
fn planned<'a>(set: &DynamicObject, pattern: &'a Pattern, ordinal: i64) -> Vec<Planned<'a>> {
    let instance = format!("{}-{ordinal}", set.name_any());
    let pod = |component: &'a Component, id: i64| {
        let name = match pattern.shape {
            Shape::Standalone => instance.clone(),
            Shape::LeaderWorker => format!("{instance}-{}", component_index(component, id)),
            Shape::Custom => format!("{instance}-{}-{id}", component.name),
        };
        Planned { name, instance: instance.clone(), ordinal, component, id, shape: pattern.shape }
    };
    let pods =
        |component: &'a Component| (0..component.size).map(|id| pod(component, id)).collect::<Vec<_>>();
    pattern.components.iter().flat_map(pods).collect()
}

fn component_index(component: &Component, id: i64) -> i64 {
    if component.name == "worker" { id + 1 } else { id }
}

async fn create_missing(
    world: &World,
    set: &DynamicObject,
    its_labels: &Value,
    wanted: &[Planned<'_>],
    there: &[Arc<DynamicObject>],
) {
    let missing: Vec<_> =
        wanted.iter().filter(|pod| there.iter().all(|there| there.name_any() != pod.name)).collect();
    // All pods of a batch say that they are of its last replica.
    let Some(last) = missing.iter().map(|pod| pod.ordinal).max() else { return };
    let creating = missing.iter().map(|pod| {
        let object = new_pod(set, pod, its_labels, last);
        async move { world.create(&pods(), &namespace(set), object).await }
    });
    join_all(creating).await;
}

fn new_pod(set: &DynamicObject, pod: &Planned<'_>, its_labels: &Value, last: i64) -> Value {
    let mut object = pod.component.template.clone();
    add_labels(&mut object, its_labels);
    add_labels(
        &mut object,
        &json!({
            INSTANCE: pod.instance,
            INSTANCE_INDEX: last.to_string(),
            POD_NAME: format!("{}-{last}", set.name_any()),
            COMPONENT: pod.component.name,
            COMPONENT_ID: pod.id.to_string(),
            COMPONENT_SIZE: pod.component.size.to_string(),
        }),
    );
    if pod.shape == Shape::LeaderWorker {
        let index = component_index(pod.component, pod.id);
        add_labels(&mut object, &json!({COMPONENT_INDEX: index.to_string()}));
    }
    object["metadata"]["name"] = json!(pod.name);
    object["metadata"]["ownerReferences"] = owned_by(set, Kind::InstanceSet, true);
    let own = object["spec"]["readinessGates"].as_array().cloned().unwrap_or_default();
    let gates = GATES.map(|gate| json!({"conditionType": gate})).into_iter().chain(own);
    object["spec"]["readinessGates"] = gates.collect::<Vec<_>>().into();
    object
}

/// The highest ordinals go, ready or not.
async fn delete_surplus(world: &World, wanted: &[Planned<'_>], there: &[Arc<DynamicObject>]) {
    let names: BTreeSet<_> = wanted.iter().map(|pod| pod.name.as_str()).collect();
    let surplus = there.iter().filter(|pod| !names.contains(pod.name_any().as_str()) && !is_leaving(pod));
    join_all(surplus.map(async |pod| world.delete(&pods(), pod).await)).await;
}

async fn open_gates(world: &World, there: &[Arc<DynamicObject>]) {
    let condition =
        |gate| json!({"type": gate, "status": "True", "lastTransitionTime": super::status::now()});
    let closed = there.iter().filter(|pod| !is_leaving(pod) && !GATES.iter().all(|gate| is_true(pod, gate)));
    let opening = closed.map(|pod| {
        let conditions = GATES.map(condition);
        async move { world.patch_status(&pods(), pod, json!({"conditions": conditions})).await }
    });
    join_all(opening).await;
}

/// A replica is there while one of its pods is; it is ready when all are there and ready.
async fn write_status(
    world: &World,
    set: &DynamicObject,
    pattern: &Pattern,
    there: &[Arc<DynamicObject>],
    selector: String,
) {
    let size: i64 = pattern.components.iter().map(|component| component.size).sum();
    let mut instances: BTreeMap<&str, i64> = BTreeMap::new();
    for pod in there {
        let is_ready = is_true(pod, "Ready") && !is_leaving(pod);
        *instances.entry(label(pod, INSTANCE).unwrap_or_default()).or_default() += i64::from(is_ready);
    }
    let status = json!({
        "observedGeneration": set.metadata.generation,
        "replicas": instances.len(),
        "readyReplicas": instances.values().filter(|ready| **ready == size).count(),
        "updatedReplicas": instances.len(),
        "labelSelector": selector,
    });
    if set.data.get("status") != Some(&status) {
        world.patch_status(&Kind::InstanceSet.resource(), set, status).await;
    }
}
