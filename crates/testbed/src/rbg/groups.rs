//! RoleBasedGroups, which make a workload for each role, and an adapter for each role that requests
//! one.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::coordination::{self, State};
use super::objects::{
    Kind, is_leaving, is_owned_by, label, namespace, number, owned_by, owner, text,
};
use super::role::{Role, Workload, roles};
use super::status::{self, Counts};
use super::world::World;
use super::{events, group_sets, labels, workloads};

pub(super) async fn pass(world: &World) {
    for group in world.all(&Kind::Group.resource()) {
        // A group that differs from its set's template is about to be rewritten, so it is skipped.
        if !is_leaving(&group) && group_sets::is_as_its_set_says(world, &group) {
            reconcile(world, &group).await;
        }
    }
    remove_orphans(world).await;
}

async fn reconcile(world: &World, group: &DynamicObject) {
    let roles = roles(group);
    let mut desired = BTreeMap::new();
    for role in &roles {
        desired.insert(role.name.clone(), desired_replicas(world, group, role).await);
    }
    write_status(world, group, &roles, &desired).await;
    let targets = match coordinate(world, group, &roles, &desired) {
        Ok(targets) => targets,
        Err(message) => {
            return events::warn(world, group, "FailedCalculateScaling", &message).await;
        }
    };
    for role in &roles {
        let target = targets.get(&role.name).or_else(|| desired.get(&role.name));
        reconcile_role(world, group, role, target.copied().unwrap_or(role.replicas)).await;
    }
}

/// Returns the replicas of a role. A bound adapter overrides the group's spec, which keeps its own
/// number.
async fn desired_replicas(world: &World, group: &DynamicObject, role: &Role) -> i64 {
    let adapter = adapter(world, group, role);
    let bound = adapter.filter(|adapter| text(adapter, "/status/phase") == "Bound");
    let (true, Some(adapter)) = (role.adapter.is_some(), bound) else { return role.replicas };
    let Some(replicas) = number(&adapter, "/spec/replicas") else { return role.replicas };
    if label(group, labels::GROUP_SET).is_some() {
        return role.replicas; // as measured, the set's template overrides the adapter
    }
    let has_settled = number(&adapter, "/status/replicas") == Some(replicas);
    if has_settled && replicas != role.replicas {
        let message = format!(
            "role {}: {} replicas in the spec, {replicas} by its adapter",
            role.name, role.replicas
        );
        events::warn(world, group, "ReplicasOverriddenByAdapter", &message).await;
    }
    replicas
}

/// Returns the adapter of a role if the group made it.
fn adapter(
    world: &World,
    group: &DynamicObject,
    role: &Role,
) -> Option<std::sync::Arc<DynamicObject>> {
    let name = workloads::name(group, &role.name);
    let adapter = world.find(&Kind::Adapter.resource(), &namespace(group), &name)?;
    is_owned_by(&adapter, group.uid().as_deref()).then_some(adapter)
}

fn workload(
    world: &World,
    group: &DynamicObject,
    role: &Role,
) -> Option<std::sync::Arc<DynamicObject>> {
    let name = workloads::name(group, &role.name);
    let workload = world.find(&role.workload.resource(), &namespace(group), &name)?;
    is_owned_by(&workload, group.uid().as_deref()).then_some(workload)
}

async fn write_status(
    world: &World,
    group: &DynamicObject,
    roles: &[Role],
    desired: &BTreeMap<String, i64>,
) {
    let counts: Vec<_> = roles
        .iter()
        .map(|role| {
            let counts = workload(world, group, role).map(|workload| Counts::of(&workload));
            let counts = counts.map(|counts| counts.after(Counts::of_role(group, &role.name)));
            (role.name.clone(), desired.get(&role.name).copied().unwrap_or(0), counts)
        })
        .collect();
    let status = status::of_group(group, &counts);
    if group.data.get("status") != Some(&status) {
        world.patch_status(&Kind::Group.resource(), group, status).await;
    }
}

