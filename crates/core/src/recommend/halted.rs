//! Replicas with halted engines: asleep, or wedged.
//!
//! They are neither load nor capacity, so a metric is met by the other replicas, and they stay
//! beside those.

use crate::{
    decision::{Counted, MetricError, MetricOutcome, Proposal},
    observation::{EngineActivity, Observation, Precision, Replica},
    profile::{Deviation, Profile},
    units::Milli,
};

/// The halted replicas of an observation, and the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Halted {
    /// The replicas with sleeping or wedged engines.
    count: i32,
    has_wedged: bool,
    /// The replicas that will not get ready by waiting.
    stuck: i32,
    /// True if a replica is left that is neither halted nor stuck, or is requested and not listed
    /// yet.
    has_others: bool,
    /// True if one of the others serves.
    has_serving: bool,
    /// The requested replicas.
    current: i32,
}

impl Halted {
    /// Counts the replicas. Under a profile that does not know halted engines there are none.
    pub(crate) fn of(profile: Profile, observation: &Observation) -> Self {
        if !profile.has(Deviation::EngineActivity) {
            return Self::default();
        }
        let replicas = || observation.replicas.iter();
        let serves = replicas().any(|replica| replica.serves_plainly());
        let mut found = Self {
            current: observation.scale.current,
            has_others: serves,
            has_serving: serves,
            ..Self::default()
        };
        let others = replicas().filter(|replica| !replica.serves_plainly() && is_alive(**replica));
        for replica in others {
            if replica.is_halted() {
                found.count += 1;
                found.has_wedged |= replica.activity == EngineActivity::Wedged;
            } else if replica.stuck && profile.has(Deviation::StuckReplicas) {
                found.stuck += 1;
            } else {
                found.has_others = true;
                found.has_serving |= replica.ready || replica.activity == EngineActivity::Answering;
            }
        }
        found.has_others |= found.current > found.count + found.stuck;
        found
    }

    /// Returns the number of halted replicas.
    pub(crate) fn count(self) -> i32 {
        self.count
    }

    /// Returns the size with one replica more, if every replica is halted or stuck and some are
    /// wedged, so that nothing serves until one is added.
    pub(crate) fn replacement(self) -> Option<i32> {
        let needs = self.has_wedged && !self.has_others;
        needs.then(|| self.count.saturating_add(self.stuck).saturating_add(1))
    }

    /// Returns the outcome of a metric for a target that would have `size` replicas, raised so that
    /// a replica that is not halted stays, or comes if all are halted and some of them wedged.
    ///
    /// While nothing but halted engines has a sample, the metric proposes a replacement if one is
    /// needed, and else that size, instead of failing: nothing is missing.
    pub(crate) fn raise(self, outcome: MetricOutcome, size: i32) -> MetricOutcome {
        if self.count == 0 {
            return outcome;
        }
        let beside = self.count.saturating_add(i32::from(self.has_others));
        let least = self.replacement().unwrap_or(beside);
        let without_sample = Proposal {
            replicas: least.max(size),
            usage: Milli(0),
            precision: Precision::Exact,
            ratio: 0.0,
            counted: Counted { halted: self.count as u32, ..Counted::default() },
        };
        match outcome {
            MetricOutcome::Proposal(proposal) => MetricOutcome::Proposal(Proposal {
                replicas: proposal.replicas.max(least),
                ..proposal
            }),
            MetricOutcome::NoEvents(_)
            | MetricOutcome::Failed(MetricError::NoSamples | MetricError::NoneReady)
                if !self.has_serving =>
            {
                MetricOutcome::Proposal(without_sample)
            }
            MetricOutcome::NoEvents(_) | MetricOutcome::Failed(_) => outcome,
        }
    }
}

fn is_alive(replica: Replica) -> bool {
    !replica.deleting && !replica.has_ended()
}
