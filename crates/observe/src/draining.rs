//! Draining replicas: their requests, and the order in which a smaller size removes replicas.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::ScaleTargetRef;
use llm_autoscaler_api::workloads::{self, Victims};
use llm_autoscaler_core::{Candidate, Draining, Removal};

use crate::{
    pod::service::Gate,
    replicas::{ReplicaPods, Replicas},
    requests::Requests,
    workload::{RolloutMemory, Workload},
};

/// The time until all senders of requests have learned that a pod is not ready any more. Before it
/// has passed, a pod without requests may still get one.
const SETTLE_TIME: TimeDelta = TimeDelta::seconds(2);
/// The time within which a replica is expected to be gone after its removal has been written. If it
/// still exists then, its removal counts as not written.
const REMOVAL_TIMEOUT: TimeDelta = TimeDelta::minutes(1);

/// The memory of the drains of one target from step to step.
///
/// A restart resumes drains from the readiness gates of pods. Drains of pods without the gate are
/// only remembered here.
#[derive(Clone, Debug, Default)]
pub struct DrainMemory {
    /// The draining replicas, by the UIDs of their first pods.
    replicas: HashMap<String, DrainingReplica>,
    /// The replicas that were cancelled, by the same UIDs, until their gates are seen open.
    returning: HashSet<String>,
    /// The rollout of the target.
    pub rollouts: RolloutMemory,
    /// The target's object as it was last read.
    pub workload: Option<Box<Workload>>,
}

/// A draining replica.
#[derive(Clone, Copy, Debug)]
struct DrainingReplica {
    since: DateTime<Utc>,
    /// The time since which Services send no requests to it; `None` while they do.
    out_since: Option<DateTime<Utc>>,
    /// The time at which the size without it was written.
    written: Option<DateTime<Utc>>,
}

/// The operator's permission to patch the readiness gates of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatePermission {
    /// No patch has been refused.
    Granted,
    /// The API server has refused a patch.
    Denied,
}

impl DrainMemory {
    /// Records the state of the replicas. A replica with a closed gate drains, unless it has just
    /// been cancelled, and one that is gone is forgotten.
    pub fn observe(&mut self, replicas: &Replicas, permission: GatePermission, now: DateTime<Utc>) {
        let alive: Vec<&ReplicaPods> =
            replicas.list.iter().filter(|group| group.is_alive()).collect();
        let keys: Vec<&str> = alive.iter().map(|group| key(group)).collect();
        self.replicas.retain(|key, draining| {
            keys.contains(&key.as_str())
                && draining.written.is_none_or(|at| now - at < REMOVAL_TIMEOUT)
        });
        self.returning.retain(|returning| {
            let is_it = |group: &&&ReplicaPods| key(group) == returning;
            alive.iter().find(is_it).is_some_and(|group| closed_since(group).is_some())
        });
        for group in alive {
            let since = closed_since(group).filter(|_| !self.returning.contains(key(group)));
            if let Some(since) = since {
                let begun = DrainingReplica::new(since.min(now));
                self.replicas.entry(key(group).to_owned()).or_insert(begun);
            }
            if let Some(draining) = self.replicas.get_mut(key(group)) {
                draining.observe(is_gated(group, permission), group, now);
            }
        }
    }

    /// Returns true if a drain has taken longer than its deadline.
    pub fn is_overdue(&self, deadline: TimeDelta, now: DateTime<Utc>) -> bool {
        self.replicas.values().any(|draining| now - draining.since >= deadline)
    }

    /// Returns the seconds since the first of these replicas began to drain.
    pub fn seconds(&self, groups: &[&ReplicaPods], now: DateTime<Utc>) -> i64 {
        let since = groups.iter().filter_map(|group| self.replicas.get(key(group)));
        let first = since.map(|draining| draining.since).min();
        first.map_or(0, |first| (now - first).num_seconds())
    }

    /// Records that a replica begins to drain.
    pub fn begin(&mut self, group: &ReplicaPods, now: DateTime<Utc>) {
        self.returning.remove(key(group));
        self.replicas.insert(key(group).to_owned(), DrainingReplica::new(now));
    }

    /// Records that a replica is not to be removed any more. Returns true if it was draining and
    /// its removal had not been written. Its gate may be seen closed for some more steps, which is
    /// no further drain.
    pub fn cancel(&mut self, group: &ReplicaPods) -> bool {
        self.returning.insert(key(group).to_owned());
        self.replicas.remove(key(group)).is_some_and(|draining| draining.written.is_none())
    }

    /// Records that the size without a replica has been written. `key` is its [`key`].
    pub fn record_write(&mut self, key: &str, now: DateTime<Utc>) {
        if let Some(draining) = self.replicas.get_mut(key) {
            draining.written = Some(now);
        }
    }

    /// Forgets all draining replicas.
    pub fn clear(&mut self) {
        self.replicas.clear();
    }

    /// Returns the order in which a smaller size removes replicas; `None` if it is unknown. The
    /// target's object takes precedence over its kind.
    pub fn order(&self, target: &ScaleTargetRef) -> Option<Victims> {
        let stated = self.workload.as_ref().and_then(|workload| workload.victims);
        stated.or_else(|| workloads::victims(target))
    }

