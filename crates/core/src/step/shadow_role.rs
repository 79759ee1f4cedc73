//! The part of a step for a role that only recommends: its shadow stands for the target.

use chrono::{DateTime, Utc};

use super::{RoleMemory, RolePlan, drain_role::Drained};
use crate::{
    bill::Ledger,
    now::Now,
    policy::Policy,
    shadow::{Mode, Shadow, ShadowBill},
    step::DrainAction,
    units::Resize,
};

impl Drained {
    /// Returns what is done about a recommendation: nothing is written, and no pod is touched.
    pub(super) fn nothing(current: i32) -> Self {
        Self { action: DrainAction::Keep, write: None, goal: current, waits: None }
    }
}

impl RolePlan {
    /// Returns the size that the target would have now, if decisions of a role that only
    /// recommends were carried out.
    pub fn recommended(&self) -> i32 {
        self.granted.unwrap_or(self.decision.current)
    }
}

impl RoleMemory {
    /// Follows the mode of the spec. A shadow begins at the size that the target has, with a bill
    /// of its own: another autoscaler knows why the target's replicas exist.
    ///
    /// When it ends, the target's size is adopted: it counts as a recommendation of now, beside
    /// those of the shadow, so that the first size that is written is no jump to what the shadow
    /// had come to.
    pub fn follow_mode(&mut self, mode: Mode, policy: &Policy, current: i32, now: DateTime<Utc>) {
        match (mode, self.shadow.take()) {
            (Mode::Recommend, shadow) => {
                self.shadow = Some(shadow.unwrap_or_else(|| Shadow::new(current)));
                self.bill = Ledger::default();
            }
            (Mode::Scale, Some(_)) => self.history.adopt(policy, current, now),
            (Mode::Scale, None) => {}
        }
    }

    /// Records a decision that was only recommended, for a target with `actual` replicas. Returns
    /// the bill of the time since the decision before it.
    pub fn record_recommended(
        &mut self,
        policy: &Policy,
        plan: &RolePlan,
        actual: i32,
        now: Now,
    ) -> ShadowBill {
        let (from, to) = (plan.decision.current, plan.recommended());
        self.history.record(policy, &plan.decision, now.wall);
        if from != to {
            self.history.record_scale(policy, from, to, now.wall);
        }
        // A later process takes the record's number for the target's own.
        self.history.observe_size(actual);
        self.shadow.get_or_insert_with(|| Shadow::new(actual)).record(actual, to, now)
    }

    /// Returns the size that a decision starts from, while the target has `actual` replicas: its
    /// own, or that of its shadow.
    pub fn size_before(&self, mode: Mode, policy: &Policy, actual: i32) -> i32 {
        let shadow = self.shadow.as_ref().filter(|_| mode == Mode::Recommend);
        shadow.map_or(actual, |shadow| shadow.size(policy, actual))
    }

    /// Goes on after a time in which nothing was decided, with what is known of the target; the
    /// shadow stays at its size.
    pub(super) fn bridge_gap(
        &mut self,
        policy: &Policy,
        resize: impl FnOnce() -> Resize,
        now: DateTime<Utc>,
    ) {
        let resize = match &mut self.shadow {
            Some(shadow) => {
                shadow.interrupt();
                let size = shadow.replicas();
                self.history.observe_size(size);
                Resize { current: size, desired: size }
            }
            None => resize(),
        };
        self.history.bridge_gap(policy, resize, now);
    }
}
