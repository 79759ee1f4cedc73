//! What a target's object says: nothing shrinks during a rollout, unless it is stuck.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::dialect;

use crate::drain::drainer::Scene;
use crate::{
    reconcile::context::Context, scale::client::TargetError, scale::workload::Object,
    scale::workload::Progress,
};

/// How often the target's object is read at most.
const EVERY: Duration = Duration::from_secs(2);
/// A rollout that has not come any further for so long is stuck.
const STUCK_AFTER: TimeDelta = TimeDelta::minutes(10);

/// A rollout, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Replicas that are of the new kind.
    pub updated: i64,
    /// Those that are to be.
    pub wanted: i64,
    /// For how many minutes nothing has been seen to happen.
    pub minutes: i64,
}

/// What is known of the rollouts of a target.
#[derive(Default)]
pub(super) struct Rollouts {
    /// What the object said when it was last read.
    known: Option<Object>,
    /// When that was, while a scale-down is wanted.
    read: Option<Instant>,
    /// When it was last tried while none was.
    tried: Option<Instant>,
    seen: Option<Seen>,
}

/// A rollout in progress.
#[derive(Clone, Copy)]
struct Seen {
    progress: Progress,
    /// When it was last seen to come further.
    since: DateTime<Utc>,
    is_given_up: bool,
}

impl Rollouts {
    /// Reads the target's object, where a scale-down is wanted. Otherwise what it said before will do, and it is read once where
    /// only it says who goes.
    ///
    /// # Errors
    /// It could not be read, and a scale-down is wanted.
    pub(super) async fn look(
        &mut self,
        context: &Context,
        scene: &Scene<'_>,
        shrinks: bool,
    ) -> Result<Object, TargetError> {
        if !shrinks {
            (self.seen, self.read) = (None, None);
            return Ok(self.at_rest(context, scene).await);
        }
        if let (Some(at), Some(object)) = (self.read, &self.known)
            && at.elapsed() < EVERY
        {
            return Ok(object.clone());
        }
        let object = context.targets.object(scene.namespace, scene.target).await?;
        self.note(&object, scene.now);
        self.read = Some(Instant::now());
        self.known = Some(object.clone());
        Ok(object)
    }

    async fn at_rest(&mut self, context: &Context, scene: &Scene<'_>) -> Object {
        let tried = self.tried.is_some_and(|at| at.elapsed() < EVERY);
        if self.known.is_none() && !tried && dialect::has_modes(scene.target) {
            self.tried = Some(Instant::now());
            self.known = context.targets.object(scene.namespace, scene.target).await.ok();
        }
        self.known.clone().unwrap_or_default()
    }

    fn note(&mut self, object: &Object, now: DateTime<Utc>) {
        let before = self.seen;
        self.seen = object.rollout.map(|progress| {
            let is_given_up = object.is_given_up;
            match before {
                // Who falls out of service and comes back has not come further.
                Some(Seen { progress: before, since, .. })
                    if before.generation == progress.generation
                        && before.updated == progress.updated
                        && before.ready >= progress.ready =>
                {
                    Seen { progress: before, since, is_given_up }
                }
                _ => Seen { progress, since: now, is_given_up },
            }
        });
    }

    /// Whether a rollout keeps the target from shrinking.
    pub(super) fn holds(&self, now: DateTime<Utc>) -> bool {
        self.seen.is_some_and(|seen| !seen.is_given_up && now - seen.since < STUCK_AFTER)
    }

    /// The rollout in progress.
    pub(super) fn seen(&self, now: DateTime<Utc>) -> Option<Rollout> {
        let Seen { progress: Progress { updated, wanted, .. }, since, .. } = self.seen?;
        Some(Rollout { updated, wanted, minutes: (now - since).num_minutes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_that_comes_no_further_is_stuck() {
        let at = |minute: i64| DateTime::UNIX_EPOCH + TimeDelta::minutes(minute);
        let rolling = |updated, ready| Object {
            rollout: Some(Progress { updated, wanted: 4, ready, generation: 2 }),
            ..Object::default()
        };
        let mut rollouts = Rollouts::default();
        assert!(!rollouts.holds(at(0)));
        // minute, what is read; whether it holds
        let table = [
            (0, rolling(1, 3), true),
            (9, rolling(1, 4), true),
            (18, rolling(1, 3), true),
            (19, rolling(1, 4), false),
            (20, rolling(2, 4), true),
            (21, Object { is_given_up: true, ..rolling(2, 4) }, false),
            (22, Object::default(), false),
        ];
        for (minute, object, expected) in table {
            rollouts.note(&object, at(minute));
            assert_eq!(rollouts.holds(at(minute)), expected, "{minute}");
        }
    }
}
