//! The names of the core's values in answers. They are part of the format, so they are written out.

use chrono::{DateTime, Utc};
use llm_autoscaler_core::{Basis, DrainAction, Hold, Outcome, ReplicaState, WaitingOn};

pub(super) fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Usable => "Usable",
        Basis::BeyondDoubt => "BeyondDoubt",
        Basis::InDoubt => "InDoubt",
    }
}

pub(super) fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Disabled => "Disabled",
        Outcome::OutOfBounds { .. } => "OutOfBounds",
        Outcome::NoSelector => "NoSelector",
        Outcome::NoMetrics { .. } => "NoMetrics",
        Outcome::NoEvents => "NoEvents",
        Outcome::Fallback { .. } => "Fallback",
        Outcome::Computed(_) => "Computed",
    }
}

pub(super) fn hold(hold: Hold) -> &'static str {
    match hold {
        Hold::NoQuorum => "NoQuorum",
        Hold::Incomplete => "Incomplete",
        Hold::Doubt => "Doubt",
        Hold::Surplus => "Surplus",
    }
}

pub(super) fn waiting_on(waits: WaitingOn) -> &'static str {
    match waits {
        WaitingOn::Pause => "Pause",
        WaitingOn::ManualChange => "ManualChange",
        WaitingOn::Contest { .. } => "Contest",
        WaitingOn::Pace { .. } => "Pace",
        WaitingOn::Workload => "Workload",
        WaitingOn::Rollout => "Rollout",
        WaitingOn::Requests { .. } => "Requests",
    }
}

/// Returns the time at which a wait ends, where it is known.
pub(super) fn waits_until(waits: WaitingOn) -> Option<DateTime<Utc>> {
    match waits {
        WaitingOn::Requests { until }
        | WaitingOn::Contest { until }
        | WaitingOn::Pace { until } => Some(until),
        WaitingOn::Pause | WaitingOn::ManualChange | WaitingOn::Workload | WaitingOn::Rollout => {
            None
        }
    }
}

pub(super) fn drain_action(action: &DrainAction) -> &'static str {
    match action {
        DrainAction::Keep => "Keep",
        DrainAction::Release => "Release",
        DrainAction::ReleaseUnknown => "ReleaseUnknown",
        DrainAction::Step(_) => "Step",
    }
}

pub(super) fn replica_state(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::NotCreated => "NotCreated",
        ReplicaState::Starting => "Starting",
        ReplicaState::Ready => "Ready",
        ReplicaState::Unready => "Unready",
        ReplicaState::Asleep => "Asleep",
        ReplicaState::Wedged => "Wedged",
        ReplicaState::Ending => "Ending",
        ReplicaState::Ended => "Ended",
        ReplicaState::Stuck => "Stuck",
    }
}
