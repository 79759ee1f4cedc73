//! Scaling adapters, which propagate their replicas to a role.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::json;

use super::labels::COMPONENT_INDEX;
use super::objects::{Kind, is_leaving, namespace, number, owner, text};
use super::role::{Role, Shape, Workload, roles};
use super::status::{Counts, now};
use super::world::World;
use super::{AdapterSelector, workloads};

/// The state that is kept per adapter, by UID.
pub(super) struct Adapters {
    selector: AdapterSelector,
    binding: Duration,
    /// The time at which each adapter was first seen, which starts the wait until it is bound.
    seen: HashMap<String, Instant>,
    /// The generation that has been propagated. The role's number is not compared again
    /// before the adapter changes.
    propagated: HashMap<String, i64>,
    /// The roles that have had an adapter, as (UID of the group, role).
    bound: HashSet<(String, String)>,
}

impl Adapters {
    pub(super) fn new(selector: AdapterSelector, binding: Duration) -> Self {
        let (seen, propagated, bound) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { selector, binding, seen, propagated, bound }
    }

    pub(super) async fn pass(&mut self, world: &World) {
        for adapter in world.all(&Kind::Adapter.resource()) {
            // An adapter that no group made is ignored, whatever its `scaleTargetRef` names.
            if let Some(group) = group_of(world, &adapter).filter(|_| !is_leaving(&adapter)) {
                self.reconcile(world, &adapter, &group).await;
            }
        }
        world.delete_without_owner(&Kind::Adapter.resource(), Kind::Group).await;
    }

    async fn reconcile(&mut self, world: &World, adapter: &DynamicObject, group: &DynamicObject) {
        let name = text(adapter, "/spec/scaleTargetRef/role");
        let role =
            roles(group).into_iter().find(|role| role.name == name && role.adapter.is_some());
        let Some(role) = role else {
            world.delete(&Kind::Adapter.resource(), adapter).await;
            return;
        };
        let uid = adapter.uid().unwrap_or_default();
        if text(adapter, "/status/phase") == "Bound" {
            self.propagate(world, adapter, group, &role, uid).await;
        } else if self.seen.entry(uid).or_insert_with(Instant::now).elapsed() >= self.binding {
            self.bind(world, adapter, group, &role).await;
        }
    }

    async fn bind(
        &mut self,
        world: &World,
        adapter: &DynamicObject,
        group: &DynamicObject,
        role: &Role,
    ) {
        let resource = Kind::Adapter.resource();
        if number(adapter, "/spec/replicas") != Some(role.replicas) {
            world.patch(&resource, adapter, json!({"spec": {"replicas": role.replicas}})).await;
            return; // the phase is written when the patch has been observed
        }
        let selector = self.selector(world, group, role);
        let ready = Counts::of_role(group, &role.name).map(|counts| counts.ready);
        let status = json!({
            "phase": "Bound",
            "replicas": role.replicas,
            "readyReplicas": ready,
            "selector": selector,
        });
        if world.patch_status(&resource, adapter, status).await {
            self.bound.insert((group.uid().unwrap_or_default(), role.name.clone()));
            let generation = adapter.metadata.generation.unwrap_or_default();
            self.propagated.insert(adapter.uid().unwrap_or_default(), generation);
        }
    }

    fn selector(&self, world: &World, group: &DynamicObject, role: &Role) -> String {
        if role.workload != Workload::InstanceSet {
            return String::new();
        }
        let is_first = !self.bound.contains(&(group.uid().unwrap_or_default(), role.name.clone()));
        let name = workloads::name(group, &role.name);
        let set = world.find(&Kind::InstanceSet.resource(), &namespace(group), &name);
        let of_set =
            || set.map(|set| text(&set, "/status/labelSelector").to_owned()).unwrap_or_default();
        let selector = match self.selector {
            AdapterSelector::Empty if is_first => return String::new(),
            AdapterSelector::LeadingComma if is_first => String::new(),
            _ => of_set(),
        };
        let has_leader =
            role.pattern.as_ref().is_ok_and(|pattern| pattern.shape == Shape::LeaderWorker);
        if has_leader { format!("{selector},{COMPONENT_INDEX}=0") } else { selector }
    }

    /// Sets the role's replicas to the adapter's when the adapter changes or the role's number of
    /// ready replicas does. A change of the role alone is not reverted.
    async fn propagate(
        &mut self,
        world: &World,
        adapter: &DynamicObject,
        group: &DynamicObject,
        role: &Role,
        uid: String,
    ) {
        let resource = Kind::Adapter.resource();
        let ready = Counts::of_role(group, &role.name).map(|counts| counts.ready);
        let has_news = ready.is_some() && ready != number(adapter, "/status/readyReplicas");
        if has_news {
            world.patch_status(&resource, adapter, json!({"readyReplicas": ready})).await;
        }
        let generation = adapter.metadata.generation.unwrap_or_default();
        if !has_news && self.propagated.get(&uid) == Some(&generation) {
            return;
        }
        let Some(replicas) = number(adapter, "/spec/replicas") else { return };
        if replicas != role.replicas {
            if !write_role(world, group, &role.name, replicas).await {
                return;
            }
            // The field `replicas` of the status repeats the desired number.
            let status = json!({"replicas": replicas, "lastScaleTime": now()});
            world.patch_status(&resource, adapter, status).await;
        }
        self.propagated.insert(uid, generation);
    }
}

fn group_of(world: &World, adapter: &DynamicObject) -> Option<Arc<DynamicObject>> {
    let uid = owner(adapter, Kind::Group)?;
    let target = text(adapter, "/spec/scaleTargetRef/name");
    let group = world.find(&Kind::Group.resource(), &namespace(adapter), target)?;
    (group.uid().as_deref() == Some(uid) && !is_leaving(&group)).then_some(group)
}

/// Replaces the whole group, as the real controller does.
async fn write_role(world: &World, group: &DynamicObject, name: &str, replicas: i64) -> bool {
    let mut group = group.clone();
    let roles = group.data["spec"]["roles"].as_array_mut();
    for role in roles.into_iter().flatten().filter(|role| role["name"] == name) {
        role["replicas"] = json!(replicas);
    }
    world.replace(&Kind::Group.resource(), &group).await
}