    /// Returns the same order in the core's terms.
    pub fn removal(&self, target: &ScaleTargetRef) -> Option<Removal> {
        let is_ordered = self.workload.as_ref().is_some_and(|workload| workload.is_ordered);
        self.order(target).map(|order| match order {
            Victims::PodOrdinals | Victims::LabelOrdinals(_) if is_ordered => Removal::OrderedReady,
            Victims::PodOrdinals | Victims::LabelOrdinals(_) => Removal::HighestOrdinals,
            Victims::DeletionCost | Victims::InstanceCost => Removal::Marked,
        })
    }

    /// Returns the replicas that could be removed, each with its place in the list of replicas. If
    /// the order of removal is by ordinals and a replica has none, returns `None`.
    pub fn candidates(
        &self,
        order: Victims,
        replicas: &Replicas,
        requests: &[Option<Requests>],
        permission: GatePermission,
    ) -> Option<Vec<(usize, Candidate)>> {
        let alive = replicas.list.iter().enumerate().filter(|(_, group)| group.is_alive());
        let alive: Vec<(usize, &ReplicaPods)> = alive.collect();
        let ordinals = alive.iter().map(|(_, group)| ordinal(group, order));
        let ordinals: Vec<i32> = ordinals.collect::<Option<_>>()?;
        let first = self.first_ordinal(order, &ordinals);
        let candidates = alive.into_iter().zip(ordinals).map(|((place, group), ordinal)| {
            let requests = requests.get(place).copied().flatten();
            let draining = self.replicas.get(key(group)).map(|draining| Draining {
                since: draining.since,
                is_empty: draining.is_empty(is_gated(group, permission), requests),
                is_written: draining.written.is_some(),
            });
            let candidate = Candidate {
                ordinal: ordinal - first,
                requests: requests.map(|requests| requests.count),
                ready: group.state().ready,
                draining,
            };
            (place, candidate)
        });
        Some(candidates.collect())
    }

    /// Returns the ordinal that counts as 0. The pods of a StatefulSet start at
    /// `spec.ordinals.start`; if that is unknown, the lowest pod's ordinal is used.
    fn first_ordinal(&self, order: Victims, ordinals: &[i32]) -> i32 {
        let stated = self.workload.as_ref().and_then(|workload| workload.first_ordinal);
        match order {
            Victims::PodOrdinals => stated.or(ordinals.iter().min().copied()).unwrap_or(0),
            Victims::LabelOrdinals(_) | Victims::DeletionCost | Victims::InstanceCost => 0,
        }
    }
}

impl DrainingReplica {
    fn new(since: DateTime<Utc>) -> Self {
        Self { since, out_since: None, written: None }
    }

    /// Records the time at which Services ceased to send requests. Without the gate they never
    /// cease, so the time at which the drain began counts.
    fn observe(&mut self, gated: bool, group: &ReplicaPods, now: DateTime<Utc>) {
        if !gated {
            self.out_since.get_or_insert(self.since);
            return;
        }
        let serves = group.pods.iter().any(|pod| pod.service.has_gate() && pod.service.serves);
        if serves || !group.is_closed() {
            self.out_since = None;
        } else {
            self.out_since.get_or_insert(now);
        }
    }

    /// Returns true if it had no requests in a sample since then.
    fn is_empty(&self, gated: bool, requests: Option<Requests>) -> bool {
        let (Some(out_since), Some(requests)) = (self.out_since, requests) else { return false };
        let settled = out_since + if gated { SETTLE_TIME } else { TimeDelta::zero() };
        requests.count == 0 && requests.at >= settled
    }
}

/// Returns the time at which the first gate of a replica's pods was closed.
fn closed_since(group: &ReplicaPods) -> Option<DateTime<Utc>> {
    let closed = group.pods.iter().filter_map(|pod| match pod.service.gate {
        Gate::Closed { since } => Some(since),
        Gate::Absent | Gate::Unset | Gate::Open => None,
    });
    closed.min()
}

fn is_gated(group: &ReplicaPods, permission: GatePermission) -> bool {
    has_gate(group) && permission == GatePermission::Granted
}

/// Returns true if a pod of a replica has the project's readiness gate.
pub fn has_gate(group: &ReplicaPods) -> bool {
    group.pods.iter().any(|pod| pod.service.has_gate())
}

/// Returns the identity of a replica, which is the UID of its first pod.
pub fn key(group: &ReplicaPods) -> &str {
    group.pods.first().map_or("", |pod| &pod.uid)
}

/// Returns the name of a replica, which is that of its first pod.
pub fn name(group: &ReplicaPods) -> &str {
    group.pods.first().map_or("", |pod| &pod.name)
}

/// Returns the ordinal of a replica; 0 if the order of removal is not by ordinals.
fn ordinal(group: &ReplicaPods, order: Victims) -> Option<i32> {
    let pod = group.pods.first()?;
    let numbered = match order {
        Victims::DeletionCost | Victims::InstanceCost => return Some(0),
        Victims::PodOrdinals => &pod.name,
        Victims::LabelOrdinals(label) => pod.labels.get(label).unwrap_or(&pod.name),
    };
    numbered.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
