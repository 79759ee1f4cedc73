//! Requested replicas that are not created, and replicas too many that are not removed, although
//! nothing explains it: their controller is kept from it, or holds them back.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_core::Scale;

use crate::replicas::{ReplicaPods, Replicas};

/// The time without a change after which a difference is told.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(1);

/// The difference between the requested replicas and those that exist, from step to step.
#[derive(Clone, Debug, Default)]
pub struct Settling {
    latest: Option<Latest>,
}

#[derive(Clone, Debug)]
struct Latest {
    unsettled: Unsettled,
    /// The number of pods.
    pods: usize,
    /// The time since which nothing has changed.
    since: DateTime<Utc>,
}

/// A difference between the requested replicas and those that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// Fewer complete replicas exist than are requested, and none of them is starting.
    NotCreated {
        /// The number of requested replicas.
        requested: i32,
        /// The number of complete replicas.
        complete: i32,
        /// A replica that lacks pods: the name of its first pod, the number of its pods, and the
        /// number that it should have.
        lacking: Option<(String, usize, usize)>,
    },
    /// More replicas exist than are requested, and none of them is starting or ending.
    NotRemoved {
        /// The number of requested replicas.
        requested: i32,
        /// The number of replicas that exist.
        existing: i32,
    },
}

impl Settling {
    /// Records the replicas that exist, and how many are requested and reported.
    pub fn observe(
        &mut self,
        replicas: &Replicas,
        scale: Scale,
        startup_timeout: TimeDelta,
        now: DateTime<Utc>,
    ) {
        let Some(unsettled) = unsettled(replicas, scale, startup_timeout, now) else {
            self.latest = None;
            return;
        };
        let pods = replicas.list.iter().map(|group| group.pods.len()).sum();
        let before = self.latest.take();
        let same = before.filter(|latest| latest.unsettled == unsettled && latest.pods == pods);
        let since = same.map_or(now, |latest| latest.since);
        self.latest = Some(Latest { unsettled, pods, since });
    }

    /// Returns the difference, if nothing about it has changed for a minute.
    pub fn overdue(&self, now: DateTime<Utc>) -> Option<&Unsettled> {
        let latest = self.latest.as_ref()?;
        (now - latest.since >= SETTLED_AFTER).then_some(&latest.unsettled)
    }
}

fn unsettled(
    replicas: &Replicas,
    Scale { current: requested, status: reported }: Scale,
    startup_timeout: TimeDelta,
    now: DateTime<Utc>,
) -> Option<Unsettled> {
    let alive = || replicas.list.iter().filter(|group| group.is_alive());
    // A replica that is stuck is no reason to wait. One that lacks a pod explains nothing either,
    // unless a pod that it has is starting: workers may be created after their leader is ready.
    let is_starting = |group: &ReplicaPods| {
        let is_ready = group.pods.iter().all(|pod| pod.replica.ready);
        !is_ready && group.stuck(now, startup_timeout).is_none()
    };
    if alive().any(is_starting) {
        return None;
    }
    let existing = i32::try_from(alive().count()).unwrap_or(i32::MAX);
    let complete = alive().filter(|group| group.is_complete()).count();
    let complete = i32::try_from(complete).unwrap_or(i32::MAX);
    let lacks_pods = complete < existing;
    // The selector may find other pods than the target's controller counts, which is another
    // problem.
    if complete < requested && (reported < requested || lacks_pods) {
        let lacking = alive().find(|group| !group.is_complete());
        let lacking = lacking.and_then(|group| {
            Some((group.pods.first()?.name.clone(), group.pods.len(), group.size()?))
        });
        return Some(Unsettled::NotCreated { requested, complete, lacking });
    }
    let is_ending = replicas.list.iter().any(ReplicaPods::is_ending);
    let is_surplus = existing > requested && reported > requested;
    (is_surplus && !is_ending).then_some(Unsettled::NotRemoved { requested, existing })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_core::Replica;

    use super::*;
    use crate::pod::{Pod, tests::pod};

    const READY: Replica = Replica::READY;
    const LOADING: Replica = Replica { ready: false, ..READY };
    const ENDING: Replica = Replica { deleting: true, ..READY };

    fn replicas(states: &[Replica]) -> Replicas {
        let pods = states.iter().enumerate().map(|(ordinal, replica)| {
            let name = format!("a-{ordinal}");
            let pod = Pod { replica: *replica, ..pod(&name, "a") };
            (name, Arc::new(pod))
        });
        Replicas::of(&Arc::new(pods.collect()), &[])
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    /// Observes replicas as their controller reports them.
    fn observe(settling: &mut Settling, states: &[Replica], requested: i32, second: i64) {
        let scale = Scale { current: requested, status: states.len() as i32 };
        settling.observe(&replicas(states), scale, TimeDelta::minutes(10), at(second));
    }

    #[test]
    fn pods_that_the_controller_does_not_count_are_no_difference() {
        for (current, found) in [(2, 4), (4, 2)] {
            let mut settling = Settling::default();
            let scale = Scale { current, status: current };
            settling.observe(&replicas(&vec![READY; found]), scale, TimeDelta::zero(), at(0));
            assert_eq!(settling.overdue(at(60)), None, "{found} for {current}");
        }
    }

    #[test]
    fn a_difference_that_nothing_explains_is_told_after_a_minute() {
        let not_created = |requested, complete| {
            Some(Unsettled::NotCreated { requested, complete, lacking: None })
        };
        let not_removed = |requested, existing| Some(Unsettled::NotRemoved { requested, existing });
        // replicas, requested; the difference
        let table = [
            (vec![READY, READY], 2, None),
            (vec![READY, READY], 6, not_created(6, 2)),
            (vec![], 1, not_created(1, 0)),
            // The others may come when it is ready.
            (vec![READY, LOADING], 6, None),
            (vec![READY, READY, READY], 1, not_removed(1, 3)),
            (vec![READY, READY, ENDING], 1, None),
            (vec![READY, READY, LOADING], 1, None),
        ];
        for (states, requested, expected) in table {
            let mut settling = Settling::default();
            observe(&mut settling, &states, requested, 0);
            assert_eq!(settling.overdue(at(59)), None, "{states:?} of {requested}");
            observe(&mut settling, &states, requested, 59);
            assert_eq!(settling.overdue(at(60)), expected.as_ref(), "{states:?} of {requested}");
        }
    }

    #[test]
    fn each_change_begins_a_minute_anew() {
        let mut settling = Settling::default();
        observe(&mut settling, &[READY, READY], 6, 0);
        observe(&mut settling, &[READY, READY, READY], 6, 50);
        assert_eq!(settling.overdue(at(60)), None);
        observe(&mut settling, &[READY, READY, READY], 7, 100);
        assert_eq!(settling.overdue(at(159)), None);
        assert!(settling.overdue(at(160)).is_some());
        observe(&mut settling, &[READY], 1, 161);
        assert_eq!(settling.overdue(at(300)), None);
    }
}
