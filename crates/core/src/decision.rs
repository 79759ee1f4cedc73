//! A decision and every number on the way to it, so that a message or a status can explain it
//! without another read. The texts are made from these values by the `api` crate.

use crate::{observation::Precision, units::Milli};

/// The result of [`decide`](crate::decide()) for one observation of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// `spec.replicas` at the time of the decision.
    pub current: i32,
    /// The result of the step, and its derivation where a number was computed.
    pub outcome: Outcome,
    /// The outcome of each metric, in the order of the policy; empty where no metric was evaluated.
    pub metrics: Vec<MetricOutcome>,
    /// The size that coordination with other roles of the service gives instead; `None` where
    /// coordination changes nothing, or the service has one role.
    pub adjusted: Option<Adjusted>,
}

/// The size of a role after coordination, where it differs from the role's own decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Adjusted {
    /// The coordinated number of replicas.
    pub to: i32,
    /// The reason for the difference.
    pub by: Adjustment,
}

/// A reason why coordination gives a role another size than its own decision asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Adjustment {
    /// The ratio of the two roles requires more replicas, or allows no more.
    Ratio,
    /// The other role of the ratio lags: its replicas are requested and have not started, and this
    /// role does not grow ahead of them.
    Lagging,
    /// All roles together ask for more than a shared limit allows.
    SharedLimit,
    /// The shared limit allows the size, but terminating replicas of another role still take up the
    /// room.
    WaitingForRoom,
}

/// The size that [`coordinate`](crate::coordinate()) gives one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordinatedSize {
    /// The number of replicas.
    pub replicas: i32,
    /// The reason why it differs from the role's demand; `None` where it does not.
    pub adjustment: Option<Adjustment>,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The target is at zero replicas and this autoscaler did not scale it there, so scaling is
    /// disabled, as with the HPA.
    Disabled,
    /// The current size is outside of the policy's bounds (or a wake call found it at zero) and is
    /// corrected without evaluating metrics.
    OutOfBounds {
        /// The size that it is corrected to.
        to: i32,
        /// The bound that was violated.
        bound: Bound,
    },
    /// The scale subresource has no usable selector, so the target's pods are unknown.
    NoSelector,
    /// Too few metrics could be computed for a decision; the size stays as it is.
    NoMetrics {
        /// The index of the first metric that failed.
        first: usize,
        /// The number of metrics that failed.
        failed: usize,
    },
    /// Every metric was read and none had enough events for a value; the size stays as it is.
    NoEvents,
    /// Every metric has failed for at least [`Fallback::after`](crate::Fallback::after), so the
    /// policy's fallback size is requested.
    Fallback {
        /// The index of the first metric that failed.
        first: usize,
        /// The number of metrics that failed, which is all of them.
        failed: usize,
        /// The way from the fallback's number to the desired replicas.
        derivation: Derivation,
    },
    /// The metrics gave a number.
    Computed(Derivation),
}

/// A bound that the current size violates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The target has fewer replicas than `min_replicas`.
    BelowMin,
    /// The target has more replicas than `max_replicas`.
    AboveMax,
    /// The target is at zero, and a wake call requires at least one replica.
    Wake,
}

/// The outcome of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricOutcome {
    /// The metric proposes a number of replicas.
    Proposal(Proposal),
    /// The replicas reported too few events for a value, which is neither a failure nor zero.
    NoEvents(Counted),
    /// The metric could not be computed.
    Failed(MetricError),
}

/// The number of replicas that one metric proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// The number of replicas that would bring the metric to its target.
    pub replicas: i32,
    /// The current value for display: the mean per replica for an average, else the value itself.
    pub usage: Milli,
    /// The precision of that value.
    pub precision: Precision,
    /// Usage divided by target, before missing and unready replicas are filled in.
    pub ratio: f64,
    /// The number of replicas in each group; all zero for a metric that depends on no replica.
    pub counted: Counted,
}

/// The number of replicas in each group of the recommendation, as in `groupPods` of
/// `pkg/controller/podautoscaler/replica_calculator.go`, with four groups more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Replicas with a sample that counts.
    pub ready: u32,
    /// Replicas that are pending, so their samples do not count yet.
    pub unready: u32,
    /// Replicas that answer and have never been ready: their load is known, and they are no
    /// capacity yet; always 0 for the HPA.
    pub warming: u32,
    /// Replicas without a sample.
    pub missing: u32,
    /// Replicas that are requested and not listed yet; always 0 for the HPA.
    pub absent: u32,
    /// Replicas that are being deleted or have ended: neither load nor capacity. The HPA ignores
    /// those that have failed, and not those that have succeeded.
    pub ignored: u32,
    /// Replicas that will not become ready by waiting: not capacity, and no reason to hold a
    /// scale-down; always 0 for the HPA.
    pub stuck: u32,
    /// Replicas with halted engines (asleep or wedged): neither load nor capacity, and kept
    /// beside the replicas that the metric requires; always 0 for the HPA.
    pub halted: u32,
}