/// Applies the policy that has the group's name, which may hold back growth.
fn coordinate(
    world: &World,
    group: &DynamicObject,
    roles: &[Role],
    desired: &BTreeMap<String, i64>,
) -> Result<BTreeMap<String, i64>, String> {
    let mut targets = BTreeMap::new();
    let policy = world.find(&Kind::Policy.resource(), &namespace(group), &group.name_any());
    for rule in policy.map_or(Ok(Vec::new()), |policy| coordination::rules(&policy.data))? {
        let its = roles.iter().filter(|role| rule.roles.contains(&role.name));
        let states = its.map(|role| {
            (
                role.name.clone(),
                state(world, group, role, desired.get(&role.name).copied().unwrap_or(0)),
            )
        });
        targets.extend(rule.targets(&states.collect()));
    }
    Ok(targets)
}

fn state(world: &World, group: &DynamicObject, role: &Role, desired: i64) -> State {
    let (ns, name) = (namespace(group), group.name_any());
    let is_scheduled = |pod: &DynamicObject| {
        namespace(pod) == ns
            && label(pod, labels::GROUP) == Some(&name)
            && label(pod, labels::ROLE) == Some(&role.name)
            && pod.data["spec"]["nodeName"].is_string()
    };
    let workload = workload(world, group, role);
    State {
        desired,
        current: workload
            .as_ref()
            .and_then(|workload| number(workload, "/spec/replicas"))
            .unwrap_or(0),
        ready: workload.map_or(0, |workload| Counts::of(&workload).ready),
        scheduled: world.pods(is_scheduled).len() as i64,
    }
}

/// Reconciles the workload first, then the adapter.
async fn reconcile_role(world: &World, group: &DynamicObject, role: &Role, replicas: i64) {
    let resource = role.workload.resource();
    match (workload(world, group, role), &role.pattern) {
        (_, Err(error)) => {
            let message = format!("Failed to reconcile role {}: {error}", role.name);
            return events::warn(world, group, "FailedReconcileWorkload", &message).await;
        }
        (None, Ok(pattern)) => {
            let object = workloads::build(group, role, pattern, replicas);
            world.create(&resource, &namespace(group), object).await;
        }
        (Some(workload), Ok(_)) if number(&workload, "/spec/replicas") != Some(replicas) => {
            world.patch(&resource, &workload, json!({"spec": {"replicas": replicas}})).await;
        }
        (Some(workload), Ok(_)) if has_other_strategy(&workload, role) => {
            // A merge would keep the fields that are gone.
            let strategy = workloads::update_strategy(role);
            world.replace_strategy(&resource, &workload, strategy).await;
        }
        (Some(_), Ok(_)) => {}
    }
    let name = workloads::name(group, &role.name);
    let adapter = world.find(&Kind::Adapter.resource(), &namespace(group), &name);
    if let (None, Some(further)) = (adapter, &role.adapter) {
        let object = new_adapter(group, role, &name, further);
        world.create(&Kind::Adapter.resource(), &namespace(group), object).await;
    }
}

fn has_other_strategy(workload: &DynamicObject, role: &Role) -> bool {
    role.workload == Workload::InstanceSet
        && workload.data["spec"]["updateStrategy"] != workloads::update_strategy(role)
}

/// Builds an adapter without replicas. Its scale cannot be read until it is bound.
fn new_adapter(
    group: &DynamicObject,
    role: &Role,
    name: &str,
    further: &serde_json::Map<String, Value>,
) -> Value {
    let mut all = further.clone();
    all.insert(labels::GROUP.to_owned(), json!(group.name_any()));
    all.insert(labels::ROLE.to_owned(), json!(role.name));
    json!({
        "metadata": {
            "name": name,
            "labels": all,
            "ownerReferences": owned_by(group, Kind::Group, false),
        },
        "spec": {"scaleTargetRef": {"name": group.name_any(), "role": role.name}},
    })
}

/// Deletes workloads without a group or a role, and those of a role that changed its kind.
async fn remove_orphans(world: &World) {
    let groups = world.all(&Kind::Group.resource());
    for kind in Workload::ALL {
        world.delete_without_owner(&kind.resource(), Kind::Group).await;
        for workload in world.all(&kind.resource()) {
            let uid = owner(&workload, Kind::Group);
            let Some(group) = groups.iter().find(|group| group.uid().as_deref() == uid) else {
                continue;
            };
            let role = label(&workload, labels::ROLE).unwrap_or_default();
            let is_wanted =
                roles(group).iter().any(|wanted| wanted.name == role && wanted.workload == kind);
            if !is_wanted && !is_leaving(&workload) {
                world.delete(&kind.resource(), &workload).await;
            }
        }
    }
}
