//! The target's own object, beyond its scale subresource, and the progress of its rollout.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::workloads::Victims;

/// The time without progress after which a rollout is stuck. It no longer holds a scale-down then.
const STUCK_AFTER: TimeDelta = TimeDelta::minutes(10);

/// The fields of a target's object that a scale-down depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The ordinal of its first replica; `None` if it could not be read.
    pub first_ordinal: Option<i32>,
    /// The order in which a smaller size removes replicas, if the object defines it.
    pub victims: Option<Victims>,
    /// True if a replica is removed only while all replicas below it are ready
    /// (`podManagementPolicy: OrderedReady`).
    pub is_ordered: bool,
    /// The rollout, while one is in progress.
    pub rollout: Option<RolloutProgress>,
    /// True if the controller has given up the rollout.
    pub is_given_up: bool,
}

/// The progress of a rollout.
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

/// A rollout in conditions and messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The number of updated replicas.
    pub updated: i64,
    /// The number of replicas to update.
    pub wanted: i64,
    /// The minutes since the last progress.
    pub minutes: i64,
}

/// The memory of the rollout of one target from step to step.
///
/// A new generation, another number of updated replicas, or another ready replica is progress. A
/// replica that loses its readiness and becomes ready again is not.
#[derive(Clone, Copy, Debug, Default)]
pub struct RolloutMemory {
    latest: Option<OngoingRollout>,
}

/// A rollout in progress.
#[derive(Clone, Copy, Debug)]
struct OngoingRollout {
    progress: RolloutProgress,
    /// The time of the last progress.
    since: DateTime<Utc>,
    is_given_up: bool,
}

impl RolloutMemory {
    /// Records a read of the object.
    pub fn observe(&mut self, workload: &Workload, now: DateTime<Utc>) {
        let before = self.latest;
        self.latest = workload.rollout.map(|progress| {
            let is_given_up = workload.is_given_up;
            match before {
                Some(OngoingRollout { progress: before, since, .. })
                    if before.generation == progress.generation
                        && before.updated == progress.updated
                        && before.ready >= progress.ready =>
                {
                    OngoingRollout { progress: before, since, is_given_up }
                }
                _ => OngoingRollout { progress, since: now, is_given_up },
            }
        });
    }

    /// Forgets the rollout, because no scale-down waits for it.
    pub fn clear(&mut self) {
        self.latest = None;
    }

    /// Returns true while a rollout holds scale-downs.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.latest.is_some_and(|latest| !latest.is_given_up && now - latest.since < STUCK_AFTER)
    }

    /// Returns the rollout in progress.
    pub fn rollout(&self, now: DateTime<Utc>) -> Option<Rollout> {
        let OngoingRollout { progress: RolloutProgress { updated, wanted, .. }, since, .. } =
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
        // minute, object; expected hold
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
