//! RoleBasedGroupSets, which make groups from one template.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::labels::{GROUP_SET, GROUP_SET_INDEX};
use super::objects::{Kind, is_leaving, is_owned_by, is_true, label, namespace, number, owned_by};
use super::workloads::add_labels;
use super::world::World;

pub(super) async fn pass(world: &World) {
    for set in world.all(&Kind::GroupSet.resource()) {
        if !is_leaving(&set) {
            reconcile(world, &set).await;
        }
    }
    world.delete_without_owner(&Kind::Group.resource(), Kind::GroupSet).await;
}

/// Returns true if the group belongs to no set, or if its roles equal those of its set's template.
pub(super) fn is_as_its_set_says(world: &World, group: &DynamicObject) -> bool {
    let Some(name) = label(group, GROUP_SET) else { return true };
    let set = world.find(&Kind::GroupSet.resource(), &namespace(group), name);
    set.is_none_or(|set| is_as_in(&template(&set), group))
}

async fn reconcile(world: &World, set: &DynamicObject) {
    let (ns, name, resource) = (namespace(set), set.name_any(), Kind::Group.resource());
    let replicas = number(set, "/spec/replicas").unwrap_or(1);
    let template = template(set);
    for index in 0..replicas {
        match world.find(&resource, &ns, &format!("{name}-{index}")) {
            None => drop(world.create(&resource, &ns, child(set, index)).await),
            Some(group) if is_as_in(&template, &group) => {}
            // A change of the roles by another writer, such as an adapter, is reverted.
            Some(group) => {
                world.patch(&resource, &group, json!({"spec": {"roles": template}})).await;
            }
        }
    }
    let all = world.all(&resource);
    let children: Vec<_> =
        all.iter().filter(|group| is_owned_by(group, set.uid().as_deref())).collect();
    for group in &children {
        let index = label(group, GROUP_SET_INDEX).and_then(|index| index.parse::<i64>().ok());
        if index.is_none_or(|index| index >= replicas) && !is_leaving(group) {
            world.delete(&resource, group).await;
        }
    }
    let status = json!({
        "observedGeneration": set.metadata.generation,
        "replicas": children.len(),
        "readyReplicas": children.iter().filter(|group| is_true(group, "Ready")).count(),
    });
    if set.data.get("status") != Some(&status) {
        world.patch_status(&Kind::GroupSet.resource(), set, status).await;
    }
}

/// Returns the roles of the template. A role without `replicas` has one replica.
fn template(set: &DynamicObject) -> Value {
    let mut roles = set.data["spec"]["groupTemplate"]["spec"]["roles"].clone();
    for role in roles.as_array_mut().into_iter().flatten() {
        if role.get("replicas").is_none() {
            role["replicas"] = json!(1);
        }
    }
    roles
}

/// Compares the fields that the template sets; fields that the API server adds to the group are
/// ignored.
fn is_as_in(template: &Value, group: &DynamicObject) -> bool {
    contains(&group.data["spec"]["roles"], template)
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}

fn child(set: &DynamicObject, index: i64) -> Value {
    let template = &set.data["spec"]["groupTemplate"];
    let mut group = json!({
        "metadata": {
            "name": format!("{}-{index}", set.name_any()),
            "annotations": template["annotations"],
            "ownerReferences": owned_by(set, Kind::GroupSet, true),
        },
        "spec": template["spec"],
    });
    add_labels(&mut group, &template["labels"]);
    add_labels(&mut group, &json!({GROUP_SET: set.name_any(), GROUP_SET_INDEX: index.to_string()}));
    group
}
