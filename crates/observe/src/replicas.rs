//! Pods → replicas: which pods are one unit of scale, and which of them speak for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::workloads::Grouping;
use llm_autoscaler_core::{Phase, Replica, ReplicaCounts};

use crate::pod::{Members, Pod, TroubleKind};

/// The replicas of a target, as its pods are now.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    /// In the order of their first pods' names.
    pub list: Vec<Group>,
    /// The pods that speak for some replica.
    pub speakers: Members,
    /// For each speaker, in their order, the place of its replica in the list.
    pub of_speaker: Vec<usize>,
    alive: usize,
    of: Members,
}

/// One replica: one pod, or several.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its pods; at least one.
    pub pods: Vec<Arc<Pod>>,
    /// How many of them speak for it.
    pub speakers: usize,
    /// How many pods it has when it is complete, where somebody says.
    size: Option<usize>,
}

impl Replicas {
    /// Takes the pods together that are one replica by the first grouping whose label they have.
    pub fn of(members: &Members, groupings: &[Grouping]) -> Self {
        let mut list: Vec<Group> = Vec::new();
        let mut places: HashMap<(usize, &str), usize> = HashMap::new();
        let mut speakers = BTreeMap::new();
        let mut of_speaker = Vec::with_capacity(members.len());
        for (name, pod) in members.iter() {
            let own = groupings.iter().enumerate().find_map(|(index, grouping)| {
                Some((index, grouping, pod.labels.get(&grouping.label)?.as_str()))
            });
            let alone = Group { pods: Vec::new(), speakers: 0, size: None };
            let place = match own {
                None => list.len(),
                Some((index, _, value)) => *places.entry((index, value)).or_insert(list.len()),
            };
            if place == list.len() {
                list.push(alone);
            }
            let group = &mut list[place];
            group.size = group.size.or_else(|| own?.1.size(&pod.annotations));
            group.pods.push(pod.clone());
            if own.is_none_or(|(_, grouping, _)| grouping.reports(&pod.labels)) {
                group.speakers += 1;
                speakers.insert(name.clone(), pod.clone());
                of_speaker.push(place);
            }
        }
        // Where each pod speaks, as nearly everywhere, the two are one.
        let speakers =
            if speakers.len() == members.len() { members.clone() } else { Arc::new(speakers) };
        let alive = list.iter().filter(|group| group.is_alive()).count();
        Self { list, speakers, of_speaker, alive, of: members.clone() }
    }

    /// Takes over the pods as they are now; whether anything has changed.
    pub fn follow(&mut self, members: &Members, groupings: &[Grouping]) -> bool {
        let changed = !Arc::ptr_eq(&self.of, members);
        if changed {
            *self = Self::of(members, groupings);
        }
        changed
    }

    /// Counts the replicas by what they are.
    pub fn counts(&self, now: DateTime<Utc>, startup_timeout: TimeDelta) -> ReplicaCounts {
        let count =
            |is: &dyn Fn(&Group) -> bool| self.list.iter().filter(|group| is(group)).count() as i32;
        ReplicaCounts {
            alive: self.alive as i32,
            ending: count(&Group::is_ending),
            coming: count(&|group| group.is_coming(now, startup_timeout)),
            closed: count(&Group::is_closed),
        }
    }

    /// How many are there that could count: they have not ended, and are not about to.
    pub fn alive(&self) -> usize {
        self.alive
    }
}

impl Group {
    /// Whether it could count: it has not ended, and is not about to.
    pub fn is_alive(&self) -> bool {
        let replica = self.state();
        !replica.deleting && !has_ended(replica)
    }

    /// Returns whether it is being deleted, and has not ended.
    pub fn is_ending(&self) -> bool {
        let replica = self.state();
        replica.deleting && !has_ended(replica)
    }

