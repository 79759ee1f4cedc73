//! RoleInstances, which make the pods of one replica.

use std::sync::Arc;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::labels::{
    COMPONENT, COMPONENT_ID, COMPONENT_INDEX, COMPONENT_SIZE, GROUP, GROUP_UID, INSTANCE,
    INSTANCE_INDEX, POD_NAME, REVISION, ROLE, ROLE_TYPE,
};
use super::objects::{Kind, is_leaving, is_true, label, namespace, owned_by, owner};
use super::role::Shape;
use super::status::now;
use super::workloads::add_labels;
use super::world::{World, pods};

/// The readiness gates of every pod.
const GATES: [&str; 2] = ["InPlaceUpdateReady", "InstancePodReady"];
/// The condition of an instance of which all pods are ready.
pub(super) const READY: &str = "RoleInstanceReady";
/// The labels of an instance that its pods inherit.
const INHERITED: [&str; 6] = [GROUP, GROUP_UID, ROLE, INSTANCE_INDEX, POD_NAME, REVISION];

pub(super) async fn pass(world: &World) {
    for instance in world.all(&Kind::Instance.resource()) {
        if !is_leaving(&instance) {
            reconcile(world, &instance).await;
        }
    }
    world.delete_without_owner(&pods(), Kind::Instance).await;
}

async fn reconcile(world: &World, instance: &DynamicObject) {
    let there = world.pods(|pod| owner(pod, Kind::Instance) == instance.uid().as_deref());
    create_missing(world, instance).await;
    update_in_place(world, instance, &there).await;
    write_gates(world, &there).await;
    write_status(world, instance, &there).await;
}

/// A pod of an instance.
struct Planned<'a> {
    name: String,
    component: &'a Value,
    id: i64,
}

fn planned(instance: &DynamicObject) -> Vec<Planned<'_>> {
    let name = instance.name_any();
    let pod =
        |component, id| Planned { name: pod_name(instance, &name, component, id), component, id };
    let pods =
        |component| (0..size(component)).map(move |id| pod(component, id)).collect::<Vec<_>>();
    components(instance).iter().flat_map(pods).collect()
}

fn pod_name(instance: &DynamicObject, name: &str, component: &Value, id: i64) -> String {
    match label(instance, ROLE_TYPE) {
        Some(shape) if shape == Shape::LeaderWorker.name() => {
            format!("{name}-{}", component_index(component, id))
        }
        Some(shape) if shape == Shape::Custom.name() => {
            format!("{name}-{}-{id}", component["name"].as_str().unwrap_or_default())
        }
        _ => name.to_owned(),
    }
}

fn component_index(component: &Value, id: i64) -> i64 {
    if component["name"] == "worker" { id + 1 } else { id }
}

