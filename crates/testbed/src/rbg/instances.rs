//! RoleInstanceSets, which make a RoleInstance for each replica.
//!
//! Instances of a stateful role are numbered, and the highest ordinals are deleted first; instances
//! of a stateless role have random names. An instance of an outdated template is updated in place
//! where only metadata and images differ, or else deleted and a new one made; at most as many at a
//! time as may be unavailable.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::instance::READY;
use super::labels::{self, INSTANCE_ID, INSTANCE_INDEX, INSTANCE_OWNER, POD_NAME, REVISION, ROLE};
use super::objects::{Kind, is_leaving, is_true, label, namespace, number, owned_by, owner};
use super::role::{Component, Pattern, Role, roles};
use super::victims::{Sizes, rank, victims};
use super::world::World;

/// The time within which a created instance must show up in the cache.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// The alphabet of random names: no vowels, and no digits that resemble vowels.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Writes that the cache may not show yet.
#[derive(Default)]
pub(super) struct Instances {
    /// The names of created instances, with the UIDs of their sets.
    coming: HashMap<String, (String, Instant)>,
    /// The UIDs of deleted instances.
    going: HashSet<String>,
}

/// A RoleInstanceSet and its state in this pass.
struct Set<'a> {
    object: &'a DynamicObject,
    role: &'a Role,
    pattern: &'a Pattern,
    replicas: i64,
    /// The hash of the role's current templates.
    revision: String,
    there: Vec<Arc<DynamicObject>>,
    /// The number of instances that were created and do not exist in the cache yet.
    coming: i64,
}

impl Instances {
    pub(super) async fn pass(&mut self, world: &World) {
        self.forget(world);
        for set in world.all(&Kind::InstanceSet.resource()) {
            if !is_leaving(&set) {
                self.reconcile(world, &set).await;
            }
        }
        world.delete_without_owner(&Kind::Instance.resource(), Kind::InstanceSet).await;
    }

    fn forget(&mut self, world: &World) {
        let all = world.all(&Kind::Instance.resource());
        let names: BTreeSet<_> = all.iter().map(|instance| instance.name_any()).collect();
        let uids: HashSet<_> = all.iter().filter_map(|instance| instance.uid()).collect();
        self.coming
            .retain(|name, (_, since)| !names.contains(name) && since.elapsed() < SEEN_WITHIN);
        self.going.retain(|uid| uids.contains(uid));
    }

    async fn reconcile(&mut self, world: &World, object: &DynamicObject) {
        let groups = world.all(&Kind::Group.resource());
        let uid = owner(object, Kind::Group);
        let Some(group) = groups.iter().find(|group| group.uid().as_deref() == uid) else { return };
        let Some(role) =
            roles(group).into_iter().find(|role| label(object, ROLE) == Some(&role.name))
        else {
            return;
        };
        let Ok(pattern) = &role.pattern else { return };
        let set = self.set(world, object, &role, pattern);
        self.create(world, &set).await;
        self.delete(world, set.surplus()).await;
        let (in_place, replaced) = set.to_be_updated();
        for instance in in_place {
            let labels = json!({REVISION: set.revision});
            let spec = json!({"components": components(set.pattern)});
            let patch = json!({"metadata": {"labels": labels}, "spec": spec});
            world.patch(&Kind::Instance.resource(), &instance, patch).await;
        }
        self.delete(world, replaced).await;
        write_status(world, &set, labels::selector(group, &role.name)).await;
    }

    fn set<'a>(
        &self,
        world: &World,
        object: &'a DynamicObject,
        role: &'a Role,
        pattern: &'a Pattern,
    ) -> Set<'a> {
        let uid = object.uid();
        let is_there = |instance: &Arc<DynamicObject>| {
            owner(instance, Kind::InstanceSet) == uid.as_deref()
                && !is_leaving(instance)
                && !self.going.contains(&instance.uid().unwrap_or_default())
        };
        let there = world.all(&Kind::Instance.resource()).into_iter().filter(is_there).collect();
        let coming =
            self.coming.values().filter(|(set, _)| Some(set) == uid.as_ref()).count() as i64;
        let replicas = number(object, "/spec/replicas").unwrap_or(1);
        Set { object, role, pattern, replicas, revision: revision(pattern), there, coming }
    }

    async fn create(&mut self, world: &World, set: &Set<'_>) {
        let (ns, resource) = (namespace(set.object), Kind::Instance.resource());
        let missing = set.missing();
        // As in the real controller, all instances of a batch have the label values of the last
        // one.
        let last = missing.len().checked_sub(1).map(|last| missing[last].1.clone());
        let creating = missing.into_iter().map(|(name, id)| {
            let object = set.instance(&name, &id, last.as_deref().unwrap_or_default());
            let (ns, resource) = (&ns, &resource);
            async move { world.create(resource, ns, object).await.then_some(name) }
        });
        let uid = set.object.uid().unwrap_or_default();
        for name in join_all(creating).await.into_iter().flatten() {
            self.coming.insert(name, (uid.clone(), Instant::now()));
        }
    }

    async fn delete(&mut self, world: &World, instances: Vec<Arc<DynamicObject>>) {
        let unseen = |instance: &Arc<DynamicObject>| {
            !self.going.contains(&instance.uid().unwrap_or_default())
        };
        let instances: Vec<_> = instances.into_iter().filter(unseen).collect();
        let resource = &Kind::Instance.resource();
        let deleting = instances.iter().map(async |instance| {
            let is_done = world.delete(resource, instance).await;
            instance.uid().filter(|_| is_done)
        });
        self.going.extend(join_all(deleting).await.into_iter().flatten());
    }
}