    /// Returns whether it serves, or will once it has started: its pods have their nodes, and nothing is in their way.
    pub fn is_coming(&self, now: DateTime<Utc>, startup_timeout: TimeDelta) -> bool {
        let comes = |pod: &Arc<Pod>| pod.placed && pod.stuck(now, startup_timeout).is_none();
        self.is_alive() && self.pods.iter().all(comes)
    }

    /// What the decision sees of it, but for whether it is stuck. A group is what the least of its pods is.
    pub fn state(&self) -> Replica {
        if let [pod] = &*self.pods
            && self.size.is_none_or(|size| size <= 1)
        {
            return pod.replica;
        }
        let all = |which: fn(&Replica) -> bool| self.pods.iter().all(|pod| which(&pod.replica));
        let is_complete = self.size.is_none_or(|size| self.pods.len() >= size);
        let is = |phase| self.pods.iter().any(|pod| pod.replica.phase == phase);
        // It serves with all of its pods or not at all, and those that have ended are made again.
        let phase = match () {
            () if all(|pod| pod.phase == Phase::Failed) => Phase::Failed,
            () if all(|pod| pod.phase == Phase::Succeeded) => Phase::Succeeded,
            () if is(Phase::Unknown) => Phase::Unknown,
            () if is_complete && all(|pod| pod.phase == Phase::Running) => Phase::Running,
            () => Phase::Pending,
        };
        Replica {
            phase,
            deleting: self.pods.iter().any(|pod| pod.replica.deleting),
            ready: is_complete && all(|pod| pod.ready && !pod.deleting),
            stuck: false,
        }
    }

    /// Whether it has been taken out of service.
    pub fn is_closed(&self) -> bool {
        self.pods.iter().any(|pod| pod.service.is_closed())
    }

    /// The first of its pods that will not get ready by waiting, and why: then the whole replica will not.
    pub fn stuck(
        &self,
        now: DateTime<Utc>,
        patience: TimeDelta,
    ) -> Option<(&Arc<Pod>, TroubleKind)> {
        self.pods.iter().find_map(|pod| Some((pod, pod.stuck(now, patience)?)))
    }
}

