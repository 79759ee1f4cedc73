//! Which replicas have been seen from their beginning, so that their start-up time is known when they are ready.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_core::StartupTimes;

use crate::replicas::{Group, Replicas};

/// One that is seen for the first time when it is older may have been ready before.
const YOUNG: TimeDelta = TimeDelta::seconds(30);

/// Replicas that are starting.
#[derive(Debug, Default)]
pub struct StartupTracker {
    /// Since when; by the UID of the first of their pods.
    starting: HashMap<String, DateTime<Utc>>,
    known: HashSet<String>,
}

impl StartupTracker {
    /// Looks at the replicas as they are now, and learns from those that have become ready.
    pub fn observe(&mut self, replicas: &Replicas, learned: &mut StartupTimes, now: DateTime<Utc>) {
        let mut known = HashSet::with_capacity(replicas.list.len());
        for group in &replicas.list {
            let Some((uid, born)) = born(group) else { continue };
            let ready = group.state().ready;
            if ready && let Some(born) = self.starting.remove(uid) {
                learned.learn(now - born);
            }
            if !ready && !self.known.contains(uid) && now - born < YOUNG {
                self.starting.insert(uid.to_owned(), born);
            }
            known.insert(uid.to_owned());
        }
        self.known = known;
        self.starting.retain(|uid, _| self.known.contains(uid));
    }
}

/// The first pod of a replica, and when it was made.
fn born(group: &Group) -> Option<(&str, DateTime<Utc>)> {
    let first = group.pods.iter().min_by_key(|pod| pod.created)?;
    Some((&first.uid, first.created))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_core::Replica;

    use super::*;
    use crate::pod::{Pod, tests::pod};

    /// A replica of one pod, made at a second.
    fn replicas(name: &str, made: i64, ready: bool) -> Replicas {
        let created = DateTime::UNIX_EPOCH + TimeDelta::seconds(made);
        let pod = Pod { created, replica: Replica { ready, ..Replica::READY }, ..pod(name, "a") };
        Replicas::of(&Arc::new([(name.to_owned(), Arc::new(pod))].into()), &[])
    }

    #[test]
    fn who_was_seen_from_the_beginning_is_learned_from() {
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
        // Not again when it is ready again.
        at(500, &replicas("a-0", 100, false));
        assert_eq!(at(600, &replicas("a-0", 100, true)), [300]);
        // This one may have been ready before anybody looked.
        at(700, &replicas("a-1", 600, false));
        assert_eq!(at(710, &replicas("a-1", 600, true)), [300]);
        // This one is gone before it was ready.
        at(801, &replicas("a-2", 800, false));
        at(802, &replicas("a-3", 800, true));
        assert_eq!(at(900, &replicas("a-2", 800, true)), [300]);
    }
}
