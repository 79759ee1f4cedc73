//! The progress of a target's scale-downs, for the status, which has the texts.

use chrono::{DateTime, Utc};
use llm_autoscaler_observe::workload::Rollout;

/// The progress of a target's scale-downs. What few targets have is in boxes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DrainProgress {
    /// True where scale-downs drain.
    pub is_on: bool,
    /// A scale-down that waits for the requests of its victims.
    pub waiting: Option<Box<PendingDrain>>,
    /// A scale-down that is drained, and waits for that of another role.
    pub for_role: Option<SizeStep>,
    /// The rollout that a scale-down waits for.
    pub held: Option<Rollout>,
    /// The rollout that a scale-down does not wait for any more.
    pub stuck: Option<Rollout>,
    /// The latest scale-down that is over.
    pub finished: Option<Box<FinishedDrain>>,
    /// The reason why requests may be cut off although scale-downs drain.
    pub best_effort: Option<Box<BestEffort>>,
    /// The reason why the readiness gates of pods cannot be written.
    pub gate: Option<Box<GateProblem>>,
}

impl DrainProgress {
    /// Returns whether a scale-down is under way, or waits for something.
    pub(crate) fn is_under_way(&self) -> bool {
        let Self { waiting, for_role, held, stuck, .. } = self;
        waiting.is_some() || for_role.is_some() || held.is_some() || stuck.is_some()
    }
}

/// A smaller size that is still to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeStep {
    /// The current size.
    pub from: i32,
    /// The desired size.
    pub to: i32,
}

/// A scale-down that waits for the requests of its victims.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PendingDrain {
    /// The current size.
    pub from: i32,
    /// The desired size.
    pub to: i32,
    /// The replicas that are to be removed.
    pub victims: Vec<RemainingRequests>,
    /// The time at which the last deadline passes.
    pub until: DateTime<Utc>,
}

/// The requests that a replica has left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RemainingRequests {
    /// The name of its first pod.
    pub name: String,
    /// The number of requests; `None` where it is not known.
    pub requests: Option<u64>,
}

/// A scale-down that is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FinishedDrain {
    /// The size before.
    pub from: i32,
    /// The size after.
    pub to: i32,
    /// The end of the scale-down.
    pub outcome: DrainOutcome,
}

/// The end of a scale-down.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DrainOutcome {
    /// All victims had answered their requests.
    Drained {
        /// The time since the first of them left its Services.
        seconds: i64,
    },
    /// The deadline of these victims passed before they had.
    Late(Vec<RemainingRequests>),
    /// The smaller size was not desired any more.
    Cancelled,
}

/// The reason why the readiness gates of pods cannot be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GateProblem {
    /// The API server has refused it for lack of permission.
    pub is_forbidden: bool,
    /// The answer of the API server.
    pub text: String,
}

/// The reason why requests may be cut off although scale-downs drain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BestEffort {
    /// These pods do not have the readiness gate, and get requests until they are deleted.
    NoGate(Vec<String>),
    /// The operator may not write the readiness gates of pods.
    NotPermitted,
    /// The operator may not mark replicas for removal.
    NotMarked {
        /// The `ClusterRole` that grants it.
        role: &'static str,
        /// The answer of the API server.
        error: String,
    },
    /// It is not known which replicas a smaller size removes.
    UnknownVictims,
    /// The engine has no series that counts its requests.
    RequestsUnknown,
}