fn has_ended(replica: Replica) -> bool {
    matches!(replica.phase, Phase::Succeeded | Phase::Failed)
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_api::workloads::{self, GroupSize, ReportingPods};

    use super::*;
    use crate::pod::{Trouble, tests::pod};

    const LWS: &str = "leaderworkerset.sigs.k8s.io";

    /// A pod of a group of two: its group, its place in it, its state.
    fn member(group: u32, index: u32, replica: Replica) -> (String, Arc<Pod>) {
        let name = format!("pd-{group}-{index}");
        let mut pod = Pod { replica, ..pod(&name, "pd") };
        pod.labels.insert(format!("{LWS}/group-index"), group.to_string());
        pod.labels.insert(format!("{LWS}/worker-index"), index.to_string());
        pod.annotations.insert(format!("{LWS}/size"), "2".to_owned());
        (name, Arc::new(pod))
    }

    fn replicas(pods: impl IntoIterator<Item = (String, Arc<Pod>)>) -> Replicas {
        Replicas::of(&Arc::new(pods.into_iter().collect()), &workloads::known_groupings())
    }

    #[test]
    fn a_pod_by_itself_is_a_replica() {
        let pods = ["a-0", "a-1"].map(|name| (name.to_owned(), Arc::new(pod(name, "a"))));
        let members: Members = Arc::new(pods.into_iter().collect());
        let replicas = Replicas::of(&members, &workloads::known_groupings());
        assert_eq!(replicas.list.len(), 2);
        assert!(Arc::ptr_eq(&replicas.speakers, &members), "nothing is copied");
        assert_eq!(replicas.of_speaker, [0, 1]);
    }

    #[test]
    fn the_leader_speaks_for_its_group() {
        let all = [(0, 0), (0, 1), (1, 0), (1, 1)];
        let replicas = replicas(all.map(|(group, index)| member(group, index, Replica::READY)));
        assert_eq!(replicas.list.iter().map(|group| group.pods.len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(replicas.speakers.keys().collect::<Vec<_>>(), ["pd-0-0", "pd-1-0"]);
        assert_eq!(replicas.of_speaker, [0, 1]);
        assert_eq!(replicas.alive(), 2);
    }

    #[test]
    fn groups_of_several_sets_are_told_by_their_keys() {
        let of_set = |set: &str, index| {
            let (name, pod) = member(0, index, Replica::READY);
            let mut pod = Pod::clone(&pod);
            pod.labels.insert(format!("{LWS}/group-key"), format!("key of {set}-0"));
            (format!("{set}-{name}"), Arc::new(pod))
        };
        let replicas = replicas([of_set("a", 0), of_set("a", 1), of_set("b", 0), of_set("b", 1)]);
        assert_eq!(replicas.list.iter().map(|group| group.pods.len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(replicas.alive(), 2);
    }

    #[test]
    fn a_group_is_what_the_least_of_its_pods_is() {
        const READY: Replica = Replica::READY;
        const LOADING: Replica = Replica { ready: false, ..READY };
        const DELETING: Replica = Replica { deleting: true, ..READY };
        const FAILED: Replica = Replica { phase: Phase::Failed, ..LOADING };
        let table = [
            (vec![READY, READY], READY),
            (vec![READY, LOADING], LOADING),
            (vec![READY, Replica::PENDING], Replica::PENDING),
            // Its worker is not there yet.
            (vec![READY], Replica::PENDING),
            (vec![READY, DELETING], Replica { ready: false, ..DELETING }),
            (vec![READY, FAILED], Replica::PENDING),
            (vec![FAILED, FAILED], FAILED),
        ];
        for (pods, expected) in table {
            let pods = pods.iter().zip(0..).map(|(replica, index)| member(0, index, *replica));
            assert_eq!(
                replicas(pods.clone()).list[0].state(),
                expected,
                "{:?}",
                pods.collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn who_is_there_and_who_comes() {
        type Change = fn(&mut Pod);
        let one = |change: Change| {
            let mut pod = pod("a-0", "a");
            change(&mut pod);
            let of = replicas([("a-0".to_owned(), Arc::new(pod))]);
            let counts = of.counts(Utc::now(), TimeDelta::minutes(10));
            (counts.existing(0), counts.existing(1), counts.coming)
        };
        let crashes = |pod: &mut Pod| {
            pod.trouble = Some(Trouble { kind: TroubleKind::Crashing, since: Utc::now() });
        };
        let loads = |pod: &mut Pod| {
            pod.trouble = Some(Trouble { kind: TroubleKind::NotReady, since: Utc::now() });
        };
        // what becomes of the pod; how many take up room where none is asked for, and where one is; how many come
        let table: [(Change, (i32, i32, i32)); 6] = [
            (|_| {}, (1, 1, 1)),
            (loads, (1, 1, 1)),
            (crashes, (1, 1, 0)),
            (|pod| pod.placed = false, (1, 1, 0)),
            // Another one is about to take its place.
            (|pod| pod.replica.deleting = true, (1, 2, 0)),
            (|pod| pod.replica.phase = Phase::Failed, (0, 1, 0)),
        ];
        for (row, (change, expected)) in table.into_iter().enumerate() {
            assert_eq!(one(change), expected, "row {row}");
        }
    }

    #[test]
    fn a_spec_says_what_a_replica_is() {
        let grouping = Grouping {
            label: "app".to_owned(),
            reporting: ReportingPods::All,
            size: GroupSize::Fixed(3),
        };
        let pods = ["a-0", "a-1"].map(|name| (name.to_owned(), Arc::new(pod(name, "a"))));
        let replicas = Replicas::of(&Arc::new(pods.into_iter().collect()), &[grouping]);
        assert_eq!((replicas.list.len(), replicas.list[0].speakers), (1, 2));
        assert_eq!(replicas.list[0].state(), Replica::PENDING, "two of three");
    }
}
