//! Replicas on their way out: since when, whether they have requests left, and which of them a smaller size removes.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::ScaleTargetRef;
use llm_autoscaler_api::workloads::{self, Victims};
use llm_autoscaler_core::{Candidate, Draining, Removal};

use crate::{
    pod::service::Gate,
    replicas::{Group, Replicas},
    requests::Requests,
    workload::{RolloutMemory, Workload},
};

/// The time that it takes until all senders of requests have learned that a pod is not ready any more. Before that, a pod
/// without requests may get one still.
const SETTLES: TimeDelta = TimeDelta::seconds(2);
/// A replica whose removal has been written is expected to be gone within this time.
const GOES_WITHIN: TimeDelta = TimeDelta::minutes(1);

/// The drains of one target between steps. What matters of it is on the pods too (their readiness gates), so a restart goes on
/// with it; without the gate it is only here.
#[derive(Clone, Debug, Default)]
pub struct DrainMemory {
    /// The replicas on their way out, by the UID of their first pods.
    replicas: HashMap<String, DrainingReplica>,
    /// The rollout of the target.
    pub rollouts: RolloutMemory,
    /// The target's object as it was last read, for the order in which replicas are removed.
    pub workload: Option<Workload>,
}

/// A replica on its way out.
#[derive(Clone, Copy, Debug)]
struct DrainingReplica {
    since: DateTime<Utc>,
    /// Since when no request has been sent to it, as far as that is known.
    out_since: Option<DateTime<Utc>>,
    /// When the size without it was written.
    written: Option<DateTime<Utc>>,
}

/// What the operator may do about pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatePermission {
    /// It may set the condition of their readiness gate, as far as is known.
    Granted,
    /// The API server has refused it.
    Denied,
}

impl DrainMemory {
    /// Records the replicas as they are: those whose gate is closed are on their way out, those that are gone are forgotten.
    pub fn observe(&mut self, replicas: &Replicas, permission: GatePermission, now: DateTime<Utc>) {
        let alive: Vec<&Group> = replicas.list.iter().filter(|group| group.is_alive()).collect();
        let keys: Vec<&str> = alive.iter().map(|group| key(group)).collect();
        self.replicas.retain(|key, draining| {
            keys.contains(&key.as_str()) && draining.written.is_none_or(|at| now - at < GOES_WITHIN)
        });
        for group in alive {
            if let Some(since) = closed_since(group) {
                let begun = DrainingReplica::new(since.min(now));
                self.replicas.entry(key(group).to_owned()).or_insert(begun);
            }
            if let Some(draining) = self.replicas.get_mut(key(group)) {
                draining.observe(is_gated(group, permission), group, now);
            }
        }
    }

    /// True while a replica is on its way out.
    pub fn is_under_way(&self, replicas: &Replicas) -> bool {
        !self.replicas.is_empty() || replicas.list.iter().any(Group::is_closed)
    }

    /// True where a drain has gone on for longer than its deadline.
    pub fn is_overdue(&self, deadline: TimeDelta, now: DateTime<Utc>) -> bool {
        self.replicas.values().any(|draining| now - draining.since >= deadline)
    }

    /// The time since the first of these replicas began to drain, in seconds.
    pub fn seconds(&self, groups: &[&Group], now: DateTime<Utc>) -> i64 {
        let since = groups.iter().filter_map(|group| self.replicas.get(key(group)));
        let first = since.map(|draining| draining.since).min();
        first.map_or(0, |first| (now - first).num_seconds())
    }

    /// Records that a replica begins to drain.
    pub fn begin(&mut self, group: &Group, now: DateTime<Utc>) {
        self.replicas.insert(key(group).to_owned(), DrainingReplica::new(now));
    }

    /// Records that a replica stays after all. Returns true where its removal had not been written.
    pub fn cancel(&mut self, group: &Group) -> bool {
        self.replicas.remove(key(group)).is_some_and(|draining| draining.written.is_none())
    }

    /// Records that the size without a replica has been written.
    pub fn record_write(&mut self, key: &str, now: DateTime<Utc>) {
        if let Some(draining) = self.replicas.get_mut(key) {
            draining.written = Some(now);
        }
    }

    /// Forgets all replicas: none is drained.
    pub fn clear(&mut self) {
        self.replicas.clear();
    }

    /// The order in which a smaller size removes replicas; `None` where it is not known.
    pub fn order(&self, target: &ScaleTargetRef) -> Option<Victims> {
        let stated = self.workload.as_ref().and_then(|workload| workload.victims);
        stated.or_else(|| workloads::victims(target))
    }

    /// Which replicas a smaller size removes; `None` where that is not known.
    pub fn removal(&self, target: &ScaleTargetRef) -> Option<Removal> {
        let is_ordered = self.workload.as_ref().is_some_and(|workload| workload.is_ordered);
        self.order(target).map(|order| match order {
            Victims::PodOrdinals | Victims::LabelOrdinals(_) if is_ordered => Removal::OrderedReady,
            Victims::PodOrdinals | Victims::LabelOrdinals(_) => Removal::HighestOrdinals,
            Victims::DeletionCost | Victims::InstanceCost => Removal::Marked,
        })
    }

