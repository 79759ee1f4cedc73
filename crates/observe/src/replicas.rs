//! From pods to replicas.
//!
//! A replica is one unit of scale: a pod, or all pods of a group. Some of its pods report for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::workloads::Grouping;
use llm_autoscaler_core::{EngineActivity, Phase, Replica, ReplicaCounts};

use crate::pod::{Members, Pod, TroubleKind};

/// The replicas of a target.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    /// The replicas, in the order of the names of their first pods.
    pub list: Vec<ReplicaPods>,
    /// The pods that expose metrics for a replica, by name.
    pub reporting_pods: Members,
    /// For each reporting pod, in their order, the place of its replica in the list.
    pub replica_of_reporting_pod: Vec<usize>,
    alive: usize,
    members: Members,
}

/// The pods of one replica.
#[derive(Clone, Debug)]
pub struct ReplicaPods {
    /// The pods, sorted by name; at least one.
    pub pods: Vec<Arc<Pod>>,
    /// The number of pods that expose metrics for the replica.
    pub reporting_pods: usize,
    /// The number of pods of a complete replica, if it is known.
    size: Option<usize>,
    /// The label of its group and the value of that; `None` for a pod by itself.
    group: Option<String>,
}

impl Replicas {
    /// Groups pods into replicas. The first grouping with a label that a pod has applies; a pod
    /// with none of the labels is a replica by itself.
    pub fn of(members: &Members, groupings: &[Grouping]) -> Self {
        let mut list: Vec<ReplicaPods> = Vec::new();
        let mut grouped_by: Vec<Option<usize>> = Vec::new();
        let mut places: HashMap<(usize, &str), usize> = HashMap::new();
        let mut reporting_pods = BTreeMap::new();
        let mut replica_of_reporting_pod = Vec::with_capacity(members.len());
        for (name, pod) in members.iter() {
            let own = groupings.iter().enumerate().find_map(|(index, grouping)| {
                Some((index, grouping, pod.labels.get(&grouping.label)?.as_str()))
            });
            let group = own.map(|(_, grouping, value)| format!("{}={value}", grouping.label));
            let alone =
                ReplicaPods { pods: Vec::with_capacity(1), reporting_pods: 0, size: None, group };
            let place = match own {
                None => list.len(),
                Some((index, _, value)) => *places.entry((index, value)).or_insert(list.len()),
            };
            if place == list.len() {
                list.push(alone);
                grouped_by.push(own.map(|(index, ..)| index));
            }
            let group = &mut list[place];
            group.pods.push(pod.clone());
            if own.is_none_or(|(_, grouping, _)| grouping.reports(&pod.labels)) {
                group.reporting_pods += 1;
                reporting_pods.insert(name.clone(), pod.clone());
                replica_of_reporting_pod.push(place);
            }
        }
        state_sizes(&mut list, &grouped_by, groupings);
        leave_out_ended(&mut list, &mut reporting_pods, &mut replica_of_reporting_pod);
        list.shrink_to_fit();
        // Usually every pod reports; then nothing is copied.
        let reporting_pods = if reporting_pods.len() == members.len() {
            members.clone()
        } else {
            Arc::new(reporting_pods)
        };
        let alive = list.iter().filter(|group| group.is_alive()).count();
        Self { list, reporting_pods, replica_of_reporting_pod, alive, members: members.clone() }
    }

    /// Groups the pods again if they have changed. Returns true if they have.
    pub fn update(&mut self, members: &Members, groupings: &[Grouping]) -> bool {
        let changed = !Arc::ptr_eq(&self.members, members);
        if changed {
            *self = Self::of(members, groupings);
        }
        changed
    }

    /// Counts the replicas by their state. `observed` holds the observation of each, in the order
    /// of the list.
    pub fn counts(&self, observed: &[Replica]) -> ReplicaCounts {
        let comes = |(group, replica): &(&ReplicaPods, &Replica)| {
            group.is_alive() && group.is_scheduled() && !replica.stuck
        };
        ReplicaCounts {
            alive: self.alive as i32,
            ending: self.count(ReplicaPods::is_ending),
            coming: self.list.iter().zip(observed).filter(comes).count() as i32,
            closed: self.count(ReplicaPods::is_closed),
        }
    }

    fn count(&self, is_counted: impl Fn(&ReplicaPods) -> bool) -> i32 {
        self.list.iter().filter(|group| is_counted(group)).count() as i32
    }

    /// Returns the states of the replicas where no sample is there yet.
    pub fn states_without_samples(
        &self,
        now: DateTime<Utc>,
        startup_timeout: TimeDelta,
    ) -> Vec<Replica> {
        let state = |group: &ReplicaPods| {
            let stuck = group.stuck(now, startup_timeout).is_some();
            Replica { stuck, ..group.state() }
        };
        self.list.iter().map(state).collect()
    }

    /// Returns the number of replicas that have not ended and are not being deleted.
    pub fn alive(&self) -> usize {
        self.alive
    }
}

