//! What was seen. Plain data, filled in by the operator, a simulator or a test; its vectors can be
//! kept and refilled, so that a tick allocates nothing per replica.

use crate::Milli;

/// The state of one target at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// What the scale subresource says.
    pub scale: Scale,
    /// Whether it names the pods that belong to the target.
    pub selector: Selector,
    /// Whether this autoscaler is the one that scaled the target to zero (condition `ScaledToZero`).
    pub scaled_to_zero: bool,
    /// The replicas that the selector found.
    pub replicas: Vec<Replica>,
    /// What is known of each metric, in the order of [`Policy::metrics`](crate::Policy::metrics).
    pub readings: Vec<Reading>,
    /// Why what was seen is good enough to grow by, or to stay, and not to shrink by.
    pub doubt: Option<Doubt>,
    /// Somebody has called lately: the target is not to be at zero.
    pub woken: bool,
}

/// Why what was seen is no reason to shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Some of the samples are not beyond doubt.
    Samples,
    /// More replicas are listed than the target says it has: what is a replica is not understood.
    Surplus,
}

/// The two numbers of a scale subresource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// `spec.replicas`: how many were last asked for ("current" in the HPA's code).
    pub current: i32,
    /// `status.replicas`: how many the target's controller sees.
    pub status: i32,
}

/// What the scale subresource says about its pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selector {
    /// It has a selector, and it can be read.
    #[default]
    Valid,
    /// It has none.
    Missing,
    /// It has one that cannot be read.
    Invalid,
    /// It selects pods that another autoscaler's target selects too.
    Ambiguous,
}

/// One unit of scale: a pod, or all the pods of a multi-node group.
///
/// A sample is in the [`Reading`] at the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where it is in its life.
    pub phase: Phase,
    /// Its deletion has begun.
    pub deleting: bool,
    /// It serves: the pod's condition `Ready`; of a group, all of its pods'.
    pub ready: bool,
    /// It will not get ready by waiting: it crash-loops, cannot be scheduled, or is long past the
    /// start-up time of its kind. Neither capacity nor an obstacle.
    pub stuck: bool,
}

impl Replica {
    /// One that runs and serves.
    pub const READY: Self =
        Self { phase: Phase::Running, deleting: false, ready: true, stuck: false };
    /// One that has not begun to run.
    pub const PENDING: Self =
        Self { phase: Phase::Pending, deleting: false, ready: false, stuck: false };
}

/// A pod's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Accepted, not all containers started.
    Pending,
    /// Bound and started.
    Running,
    /// All containers ended well.
    Succeeded,
    /// At least one container ended badly.
    Failed,
    /// The node does not answer.
    Unknown,
}

/// What is known of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A sample per replica.
    PerReplica {
        /// In the order of [`Observation::replicas`]; `None` where there is no usable sample.
        samples: Vec<Option<Milli>>,
        /// Samples of pods that are not among the replicas. The HPA counts them, so
        /// [`Profile::HpaExact`](crate::Profile::HpaExact) does.
        strays: Vec<Milli>,
    },
    /// The one value of an object.
    Object(Milli),
    /// The values of an external metric; at least one.
    External(Vec<Milli>),
    /// One value that is made of all replicas together, such as a quantile of all their events.
    Pooled {
        /// `None` where there were too few events to say anything, which is not zero.
        value: Option<Milli>,
        /// Which replicas have contributed, in the order of [`Observation::replicas`].
        reported: Vec<bool>,
    },
    /// One number for the whole target, from somebody who knows and is none of its replicas.
    Total {
        /// The number.
        value: Milli,
        /// Whether everybody who should have contributed has. What is not complete may grow the target, and never
        /// shrinks it.
        complete: bool,
    },
    /// Nothing: the fetch failed, or was answered with nothing. Why is the caller's to keep.
    Failed,
}