impl Counted {
    /// Returns whether at least four fifths of the replicas that could have a sample have one.
    ///
    /// Example: 4 ready and 1 missing are a quorum; 7 ready and 3 missing are not.
    pub fn is_quorum(&self) -> bool {
        let Self { ready, unready, warming, missing, .. } = *self;
        let sampled = u64::from(ready) + u64::from(warming);
        5 * sampled >= 4 * (sampled + u64::from(unready) + u64::from(missing))
    }
}

/// A reason why a metric could not be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricError {
    /// The read failed or returned nothing; the caller of the step holds the cause.
    Fetch,
    /// The selector matches no replica.
    NoReplicas,
    /// No replica that counts has a sample.
    NoSamples,
    /// The metric has neither `value` nor `averageValue`.
    NoTarget,
    /// Every replica is unready, so a ratio gives no number (Default profile).
    NoneReady,
}

/// The way from the metrics' proposals to the desired replicas. All sizes are in replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Derivation {
    /// The index of the metric with the highest proposal.
    pub winner: usize,
    /// The number of metrics that failed while the others were enough for a decision.
    pub failed: usize,
    /// The highest proposal.
    pub raw: i32,
    /// The recommendation that the history records: the proposal, or the current size where a
    /// [`Hold`] applies.
    pub recommended: i32,
    /// The size after the stabilization windows.
    pub stabilized: i32,
    /// The window that changed the size, if any.
    pub stabilization: Stabilization,
    /// The size after rate policies and bounds, and at least 1 while the target may not go to zero
    /// yet.
    pub limited: i32,
    /// The limit that applied.
    pub limit: Limit,
    /// The desired replicas.
    pub desired: i32,
    /// The reason why the size changes, or would change if no hold applied.
    pub reason: Option<Reason>,
    /// The rule that kept the target from shrinking, if one did;
    /// `recommended` is the current size then.
    pub held: Option<Hold>,
}

/// The stabilization window that changed a recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stabilization {
    /// No window changed the recommendation.
    None,
    /// A lower recommendation within the scale-up window makes the target grow less.
    Up,
    /// A higher recommendation within the scale-down window makes the target shrink less.
    Down,
}

/// The limit that a stabilized recommendation met; the condition `ScalingLimited` is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// No limit changed the size.
    DesiredWithinRange,
    /// `min_replicas` raised the size.
    TooFewReplicas,
    /// `max_replicas` lowered the size.
    TooManyReplicas,
    /// The scale-up policies lowered the size.
    ScaleUpLimit,
    /// The scale-down policies raised the size.
    ScaleDownLimit,
    /// The last replica stays, because the target has not been idle for long enough.
    NotIdleYet,
}

/// A reason why the number of replicas changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The winning metric is above its target.
    AboveTarget,
    /// All metrics are below their targets.
    AllBelowTarget,
    /// The size is below `min_replicas`.
    BelowMin,
    /// Every metric has failed for long enough that the fallback applies.
    Fallback,
    /// The engines of all replicas are halted, and some are wedged: one replica is added.
    Replacement,
}

/// A rule that kept the target from shrinking. The HPA has none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Fewer than four fifths of the replicas have a sample ([`Counted::is_quorum`]).
    NoQuorum,
    /// Some sources of a total have not contributed to it.
    Incomplete,
    /// Some samples are doubtful: [`Doubt::Samples`](crate::Doubt::Samples).
    Doubt,
    /// More replicas are listed than the target reports, so the grouping of pods into replicas is
    /// in doubt.
    Surplus,
}

impl Decision {
    /// Returns whether the metrics ask for zero replicas and no hold applies.
    pub fn is_idle(&self) -> bool {
        matches!(&self.outcome, Outcome::Computed(Derivation { raw, held: None, .. }) if *raw < 1)
    }

    /// Returns the desired replicas where they differ from the current ones.
    pub fn rescale(&self) -> Option<i32> {
        self.desired().filter(|desired| *desired != self.current)
    }

    /// Returns whether the metrics ask for fewer replicas than there are, before any window, limit
    /// or hold.
    pub fn wants_fewer(&self) -> bool {
        matches!(&self.outcome, Outcome::Computed(derivation) if derivation.raw < self.current)
    }

    /// Returns whether every metric of the policy has failed; false where none was evaluated.
    pub fn all_metrics_failed(&self) -> bool {
        !self.metrics.is_empty()
            && self.metrics.iter().all(|metric| matches!(metric, MetricOutcome::Failed(_)))
    }

    /// Replaces the desired replicas by the role's coordinated size, where coordination changed it.
    pub fn apply_coordination(&mut self, size: CoordinatedSize) {
        self.adjusted = size.adjustment.map(|by| Adjusted { to: size.replicas, by });
    }

    /// Returns the desired replicas, coordination with other roles included; `None` where the step
    /// ended without a number.
    pub fn desired(&self) -> Option<i32> {
        self.adjusted.map(|adjusted| adjusted.to).or_else(|| self.own_desired())
    }

    /// Returns the desired replicas before coordination with other roles; `None` where the step
    /// ended without a number.
    pub fn own_desired(&self) -> Option<i32> {
        match &self.outcome {
            Outcome::OutOfBounds { to, .. } => Some(*to),
            Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
                Some(derivation.desired)
            }
            Outcome::Disabled => Some(self.current),
            Outcome::NoSelector | Outcome::NoMetrics { .. } | Outcome::NoEvents => None,
        }
    }
}