fn components(instance: &DynamicObject) -> &[Value] {
    instance.data["spec"]["components"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn size(component: &Value) -> i64 {
    component["size"].as_i64().unwrap_or(1)
}

/// Returns the size that the labels of a component's pods state: of leaders and workers, that of
/// the whole pattern.
fn stated_size(instance: &DynamicObject, component: &Value) -> i64 {
    if label(instance, ROLE_TYPE) == Some(Shape::LeaderWorker.name()) {
        components(instance).iter().map(size).sum()
    } else {
        size(component)
    }
}

/// Creates the missing pods. A name that a terminating pod still has is left for a later pass.
async fn create_missing(world: &World, instance: &DynamicObject) {
    let ns = namespace(instance);
    let missing =
        planned(instance).into_iter().filter(|pod| world.find(&pods(), &ns, &pod.name).is_none());
    let creating = missing.map(|pod| {
        let object = new_pod(instance, &pod);
        let ns = &ns;
        async move { world.create(&pods(), ns, object).await }
    });
    join_all(creating).await;
}

fn new_pod(instance: &DynamicObject, pod: &Planned<'_>) -> Value {
    let mut object = pod.component["template"].clone();
    let inherited = INHERITED.iter().filter_map(|key| Some((*key, label(instance, key)?)));
    for (key, value) in inherited {
        add_labels(&mut object, &json!({key: value}));
    }
    add_labels(
        &mut object,
        &json!({
            INSTANCE: instance.name_any(),
            COMPONENT: pod.component["name"],
            COMPONENT_ID: pod.id.to_string(),
            COMPONENT_SIZE: stated_size(instance, pod.component).to_string(),
        }),
    );
    if label(instance, ROLE_TYPE) == Some(Shape::LeaderWorker.name()) {
        let index = component_index(pod.component, pod.id);
        add_labels(&mut object, &json!({COMPONENT_INDEX: index.to_string()}));
    }
    object["metadata"]["name"] = json!(pod.name);
    object["metadata"]["ownerReferences"] = owned_by(instance, Kind::Instance, true);
    let own = object["spec"]["readinessGates"].as_array().cloned().unwrap_or_default();
    let gates = GATES.map(|gate| json!({"conditionType": gate})).into_iter().chain(own);
    object["spec"]["readinessGates"] = gates.collect::<Vec<_>>().into();
    object
}

/// Brings pods of an earlier template to the metadata and the images of the instance's. They keep
/// their names, UIDs and nodes.
async fn update_in_place(world: &World, instance: &DynamicObject, there: &[Arc<DynamicObject>]) {
    let revision = label(instance, REVISION);
    let outdated = there.iter().filter(|pod| !is_leaving(pod) && label(pod, REVISION) != revision);
    let updating = outdated.filter_map(|pod| {
        let name = label(pod, COMPONENT)?;
        let component = components(instance).iter().find(|found| found["name"] == name)?;
        let template = &component["template"];
        let mut labels = template["metadata"]["labels"].clone();
        if !labels.is_object() {
            labels = json!({});
        }
        labels[REVISION] = json!(revision);
        let annotations = template["metadata"]["annotations"].clone();
        let image =
            |container: &Value| json!({"name": container["name"], "image": container["image"]});
        let containers = template["spec"]["containers"].as_array();
        let containers: Vec<Value> = containers.into_iter().flatten().map(image).collect();
        let patch = json!({
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {"containers": containers},
        });
        Some(async move { world.patch_strategic(&pods(), pod, patch).await })
    });
    join_all(updating).await;
}

/// Writes the gates. The pods of an instance are ready only while the containers of all of its
/// existing pods are, so a worker that is not ready makes its leader unready as well.
async fn write_gates(world: &World, there: &[Arc<DynamicObject>]) {
    let alive: Vec<_> = there.iter().filter(|pod| !is_leaving(pod)).collect();
    let all_ready = alive.iter().all(|pod| is_true(pod, "ContainersReady"));
    let wanted = [true, all_ready];
    let condition = |(gate, wanted): (&str, bool)| {
        let status = if wanted { "True" } else { "False" };
        json!({"type": gate, "status": status, "lastTransitionTime": now()})
    };
    let is_right = |pod: &DynamicObject| {
        GATES.iter().zip(wanted).all(|(gate, wanted)| is_true(pod, gate) == wanted)
    };
    let writing = alive.into_iter().filter(|pod| !is_right(pod)).map(|pod| {
        let conditions = [0, 1].map(|gate| condition((GATES[gate], wanted[gate])));
        async move { world.patch_status(&pods(), pod, json!({"conditions": conditions})).await }
    });
    join_all(writing).await;
}

/// Writes the status. An instance is ready when all of its pods exist and are ready.
async fn write_status(world: &World, instance: &DynamicObject, there: &[Arc<DynamicObject>]) {
    let ready = |component: &Value| {
        let its = there.iter().filter(|pod| label(pod, COMPONENT) == component["name"].as_str());
        its.filter(|pod| is_true(pod, "Ready") && !is_leaving(pod)).count() as i64
    };
    let counts = components(instance).iter().map(|component| {
        let (size, ready) = (size(component), ready(component));
        (ready == size, json!({"name": component["name"], "size": size, "readyReplicas": ready}))
    });
    let (are_ready, statuses): (Vec<bool>, Vec<Value>) = counts.unzip();
    let is_ready = are_ready.iter().all(|ready| *ready);
    let before = &instance.data["status"];
    if is_true(instance, READY) == is_ready && before["componentStatuses"] == json!(statuses) {
        return;
    }
    let status = if is_ready { "True" } else { "False" };
    let condition = json!({"type": READY, "status": status, "lastTransitionTime": now()});
    let status = json!({
        "observedGeneration": instance.metadata.generation,
        "conditions": [condition],
        "componentStatuses": statuses,
    });
    world.patch_status(&Kind::Instance.resource(), instance, status).await;
}
