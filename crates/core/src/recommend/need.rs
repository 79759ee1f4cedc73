//! The replicas that a metric asks for, whatever size the target has.
//!
//! A shadow has another size than the one that was observed
//! ([`Shadow`](crate::shadow::Shadow)). A formula of the HPA answers with a number of replicas, or
//! with "the current size stays": within the tolerance, against the direction, and where the
//! samples that are missing may change the answer. The first is the same for every size. The
//! second is about the observed size, so for the shadow the formula is asked again.

use crate::{decision::Proposal, policy::Policy};

/// The proposal of one metric for the observed size, and what it needs whatever the size is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proposed {
    pub(super) proposal: Proposal,
    pub(super) need: Need,
}

/// The replicas that one metric needs, as far as the samples tell. Halted replicas come on top of
/// them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Need {
    /// The need if the replicas without a sample have no load.
    pub(super) least: f64,
    /// The need if each of them is at its target.
    pub(super) most: f64,
    /// True if a size above the need is more than enough. False where the observed size stays
    /// although fewer replicas would do for the load that is known: others start, or those that
    /// have a sample are above their target.
    pub(super) may_shrink: bool,
}

impl Need {
    /// A need that is known.
    pub(super) fn exactly(need: f64) -> Self {
        Self { least: need, most: need, may_shrink: true }
    }

    /// A need of which only this is known.
    pub(super) fn at_least(least: f64) -> Self {
        Self { least, most: f64::INFINITY, may_shrink: false }
    }

    /// Returns the number of replicas that is proposed to a size: what the load asks for, or the
    /// size itself where it is within the tolerance of the need, or between the two ends of it.
    ///
    /// Example: 10 replicas with a ratio of 0.95 may stay, and so may 9, because 9.5 / 9 is within
    /// the tolerance too. But 8 may not, so 10 is proposed to it.
    fn replicas(&self, policy: &Policy, size: i32) -> i32 {
        let current = f64::from(size);
        let is_near = |need: f64| policy.tolerance.hold(need / current);
        if self.least > current && !is_near(self.least) {
            policy.profile.ceil32(self.least)
        } else if self.may_shrink && self.most < current && !is_near(self.most) {
            policy.profile.ceil32(self.most)
        } else {
            size
        }
    }
}

impl Proposed {
    /// Returns the proposal for a target that would have `size` replicas, while `observed` were
    /// observed.
    pub(super) fn for_size(self, policy: &Policy, observed: i32, size: i32) -> Proposal {
        if observed == size {
            return self.proposal;
        }
        let halted = self.proposal.counted.halted as i32;
        let others = self.need.replicas(policy, size.saturating_sub(halted).max(0));
        Proposal { replicas: others.saturating_add(halted), ..self.proposal }
    }
}

#[cfg(test)]
mod tests;
