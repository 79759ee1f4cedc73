//! An observation: the state of one target at one time, as the operator, a simulator or a test has
//! read it. It is plain data, and its vectors can be kept and refilled, so that a step allocates
//! nothing per replica.

use crate::units::Milli;

/// The state of one target at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The replica counts of the scale subresource.
    pub scale: Scale,
    /// The state of the scale subresource's selector.
    pub selector: Selector,
    /// True if this autoscaler is the one that scaled the target to zero (condition
    /// `ScaledToZero`).
    pub scaled_to_zero: bool,
    /// The replicas that the selector matches.
    pub replicas: Vec<Replica>,
    /// The reading of each metric, in the order of [`Policy::metrics`](crate::Policy::metrics).
    pub readings: Vec<Reading>,
    /// The size that keeps a promise to the users; it stands for the proposal of the first metric.
    /// `None` without a promise, and before such a size has been known.
    pub promised: Option<PromisedSize>,
    /// A reason not to scale down on these readings, if there is one. They still may scale up.
    pub doubt: Option<Doubt>,
    /// True if a wake call arrived lately; the target then gets at least one replica.
    pub woken: bool,
}

/// A size that keeps a promise to the users, by [`slo`](crate::slo).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromisedSize {
    /// The number of replicas; `None` where it cannot be told any more, so that the first metric
    /// decides.
    pub replicas: Option<i32>,
    /// False if too little is known for a smaller size than the current one.
    pub may_shrink: bool,
}

/// A reason not to scale down on an observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Some of the samples are doubtful, for example last values of pods that no longer answer.
    Samples,
    /// More replicas are listed than the target reports, so the grouping of pods into replicas is
    /// in doubt.
    Surplus,
}

/// The replica counts of a scale subresource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`: the requested replicas, called "current" in the HPA's code.
    pub current: i32,
    /// `status.replicas`: the replicas that the target's controller reports.
    pub status: i32,
}

/// The state of a scale subresource's `status.selector`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selector {
    /// The selector is present and well-formed.
    #[default]
    Valid,
    /// The selector is absent.
    Missing,
    /// The selector cannot be parsed.
    Invalid,
    /// The selector matches pods that another autoscaler's target selects too.
    Ambiguous,
    /// The selector matches pods of which too little is known.
    Unknown,
}

/// A unit of scale: a pod, or all pods of a multi-node group. Its sample is in the [`Reading`], at
/// the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The phase of the pod, or of the group as a whole.
    pub phase: Phase,
    /// True if its deletion has begun.
    pub deleting: bool,
    /// True if it serves: the pod's condition `Ready`; of a group, that of every pod.
    pub ready: bool,
    /// True if it will not become ready by waiting: it crash-loops, cannot be scheduled, or is long
    /// past the start-up time of its kind. A replica that was ready before and whose metrics page
    /// answers is not stuck: it is saturated.
    pub stuck: bool,
    /// The activity of its engine.
    pub activity: EngineActivity,
}

/// The activity of a replica's engine, as far as its metrics page shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EngineActivity {
    /// No sample tells.
    #[default]
    Unknown,
    /// Its metrics page answers, and the replica has been ready before.
    Answering,
    /// Its metrics page answers, and the replica has never been ready. It may have requests, and is
    /// no capacity yet.
    Warming,
    /// Its metrics page says that it sleeps.
    Asleep,
    /// It has requests, and none of them progresses.
    Wedged,
}

impl Replica {
    /// A replica that runs and serves.
    pub const READY: Self = Self {
        phase: Phase::Running,
        deleting: false,
        ready: true,
        stuck: false,
        activity: EngineActivity::Unknown,
    };
    /// A replica that has not begun to run.
    pub const PENDING: Self = Self { phase: Phase::Pending, ready: false, ..Self::READY };

    /// Returns whether all containers have ended, with or without success.
    pub const fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Returns whether it runs and serves, and is neither being deleted nor stuck nor halted.
    pub(crate) const fn serves_plainly(self) -> bool {
        matches!(self.phase, Phase::Running)
            && self.ready
            && !self.deleting
            && !self.stuck
            && !self.is_halted()
    }

    /// Returns whether its engine is halted: asleep or wedged.
    pub const fn is_halted(&self) -> bool {
        matches!(self.activity, EngineActivity::Asleep | EngineActivity::Wedged)
    }
}

/// A pod's `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The pod is accepted, and not all of its containers have started.
    Pending,
    /// The pod is bound to a node and has started.
    Running,
    /// All containers have exited with success.
    Succeeded,
    /// At least one container has failed, and none runs any more.
    Failed,
    /// The node does not report the pod's state.
    Unknown,
}

/// The reading of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A sample for each replica.
    PerReplica {
        /// The samples, in the order of [`Observation::replicas`]; `None` where there is no usable
        /// one.
        samples: Vec<Option<Milli>>,
        /// Samples of pods that are not among the replicas. The HPA counts them, and so does
        /// [`Profile::HpaExact`](crate::Profile::HpaExact).
        strays: Vec<Milli>,
    },
    /// The value of one object.
    Object(Milli),
    /// The values of an external metric; at least one.
    External(Vec<Milli>),
    /// A value computed over all replicas, such as a quantile of all their events.
    Pooled {
        /// The value; `None` where there were too few events for one, which is not zero.
        value: Option<Milli>,
        /// The precision of the value.
        precision: Precision,
        /// True for each replica that has contributed, in the order of [`Observation::replicas`].
        reported: Vec<bool>,
    },
    /// A value for the whole target from a source that is none of its replicas, such as a gateway.
    Total {
        /// The value.
        value: Milli,
        /// The precision of the value.
        precision: Precision,
        /// True if all sources have contributed. An incomplete total may scale up and never scales
        /// down.
        complete: bool,
    },
    /// No value: the read failed or returned nothing. The caller holds the cause.
    Failed,
}

/// The precision of a value that was read from a histogram.
///
/// A histogram counts events between bounds. Beyond its last bound, and below its first one, the
/// size of an event is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The value is what it says.
    #[default]
    Exact,
    /// The quantity is at least the value, and may be any larger one. Example: more than 60 s.
    AtLeast,
    /// The quantity is no more than this bound, and may be any smaller one; the value is an
    /// estimate. Example: less than 0.3 s.
    AtMost(Milli),
}

impl Precision {
    /// Returns true if the quantity is known to be above the target, or below it, whichever the
    /// value is. Example: "more than 60" says nothing about a target of 120.
    pub(crate) fn tells(self, value: Milli, target: Milli) -> bool {
        match self {
            Self::Exact => true,
            Self::AtLeast => value >= target,
            Self::AtMost(bound) => bound <= target,
        }
    }
}