    /// The replicas that could be removed, each with its place in the list of replicas; `None` where one of them has no ordinal
    /// although the order of removal is by ordinals.
    pub fn candidates(
        &self,
        order: Victims,
        replicas: &Replicas,
        requests: &[Option<Requests>],
        permission: GatePermission,
    ) -> Option<Vec<(usize, Candidate)>> {
        let alive = replicas.list.iter().enumerate().filter(|(_, group)| group.is_alive());
        let alive: Vec<(usize, &Group)> = alive.collect();
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

    /// Records when Services ceased to send requests; a pod without the gate is in its Services to its end.
    fn observe(&mut self, gated: bool, group: &Group, now: DateTime<Utc>) {
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

    /// True where a sample since then has seen it without requests.
    fn is_empty(&self, gated: bool, requests: Option<Requests>) -> bool {
        let (Some(out_since), Some(requests)) = (self.out_since, requests) else { return false };
        let settled = out_since + if gated { SETTLES } else { TimeDelta::zero() };
        requests.count == 0 && requests.at >= settled
    }
}

/// Since when the gate of a replica's pods is closed.
fn closed_since(group: &Group) -> Option<DateTime<Utc>> {
    let closed = group.pods.iter().filter_map(|pod| match pod.service.gate {
        Gate::Closed { since } => Some(since),
        Gate::Absent | Gate::Unset | Gate::Open => None,
    });
    closed.min()
}

fn is_gated(group: &Group, permission: GatePermission) -> bool {
    has_gate(group) && permission == GatePermission::Granted
}

/// True for a replica with a pod that has the project's readiness gate.
pub fn has_gate(group: &Group) -> bool {
    group.pods.iter().any(|pod| pod.service.has_gate())
}

/// The identity of a replica: the UID of its first pod.
pub fn key(group: &Group) -> &str {
    group.pods.first().map_or("", |pod| &pod.uid)
}

/// The name of a replica: that of its first pod.
pub fn name(group: &Group) -> &str {
    group.pods.first().map_or("", |pod| &pod.name)
}

/// The ordinal of a replica; 0 where the order of removal is not by ordinals.
fn ordinal(group: &Group, order: Victims) -> Option<i32> {
    let pod = group.pods.first()?;
    let numbered = match order {
        Victims::DeletionCost | Victims::InstanceCost => return Some(0),
        Victims::PodOrdinals => &pod.name,
        Victims::LabelOrdinals(label) => pod.labels.get(label).unwrap_or(&pod.name),
    };
    numbered.rsplit('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_api::workloads;

    use super::*;
    use crate::pod::{Pod, tests::pod};

    fn group(name: &str, change: impl Fn(&mut Pod)) -> Group {
        let mut pod = pod(name, "a");
        change(&mut pod);
        let members = Arc::new([(name.to_owned(), Arc::new(pod))].into_iter().collect());
        Replicas::of(&members, &workloads::known_groupings()).list.remove(0)
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    #[test]
    fn ordinals_are_read_where_the_kind_has_them() {
        let lws = Victims::LabelOrdinals("leaderworkerset.sigs.k8s.io/group-index");
        let labelled = group("pd-7-1", |pod| {
            pod.labels.insert("leaderworkerset.sigs.k8s.io/group-index".to_owned(), "7".to_owned());
        });
        let table = [
            (group("eng-12", |_| {}), Victims::PodOrdinals, Some(12)),
            (group("eng-x7k2p", |_| {}), Victims::PodOrdinals, None),
            (group("eng-x7k2p", |_| {}), Victims::DeletionCost, Some(0)),
            (labelled, lws, Some(7)),
            (group("pd-3", |_| {}), lws, Some(3)),
        ];
        for (group, order, expected) in table {
            assert_eq!(ordinal(&group, order), expected, "{order:?} {}", name(&group));
        }
    }

    #[test]
    fn empty_is_who_was_seen_to_be_after_requests_have_ceased() {
        let requests = |count, second| Some(Requests { count, at: at(second) });
        let closed = |serves| {
            group("a-0", move |pod| {
                pod.service.gate = Gate::Closed { since: at(0) };
                pod.service.serves = serves;
            })
        };
        let begun = DrainingReplica::new(at(0));

        let mut leaving = begun;
        leaving.observe(true, &closed(true), at(1));
        assert!(!leaving.is_empty(true, requests(0, 10)), "requests are still sent to it");
        leaving.observe(true, &closed(false), at(5));
        leaving.observe(true, &closed(false), at(9));
        assert!(!leaving.is_empty(true, requests(0, 6)), "some may be on their way");
        assert!(!leaving.is_empty(true, requests(1, 8)));
        assert!(!leaving.is_empty(true, None), "no sample is not empty");
        assert!(leaving.is_empty(true, requests(0, 7)));

        let mut ungated = begun;
        ungated.observe(false, &group("a-0", |_| {}), at(5));
        assert!(ungated.is_empty(false, requests(0, 0)), "it never is out of service");
    }
}