impl Set<'_> {
    /// Returns the instances to create, as (name, ordinal or random ID).
    fn missing(&self) -> Vec<(String, String)> {
        let name = self.object.name_any();
        if self.role.is_stateless {
            let count = self.wanted() - self.there.len() as i64 - self.coming;
            return (0..count).map(|_| drawn()).map(|id| (format!("{name}-{id}"), id)).collect();
        }
        let is_there = |name: &str| self.there.iter().find(|instance| instance.name_any() == name);
        let all =
            (0..self.wanted()).map(|ordinal| (format!("{name}-{ordinal}"), ordinal.to_string()));
        if !self.role.is_ordered {
            return all.filter(|(name, _)| is_there(name).is_none()).collect();
        }
        let next = all
            .into_iter()
            .find(|(name, _)| !is_there(name).is_some_and(|instance| is_ready(instance)));
        next.into_iter().filter(|(name, _)| is_there(name).is_none()).collect()
    }

    /// Returns the number of instances: the replicas, and the surge of a rollout.
    fn wanted(&self) -> i64 {
        let rolls = !self.role.rollout.is_paused
            && self
                .outdated()
                .iter()
                .any(|instance| self.role.is_stateless || ordinal(instance) < self.replicas);
        self.replicas + if rolls { self.role.rollout.max_surge(self.replicas) } else { 0 }
    }

    fn instance(&self, name: &str, id: &str, last: &str) -> Value {
        let mut labels = json!(self.object.metadata.labels);
        labels[REVISION] = json!(self.revision);
        if self.role.is_stateless {
            labels[INSTANCE_ID] = json!(id);
            labels[INSTANCE_OWNER] = json!(self.object.uid());
        } else {
            labels[INSTANCE_INDEX] = json!(last);
            labels[POD_NAME] = json!(format!("{}-{last}", self.object.name_any()));
        }
        json!({
            "metadata": {
                "name": name,
                "labels": labels,
                "ownerReferences": owned_by(self.object, Kind::InstanceSet, true),
            },
            "spec": {"components": components(self.pattern)},
        })
    }

    fn is_old(&self, instance: &DynamicObject) -> bool {
        label(instance, REVISION) != Some(&self.revision)
    }

    /// Returns the number of instances that keep an outdated template.
    fn partition(&self) -> i64 {
        self.role.rollout.partition(self.replicas)
    }

    /// Returns the instances that a scale-down deletes: the highest ordinals, ready or not; in a
    /// stateless role, the cheapest.
    fn surplus(&self) -> Vec<Arc<DynamicObject>> {
        if !self.role.is_stateless {
            let wanted = self.wanted();
            let is_surplus = |instance: &&Arc<DynamicObject>| ordinal(instance) >= wanted;
            let surplus = self.there.iter().filter(is_surplus).cloned().collect();
            return if self.role.is_ordered { self.in_turn(surplus) } else { surplus };
        }
        let surplus = self.there.len().saturating_sub(usize::try_from(self.wanted()).unwrap_or(0));
        let (old, updated) = self.there.iter().cloned().partition(|instance| self.is_old(instance));
        let partition = usize::try_from(self.partition()).unwrap_or(0);
        victims(old, updated, Sizes { surplus, partition }, |instance| rank(instance))
    }

    /// Returns the part of the surplus that an ordered role deletes now: from the highest ordinal
    /// down to the first instance that is not ready. Of the unready ones only the lowest may be
    /// deleted, and nothing is while an instance that stays is not ready.
    fn in_turn(&self, mut surplus: Vec<Arc<DynamicObject>>) -> Vec<Arc<DynamicObject>> {
        let unready = self.there.iter().filter(|instance| !is_ready(instance));
        let first = unready.map(|instance| ordinal(instance)).min();
        if first.is_some_and(|first| first < self.replicas) {
            return Vec::new();
        }
        surplus.sort_by_key(|instance| std::cmp::Reverse(ordinal(instance)));
        let goes =
            |instance: &Arc<DynamicObject>| is_ready(instance) || Some(ordinal(instance)) == first;
        surplus.into_iter().take_while(goes).collect()
    }

    /// Returns the outdated instances to update now: those to update in place, and those to delete,
    /// which are made anew.
    ///
    /// Every unready instance counts against the limit. So an instance of a stateful role that was
    /// not ready before the rollout blocks it. A stateless role updates such an instance first, and
    /// it does not count.
    fn to_be_updated(&self) -> (Vec<Arc<DynamicObject>>, Vec<Arc<DynamicObject>>) {
        if self.role.rollout.is_paused || self.there.len() as i64 > self.wanted() {
            return Default::default(); // the scale-down comes first
        }
        let ready = self.there.iter().filter(|instance| is_ready(instance)).count() as i64;
        let mut free = ready - self.replicas + self.role.rollout.max_unavailable(self.replicas);
        let mut chosen = Vec::new();
        for instance in self.outdated() {
            if !self.role.is_stateless || is_ready(&instance) {
                free -= 1;
            }
            if free < 0 {
                break;
            }
            chosen.push(instance);
        }
        chosen.into_iter().partition(|instance| self.can_be_updated_in_place(instance))
    }

    /// Returns whether an outdated instance differs from the template in metadata and images only.
    fn can_be_updated_in_place(&self, instance: &DynamicObject) -> bool {
        let rest = |components: &Value| {
            let mut components = components.clone();
            for component in components.as_array_mut().into_iter().flatten() {
                component["template"]["metadata"] = Value::Null;
                let containers = component["template"]["spec"]["containers"].as_array_mut();
                for container in containers.into_iter().flatten() {
                    container["image"] = Value::Null;
                }
            }
            components
        };
        let current = json!(components(self.pattern));
        !self.role.rollout.recreates && rest(&instance.data["spec"]["components"]) == rest(&current)
    }

    /// Returns the outdated instances that the partition does not keep, in the order of their
    /// replacement.
    fn outdated(&self) -> Vec<Arc<DynamicObject>> {
        let partition = self.partition();
        let mut old: Vec<_> =
            self.there.iter().filter(|instance| self.is_old(instance)).cloned().collect();
        if self.role.is_stateless {
            old.sort_by_key(|instance| rank(instance));
            old.truncate(old.len().saturating_sub(usize::try_from(partition).unwrap_or(0)));
        } else {
            old.retain(|instance| ordinal(instance) >= partition);
            old.sort_by_key(|instance| std::cmp::Reverse(ordinal(instance)));
        }
        old
    }
}

