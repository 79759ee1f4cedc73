//! What a target's own object says beyond its scale, and how its rollout comes along.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::workloads::Victims;

/// A rollout without progress for this long is stuck, and no longer holds a scale-down.
const STUCK_AFTER: TimeDelta = TimeDelta::minutes(10);

/// What is known of a target's object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The first ordinal of its replicas; `None` where it could not be read.
    pub first_ordinal: Option<i32>,
    /// Which replicas a smaller size removes, where the object says so.
    pub victims: Option<Victims>,
    /// True where a replica is only removed while all replicas below it are ready (`podManagementPolicy: OrderedReady`).
    pub is_ordered: bool,
    /// The rollout, while one is in progress.
    pub rollout: Option<RolloutProgress>,
    /// True where the controller itself has given the rollout up.
    pub is_given_up: bool,
}

/// How far a rollout has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutProgress {
    /// The number of updated replicas.
    pub updated: i64,
    /// The number of replicas to update.
    pub wanted: i64,
    /// The number of ready replicas.
    pub ready: i64,
    /// The generation of the object that is rolled out.
    pub generation: i64,
}

/// A rollout, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The number of updated replicas.
    pub updated: i64,
    /// The number of replicas to update.
    pub wanted: i64,
    /// The minutes since the last progress.
    pub minutes: i64,
}

/// The rollout of one target between steps. Progress is a new generation, another updated replica, or another ready one; a
/// replica that loses its readiness and gets it back is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct RolloutMemory {
    latest: Option<Observed>,
}

/// A rollout in progress.
#[derive(Clone, Copy, Debug)]
struct Observed {
    progress: RolloutProgress,
    /// The time of the last progress.
    since: DateTime<Utc>,
    is_given_up: bool,
}

impl RolloutMemory {
    /// Records the object as it was read.
    pub fn observe(&mut self, workload: &Workload, now: DateTime<Utc>) {
        let before = self.latest;
        self.latest = workload.rollout.map(|progress| {
            let is_given_up = workload.is_given_up;
            match before {
                Some(Observed { progress: before, since, .. })
                    if before.generation == progress.generation
                        && before.updated == progress.updated
                        && before.ready >= progress.ready =>
                {
                    Observed { progress: before, since, is_given_up }
                }
                _ => Observed { progress, since: now, is_given_up },
            }
        });
    }

    /// Forgets the rollout: no scale-down waits for it.
    pub fn clear(&mut self) {
        self.latest = None;
    }

    /// True while a rollout keeps the target from shrinking.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.latest.is_some_and(|latest| !latest.is_given_up && now - latest.since < STUCK_AFTER)
    }

    /// The rollout in progress.
    pub fn rollout(&self, now: DateTime<Utc>) -> Option<Rollout> {
        let Observed { progress: RolloutProgress { updated, wanted, .. }, since, .. } =
            self.latest?;
        Some(Rollout { updated, wanted, minutes: (now - since).num_minutes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_without_progress_is_stuck() {
        let at = |minute: i64| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let rolling = |updated, ready| Workload {
            rollout: Some(RolloutProgress { updated, wanted: 4, ready, generation: 2 }),
            ..Workload::default()
        };
        let mut rollouts = RolloutMemory::default();
        assert!(!rollouts.holds(at(0)));
        // minute, what is read; whether it holds
        let table = [
            (0, rolling(1, 3), true),
            (9, rolling(1, 4), true),
            (18, rolling(1, 3), true),
            (19, rolling(1, 4), false),
            (20, rolling(2, 4), true),
            (21, Workload { is_given_up: true, ..rolling(2, 4) }, false),
            (22, Workload::default(), false),
        ];
        for (minute, workload, expected) in table {
            rollouts.observe(&workload, at(minute));
            assert_eq!(rollouts.holds(at(minute)), expected, "{minute}");
        }
    }
}
