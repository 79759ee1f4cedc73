//! Start-up times are learned of replicas that were observed from their creation on.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_core::StartupTimes;

use crate::replicas::{ReplicaPods, Replicas};

/// The age up to which a replica counts as observed from its creation on. An older one that is
/// observed for the first time may have been ready before.
const NEW: TimeDelta = TimeDelta::seconds(30);

/// The replicas that are starting.
#[derive(Debug, Default)]
pub struct StartupTracker {
    /// The creation times of starting replicas, by the UIDs of their oldest pods.
    starting: HashMap<String, DateTime<Utc>>,
    /// The hashes of the UIDs of all replicas of the previous observation. Two replicas with one
    /// hash would only mean that a start-up time is not learned.
    known: HashSet<u64>,
    hashes: RandomState,
}

impl StartupTracker {
    /// Observes the replicas, and learns the start-up times of those that have become ready.
    pub fn observe(&mut self, replicas: &Replicas, learned: &mut StartupTimes, now: DateTime<Utc>) {
        let mut known = HashSet::with_capacity(replicas.list.len());
        for group in &replicas.list {
            let Some((uid, created)) = oldest(group) else { continue };
            let ready = group.state().ready;
            if ready && let Some(created) = self.starting.remove(uid) {
                learned.learn(now - created);
            }
            if !ready && !self.known.contains(&self.hashes.hash_one(uid)) && now - created < NEW {
                self.starting.insert(uid.to_owned(), created);
            }
            known.insert(self.hashes.hash_one(uid));
        }
        self.known = known;
        self.starting.retain(|uid, _| self.known.contains(&self.hashes.hash_one(uid)));
    }
}

/// Returns the UID and the creation time of the oldest pod of a replica.
fn oldest(group: &ReplicaPods) -> Option<(&str, DateTime<Utc>)> {
    let pod = group.pods.iter().min_by_key(|pod| pod.created)?;
    Some((&pod.uid, pod.created))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_core::Replica;

    use super::*;
    use crate::pod::{Pod, tests::pod};

    /// Returns a replica of one pod that was created at a second.
    fn replicas(name: &str, made: i64, ready: bool) -> Replicas {
        let created = DateTime::UNIX_EPOCH + TimeDelta::seconds(made);
        let pod = Pod { created, replica: Replica { ready, ..Replica::READY }, ..pod(name, "a") };
        Replicas::of(&Arc::new([(name.to_owned(), Arc::new(pod))].into()), &[])
    }

    #[test]
    fn start_up_times_of_new_replicas_are_learned() {
        let mut tracker = StartupTracker::default();
        let mut learned = StartupTimes::default();
        let mut at = |second: i64, replicas: &Replicas| {
            tracker.observe(
                replicas,
                &mut learned,
                DateTime::UNIX_EPOCH + TimeDelta::seconds(second),
            );
            learned.seconds()
        };
        assert_eq!(at(101, &replicas("a-0", 100, false)), [0; 0]);
        assert_eq!(at(400, &replicas("a-0", 100, true)), [300]);
        // A replica that becomes ready again is not learned again.
        at(500, &replicas("a-0", 100, false));
        assert_eq!(at(600, &replicas("a-0", 100, true)), [300]);
        // This replica may have been ready before it was observed.
        at(700, &replicas("a-1", 600, false));
        assert_eq!(at(710, &replicas("a-1", 600, true)), [300]);
        // This replica is gone before it was ready.
        at(801, &replicas("a-2", 800, false));
        at(802, &replicas("a-3", 800, true));
        assert_eq!(at(900, &replicas("a-2", 800, true)), [300]);
    }
}