fn is_ready(instance: &DynamicObject) -> bool {
    is_true(instance, READY)
}

/// Returns the number at the end of an instance's name.
fn ordinal(instance: &DynamicObject) -> i64 {
    instance.name_any().rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Returns five random characters.
fn drawn() -> String {
    (0..5).map(|_| char::from(ALPHABET[fastrand::usize(..ALPHABET.len())])).collect()
}

fn components(pattern: &Pattern) -> Vec<Value> {
    pattern.components.iter().map(component).collect()
}

fn component(part: &Component) -> Value {
    json!({"name": part.name, "size": part.size, "template": part.template})
}

/// Returns a hash of a role's templates, which changes when a template does.
fn revision(pattern: &Pattern) -> String {
    let text = json!(components(pattern)).to_string();
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let start = hash.as_ref().first_chunk().map_or(0, |start| u32::from_be_bytes(*start));
    format!("{start:08x}")
}

async fn write_status(world: &World, set: &Set<'_>, selector: String) {
    let count = |is_so: &dyn Fn(&DynamicObject) -> bool| {
        set.there.iter().filter(|instance| is_so(instance)).count()
    };
    // Of an ordered role the wanted number counts, though some instances do not exist yet.
    let wanted = if set.role.is_ordered { set.replicas } else { 0 };
    let status = json!({
        "observedGeneration": set.object.metadata.generation,
        "replicas": wanted.max(set.there.len() as i64),
        "readyReplicas": count(&is_ready),
        "updatedReplicas": count(&|instance| !set.is_old(instance)),
        "labelSelector": selector,
    });
    if set.object.data.get("status") != Some(&status) {
        world.patch_status(&Kind::InstanceSet.resource(), set.object, status).await;
    }
}
