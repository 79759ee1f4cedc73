//! The memory of one target, from step to step.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Write, WriteBlock};
use crate::{
    bill::Ledger,
    coordinate::Lag,
    decision::Decision,
    history::History,
    now::{Monotonic, Now},
    pace::{TARGET_PACE, TokenBucket},
    policy::Policy,
    profile::{Deviation, Profile},
    shadow::Shadow,
    startup_times::StartupTimes,
    units::Resize,
};

/// The memory of one target, from step to step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleMemory {
    /// Past recommendations and changes of size.
    pub history: History,
    /// How long its replicas take to start.
    pub startup_times: StartupTimes,
    /// How many requested replicas do not start.
    pub lag: Lag,
    /// The time of the latest step; `None` before the first one of this process.
    pub latest: Option<Now>,
    /// The pace of its writes.
    pub pace: TokenBucket,
    /// The latest step waited for the first samples.
    pub awaits_samples: bool,
    /// The time of its replicas, by reason.
    pub bill: Ledger,
    /// The size that recommendations would have led to; `None` where decisions are carried out.
    pub shadow: Option<Shadow>,
}

/// The difference between the ways of the two clocks, from step to step, up to which the wall clock
/// has not been set.
const CLOCK_JITTER: TimeDelta = TimeDelta::seconds(2);

impl RoleMemory {
    /// Begins a step. What is remembered moves with the wall clock, if that was set since the
    /// latest step; and if that is longer ago than `longest_gap`, or had no samples yet, the time
    /// between is unknown, so it counts as a restart does, with `resize`. Returns true after a gap.
    pub fn begin_step(
        &mut self,
        policy: &Policy,
        resize: impl FnOnce() -> Resize,
        now: Now,
        longest_gap: Duration,
    ) -> bool {
        let Some(latest) = self.latest.replace(now) else { return false };
        let elapsed = now.monotonic.since(latest.monotonic);
        let set_by = (now.wall - latest.wall) - TimeDelta::from_std(elapsed).unwrap_or_default();
        if set_by.abs() > CLOCK_JITTER {
            self.history.shift(set_by);
            self.bill.shift(set_by);
        }
        let is_gap = elapsed > longest_gap;
        let awaited = std::mem::take(&mut self.awaits_samples);
        if is_gap || (awaited && policy.profile.has(Deviation::UnobservedTime)) {
            self.bridge_gap(policy, resize, now.wall);
        }
        is_gap
    }

    /// Ends a step that waits for the first samples: the window of scale-downs begins with them.
    pub fn await_samples(&mut self) {
        self.awaits_samples = true;
    }

    /// Records a decision, and the size that was written, if any. While the autoscaler is paused,
    /// the current size stands for what was decided.
    pub fn record(
        &mut self,
        policy: &Policy,
        decision: &Decision,
        block: WriteBlock,
        written: Option<Write>,
        now: Now,
    ) {
        if block.paused {
            self.history.record_blocked(policy, decision, now.wall);
        } else {
            self.history.record(policy, decision, now.wall);
        }
        if let Some(Write { from, to, .. }) = written {
            self.history.record_scale(policy, from, to, now.wall);
            self.record_try(now.monotonic);
        }
    }

    /// Records that a write was tried, as [`RoleMemory::record`] does for one that was accepted.
    pub fn record_try(&mut self, now: Monotonic) {
        self.pace.take(TARGET_PACE, 1, now);
    }

    /// Returns when the next write may be made; `None` if it may be made now. The HPA's profile
    /// has no pace but its ticks.
    pub(super) fn next_write(&self, policy: &Policy, now: Now) -> Option<DateTime<Utc>> {
        let at = self.pace.next_token(TARGET_PACE, now.monotonic);
        at.filter(|_| policy.profile != Profile::HpaExact).map(|at| now.wall_at(at))
    }
}
