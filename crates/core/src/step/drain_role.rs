//! From the granted size to the size that can be written now: blocks, rollouts and drains come
//! between.

use chrono::{DateTime, Utc};

use super::{RoleConfig, RoleObservation, WriteBlock};
use crate::{
    decision::Decision,
    drain::{Candidate, DrainStep, Removal, Verdict, drain},
    units::Resize,
};

/// The observation of a target for scale-downs that drain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainObservation {
    /// Which replicas a smaller size removes; `None` where that is not known.
    pub removal: Option<Removal>,
    /// The replicas that could be removed.
    pub candidates: Vec<Candidate>,
    /// The target's own object.
    pub workload: WorkloadState,
}

/// The knowledge of the target's own object, as far as a scale-down depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkloadState {
    /// It has not been read, or too long ago.
    #[default]
    Unread,
    /// It could not be read.
    Unreadable,
    /// It was read.
    Read {
        /// A rollout is in progress and makes progress, so nothing shrinks.
        rollout_holds: bool,
    },
}

/// The change to the readiness gates of a target's pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainAction {
    /// Nothing changes: what a scale-down depends on is not known yet.
    Keep,
    /// All pods are in service: scale-downs of this target do not drain.
    Release,
    /// All pods are in service: which of them a smaller size removes is not known.
    ReleaseUnknown,
    /// The victims of the step leave their Services; all others are in service.
    Step(DrainStep),
}

/// The event that a decided change of size waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// For the autoscaler to be resumed.
    Pause,
    /// For the end of the time during which a change by something else is respected.
    ManualChange,
    /// For the time between two writes of a size that something else undoes again and again.
    Contest {
        /// When the next write may be made.
        until: DateTime<Utc>,
    },
    /// For the pace of writes: the target, or its namespace, has had too many of late.
    Pace {
        /// When the next write may be made. It is decided anew then.
        until: DateTime<Utc>,
    },
    /// For the target's own object to be read.
    Workload,
    /// For a rollout to complete.
    Rollout,
    /// For the requests of the replicas that are to be removed.
    Requests {
        /// When the last deadline passes.
        until: DateTime<Utc>,
    },
}

/// The part of a role's plan that is about the write.
pub(super) struct Drained {
    pub(super) action: DrainAction,
    pub(super) write: Option<i32>,
    pub(super) goal: i32,
    pub(super) waits: Option<WaitingOn>,
}

pub(super) fn drain_role(
    config: &RoleConfig,
    observed: &RoleObservation<'_>,
    decision: &Decision,
    now: DateTime<Utc>,
) -> Drained {
    let current = decision.current;
    let blocked = observed.block.is_blocked();
    let desired = decision.desired().filter(|_| !blocked).unwrap_or(current);
    let resize = Resize { current, desired };
    let direct = Drained {
        action: DrainAction::Release,
        write: (desired != current).then_some(desired),
        goal: desired,
        waits: blocking(observed, decision),
    };
    let Some(deadline) = config.drain_deadline else { return direct };
    let DrainObservation { removal, candidates, workload } = &observed.drain;
    let goal = match removal {
        Some(removal) if resize.is_scale_down() => removal.size_after_one_write(resize),
        _ => desired,
    };
    if resize.is_scale_down()
        && let WorkloadState::Unread | WorkloadState::Unreadable = workload
    {
        let waits = Some(WaitingOn::Workload);
        return Drained { action: DrainAction::Keep, write: None, goal, waits };
    }
    let Some(removal) = *removal else {
        return Drained { action: DrainAction::ReleaseUnknown, ..direct };
    };
    let held = resize.is_scale_down() && *workload == WorkloadState::Read { rollout_holds: true };
    let drained = Resize { current, desired: if held { current } else { desired } };
    let step = drain(removal, drained, deadline, candidates, now);
    let (write, waits) = match step.verdict {
        Verdict::Write { to, .. } => (Some(to), direct.waits),
        Verdict::Wait { until } => (None, Some(WaitingOn::Requests { until })),
        Verdict::Idle if held => (None, Some(WaitingOn::Rollout)),
        Verdict::Idle => ((desired > current).then_some(desired), direct.waits),
    };
    Drained { action: DrainAction::Step(step), write, goal, waits }
}

/// The block that keeps a decided change from being written.
fn blocking(observed: &RoleObservation<'_>, decision: &Decision) -> Option<WaitingOn> {
    decision.rescale()?;
    let WriteBlock { paused, manual_change, contested_until } = observed.block;
    if paused {
        Some(WaitingOn::Pause)
    } else if manual_change {
        Some(WaitingOn::ManualChange)
    } else {
        contested_until.map(|until| WaitingOn::Contest { until })
    }
}
