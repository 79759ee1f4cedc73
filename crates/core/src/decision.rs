//! What was decided, and every number on the way: enough to say why without asking anyone again.
//! No text: the words are rendered from these by the `api` crate.

use crate::{Milli, Share, Tie};

/// The answer to one observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// `spec.replicas` as it was when deciding.
    pub current: i32,
    /// What is to be done and why.
    pub outcome: Outcome,
    /// The metrics' part, in the order of the policy; empty where they were not looked at.
    pub metrics: Vec<MetricOutcome>,
    /// What other roles of the same service make of it, where that is something else.
    pub tied: Option<Tied>,
}

/// The number of replicas that roles have agreed upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tied {
    /// The number.
    pub to: i32,
    /// Why.
    pub by: Tie,
}

/// How the step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The target is at zero, and it was not this autoscaler that put it there: hands off.
    Disabled,
    /// The current number is outside of the bounds; brought back without a look at the metrics.
    OutOfBounds {
        /// The bound that it is brought to.
        to: i32,
        /// Which one.
        bound: Bound,
    },
    /// Nobody knows which pods belong to the target.
    NoSelector,
    /// Too few metrics could be computed to say anything: nothing moves.
    Blind {
        /// The first metric that failed.
        first: usize,
        /// How many failed.
        failed: usize,
    },
    /// Every metric was asked and none had anything to say: too few events. Nothing moves.
    Silent,
    /// No metric has been there for so long that the policy's fallback is asked for.
    Fallback {
        /// The first metric that failed.
        first: usize,
        /// How many failed: all.
        failed: usize,
        /// The way from the fallback's number to the one that is asked for.
        derivation: Derivation,
    },
    /// A number was computed.
    Computed(Derivation),
}

/// A bound of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Fewer than `min_replicas`.
    BelowMin,
    /// More than `max_replicas`.
    AboveMax,
    /// None, and somebody has called.
    Asleep,
}

/// One metric's part of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricOutcome {
    /// It proposes a number of replicas.
    Proposal(Proposal),
    /// It has nothing to say: the replicas reported too few events. Not a failure, and not zero.
    Silent(Counted),
    /// It could not be computed.
    Failed(MetricError),
}

/// What a metric asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// The number of replicas that would bring the metric to its target.
    pub replicas: i32,
    /// The value to show as current: the mean per replica, or the value itself.
    pub usage: Milli,
    /// Usage divided by target, before missing and unready replicas were filled in.
    pub ratio: f64,
    /// How the replicas were counted (all zero for a metric that looks at none).
    pub counted: Counted,
}

/// How the replicas fell into the groups of the recommendation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Used with their sample.
    pub ready: u32,
    /// Not counted on yet: still pending.
    pub unready: u32,
    /// Without a sample.
    pub missing: u32,
    /// Asked for, and not there yet.
    pub absent: u32,
    /// Deleted or failed: neither load nor capacity.
    pub ignored: u32,
    /// Stuck: neither capacity nor an obstacle.
    pub stuck: u32,
}

impl Counted {
    /// Whether samples are there from four fifths of the replicas that could have one.
    pub fn is_quorum(&self) -> bool {
        let Self { ready, unready, missing, .. } = *self;
        5 * u64::from(ready) >= 4 * (u64::from(ready) + u64::from(unready) + u64::from(missing))
    }
}

/// Why a metric could not be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricError {
    /// There was no answer, or an empty one; the caller of the step knows what it was.
    Fetch,
    /// The selector found no replica.
    NoReplicas,
    /// None of the replicas that count has a sample.
    NoSamples,
    /// Neither `value` nor `averageValue` was given.
    NoTarget,
    /// Every replica is unready, so a ratio of them says nothing (Default profile).
    NoneReady,
}

/// The way from the metrics' proposals to the number that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Derivation {
    /// The metric whose proposal won.
    pub winner: usize,
    /// How many metrics failed while the others were enough to go on.
    pub failed: usize,
    /// The highest proposal.
    pub raw: i32,
    /// What is remembered for the windows: the proposal, at least 0, or the current number where it is held.
    pub recommended: i32,
    /// After the stabilization windows.
    pub stabilized: i32,
    /// Whether a window changed the number.
    pub stabilization: Stabilization,
    /// After rate policies and bounds.
    pub limited: i32,
    /// What limited it.
    pub limit: Limit,
    /// The number that is asked for.
    pub desired: i32,
    /// Why it moves (or would, had nothing held it).
    pub reason: Option<Reason>,
    /// The rule of the Default profile that kept the target from shrinking, where one did. The recommendation
    /// then is the current number.
    pub held: Option<Hold>,
}

/// Whether a stabilization window changed the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stabilization {
    /// The recommendation is taken as it is.
    None,
    /// Recent recommendations were lower: grows less.
    Up,
    /// Recent recommendations were higher: shrinks less.
    Down,
}

/// What a limiter said; `ScalingLimited` and its reason follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing stood in the way.
    DesiredWithinRange,
    /// `min_replicas` did.
    TooFewReplicas,
    /// `max_replicas` did.
    TooManyReplicas,
    /// The scale-up policies did.
    ScaleUpLimit,
    /// The scale-down policies did.
    ScaleDownLimit,
    /// Nothing is asked for, and has not been for long enough to go to zero.
    NotIdleYet,
}

/// Why the number of replicas changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The winning metric is above its target.
    AboveTarget,
    /// All metrics are below their targets.
    AllBelowTarget,
    /// The bound wants more.
    BelowMin,
    /// Nobody knows how many are needed.
    Fallback,
}

/// A rule of the Default profile that kept the target from shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Samples from fewer than the quorum of the replicas.
    NoQuorum,
    /// A total to which not everybody has contributed.
    Incomplete,
    /// Samples that are not beyond doubt.
    Doubt,
    /// More replicas than there can be: what a replica is has not been understood.
    Surplus,
}

impl Decision {
    /// Whether the metrics say that nothing is needed, and nobody holds what there is.
    pub fn is_idle(&self) -> bool {
        matches!(&self.outcome, Outcome::Computed(Derivation { raw, held: None, .. }) if *raw < 1)
    }

    /// The number of replicas to ask for, where it differs from the current one.
    pub fn rescale(&self) -> Option<i32> {
        self.desired().filter(|desired| *desired != self.current)
    }

    /// Whether the metrics ask for fewer replicas than there are, whatever windows and limits make of it.
    pub fn wants_fewer(&self) -> bool {
        matches!(&self.outcome, Outcome::Computed(derivation) if derivation.raw < self.current)
    }

    /// Whether every metric has failed.
    pub fn is_blind(&self) -> bool {
        let failed = |metric: &MetricOutcome| matches!(metric, MetricOutcome::Failed(_));
        !self.metrics.is_empty() && self.metrics.iter().all(failed)
    }

    /// Takes over what its role has been given.
    pub fn shared(&mut self, share: Share) {
        self.tied = share.tie.map(|by| Tied { to: share.replicas, by });
    }

    /// The number of replicas that is wanted; `None` where the step ended without one.
    pub fn desired(&self) -> Option<i32> {
        self.tied.map(|tied| tied.to).or_else(|| self.own())
    }

    /// The number of replicas that is wanted, whatever other roles have to say.
    pub fn own(&self) -> Option<i32> {
        match &self.outcome {
            Outcome::OutOfBounds { to, .. } => Some(*to),
            Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
                Some(derivation.desired)
            }
            Outcome::Disabled => Some(self.current),
            Outcome::NoSelector | Outcome::Blind { .. } | Outcome::Silent => None,
        }
    }
}
