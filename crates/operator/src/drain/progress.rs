//! What there is to tell of draining; the words are the report's.

use chrono::{DateTime, Utc};

use llm_autoscaler_observe::workload::Rollout;

/// What there is to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Whether scale-downs drain.
    pub is_on: bool,
    /// A scale-down that waits for its victims.
    pub waiting: Option<Waiting>,
    /// A scale-down that is drained, and waits for that of another role: from and to.
    pub for_role: Option<(i32, i32)>,
    /// The rollout that a scale-down waits for.
    pub held: Option<Rollout>,
    /// The rollout that it does not wait for any more.
    pub stuck: Option<Rollout>,
    /// How the last one ended.
    pub ended: Option<Ended>,
    /// Why requests may be cut off all the same.
    pub best_effort: Option<BestEffort>,
    /// Why pods cannot be put in service: whether that is not permitted, and what the API server says.
    pub gate: Option<(bool, String)>,
}

/// A scale-down that waits for its victims.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The size as it is.
    pub from: i32,
    /// As it is to be.
    pub to: i32,
    /// Who goes.
    pub victims: Vec<Left>,
    /// Until when they are waited for.
    pub until: DateTime<Utc>,
}

/// What a replica has still to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Left {
    /// Its first pod.
    pub name: String,
    /// How many requests; `None` where nobody says.
    pub requests: Option<u64>,
}

/// A scale-down that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The size before.
    pub from: i32,
    /// The size after.
    pub to: i32,
    /// How it ended.
    pub how: How,
}

/// How a scale-down ended.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// All victims were empty, after so many seconds.
    Drained {
        /// Since the first of them was taken out of service.
        seconds: i64,
    },
    /// The deadline of these passed before they were.
    Late(Vec<Left>),
    /// Fewer were not wanted any more.
    Cancelled,
}

/// Why requests may be cut off all the same.
#[derive(Clone, Debug, PartialEq)]
pub enum BestEffort {
    /// These pods do not have the gate, and get requests to their end.
    NoGate(Vec<String>),
    /// The operator may not take pods out of service.
    NotPermitted,
    /// The operator may not mark replicas for removal.
    NotMarked {
        /// The `ClusterRole` that would let it.
        role: &'static str,
        /// What the API server said.
        error: String,
    },
    /// Nobody can say whom a smaller size removes.
    UnknownVictims,
    /// The engine does not say how many requests it has.
    RequestsUnknown,
}