/// Takes pods that have ended out of groups that have others: they report nothing any more.
fn leave_out_ended(
    list: &mut [ReplicaPods],
    reporting: &mut BTreeMap<String, Arc<Pod>>,
    places: &mut Vec<usize>,
) {
    let has_ended = |pod: &Pod| pod.replica.has_ended();
    if !reporting.values().any(|pod| has_ended(pod)) {
        return;
    }
    let lives: Vec<bool> =
        list.iter().map(|group| group.pods.iter().any(|pod| !has_ended(pod))).collect();
    let stays = |pod: &Pod, place: usize| !(has_ended(pod) && lives[place]);
    let kept: Vec<bool> =
        reporting.values().zip(&*places).map(|(pod, place)| stays(pod, *place)).collect();
    for (place, _) in places.iter().zip(&kept).filter(|(_, kept)| !**kept) {
        list[*place].reporting_pods -= 1;
    }
    let mut keeps = kept.iter();
    reporting.retain(|_, _| *keeps.next().unwrap_or(&true));
    let mut keeps = kept.iter();
    places.retain(|_| *keeps.next().unwrap_or(&true));
}

/// Sets the sizes of groups. `grouped_by` has the place of each group's grouping.
fn state_sizes(list: &mut [ReplicaPods], grouped_by: &[Option<usize>], groupings: &[Grouping]) {
    for (index, grouping) in groupings.iter().enumerate() {
        let is_its = |place: usize| grouped_by[place] == Some(index);
        let sizes: Vec<(usize, Option<usize>)> = {
            let its = || list.iter().enumerate().filter(|(place, _)| is_its(*place));
            let all = its().flat_map(|(_, group)| &group.pods);
            let components = grouping.components(all.map(|pod| &*pod.labels));
            let size = |group: &ReplicaPods| {
                let pods = group.pods.iter().map(|pod| (&*pod.labels, &pod.annotations));
                grouping.size(pods, &components)
            };
            its().map(|(place, group)| (place, size(group))).collect()
        };
        for (place, size) in sizes {
            list[place].size = size;
        }
    }
}

impl ReplicaPods {
    /// Returns what tells the replica from all others that exist at the same time: the label of its
    /// group, or the UID of its only pod.
    pub fn key(&self) -> &str {
        let uid = || self.pods.first().map_or("", |pod| &pod.uid);
        self.group.as_deref().unwrap_or_else(uid)
    }

    /// Returns the number of pods of a complete replica, if it is known.
    pub fn size(&self) -> Option<usize> {
        self.size
    }

    /// Returns the pods that count: those that have not ended, or all if all have. A pod that has
    /// ended is replaced by another one, and may be left over for long.
    fn living(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let has_living = self.pods.iter().any(|pod| !pod.replica.has_ended());
        self.pods.iter().filter(move |pod| !has_living || !pod.replica.has_ended())
    }

    /// Returns true if the replica has as many pods as a complete one, or it is not known how many
    /// that are.
    pub fn is_complete(&self) -> bool {
        self.size.is_none_or(|size| self.living().count() >= size)
    }

    /// Returns true if the replica has not ended and is not being deleted.
    pub fn is_alive(&self) -> bool {
        let replica = self.state();
        !replica.deleting && !replica.has_ended()
    }

    /// Returns true if the replica is being deleted and has not ended.
    pub fn is_ending(&self) -> bool {
        let replica = self.state();
        replica.deleting && !replica.has_ended()
    }

    /// Returns true if all pods of the replica have a node.
    pub fn is_scheduled(&self) -> bool {
        self.living().all(|pod| pod.is_scheduled)
    }

    /// Returns true if the replica is complete and all of its pods are or have been ready. A leader
    /// is there before its workers are created, so it alone tells nothing.
    pub fn was_ready(&self) -> bool {
        self.is_complete() && self.living().all(|pod| pod.was_ready)
    }

    /// Returns the state of the replica for a decision. A group is as ready as its least ready pod.
    /// `stuck` is always false here; see [`Self::stuck`].
    pub fn state(&self) -> Replica {
        if let [pod] = &*self.pods
            && self.size.is_none_or(|size| size <= 1)
        {
            return pod.replica;
        }
        let all = |which: fn(&Replica) -> bool| self.living().all(|pod| which(&pod.replica));
        let is_complete = self.is_complete();
        Replica {
            phase: self.phase(is_complete),
            deleting: self.living().any(|pod| pod.replica.deleting),
            ready: is_complete && all(|pod| pod.ready && !pod.deleting),
            stuck: false,
            activity: EngineActivity::Unknown,
        }
    }

    /// Returns the phase of a group. It serves with all of its pods or not at all. Pods that have
    /// ended are created again, so they count only where all have.
    fn phase(&self, is_complete: bool) -> Phase {
        let all = |phase| self.living().all(|pod| pod.replica.phase == phase);
        if all(Phase::Succeeded) {
            Phase::Succeeded
        } else if self.living().all(|pod| pod.replica.has_ended()) {
            Phase::Failed
        } else if self.living().any(|pod| pod.replica.phase == Phase::Unknown) {
            Phase::Unknown
        } else if is_complete && all(Phase::Running) {
            Phase::Running
        } else {
            Phase::Pending
        }
    }

    /// Returns true if the replica has been taken out of service.
    pub fn is_closed(&self) -> bool {
        self.living().any(|pod| pod.service.is_closed())
    }

    /// Returns the first pod that will not become ready by waiting, and its trouble. The whole
    /// replica is stuck then.
    pub fn stuck(
        &self,
        now: DateTime<Utc>,
        startup_timeout: TimeDelta,
    ) -> Option<(&Arc<Pod>, TroubleKind)> {
        self.living().find_map(|pod| Some((pod, pod.stuck(now, startup_timeout)?)))
    }
}

#[cfg(test)]
mod tests;
