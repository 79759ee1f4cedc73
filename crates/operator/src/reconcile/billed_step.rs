//! The latest step that was billed, by which a step may leave its bill to a later one.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_core::{Monotonic, ReplicaReason};
use llm_autoscaler_observe::pod::Members;

/// The longest time for which a bill waits while the same replicas exist for the same reasons: one
/// bill of that time has the same sums as one at each step.
const WAITS: Duration = Duration::from_secs(5);

/// The latest step that was billed.
pub(super) struct BilledStep {
    /// The pods that there were.
    pub members: Members,
    /// The reasons of the replicas.
    pub reasons: Vec<ReplicaReason>,
    /// Its time.
    pub at: Monotonic,
}

impl BilledStep {
    /// Returns whether a step may leave the time since this one to a later bill.
    pub(super) fn goes_on(
        &self,
        members: &Members,
        reasons: &[ReplicaReason],
        now: Monotonic,
    ) -> bool {
        Arc::ptr_eq(&self.members, members) && self.reasons == reasons && now.since(self.at) < WAITS
    }
}

#[cfg(test)]
mod tests {
    use ReplicaReason::{HeldByWindow, Needed};

    use super::*;

    #[test]
    fn a_bill_waits_while_neither_pods_nor_reasons_change() {
        let at = |ms| Monotonic(Duration::from_millis(ms));
        let (members, others) = (Members::default(), Members::default());
        let reasons = vec![Needed, HeldByWindow];
        let step = BilledStep { members: members.clone(), reasons, at: at(1000) };
        // pods, reasons, the time; whether the bill waits
        let table = [
            (&members, [Needed, HeldByWindow], 1001, true),
            (&members, [Needed, HeldByWindow], 5999, true),
            (&members, [Needed, HeldByWindow], 6000, false),
            (&members, [Needed, Needed], 1001, false),
            (&others, [Needed, HeldByWindow], 1001, false),
        ];
        for (row, (members, reasons, now, expected)) in table.into_iter().enumerate() {
            assert_eq!(step.goes_on(members, &reasons, at(now)), expected, "row {row}");
        }
    }
}
