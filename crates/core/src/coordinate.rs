//! Coordination of roles: the sizes of several targets of one service, such as prefill and decode,
//! where each has its own decision and all share a ratio and limits.
//!
//! ```text
//! demands ─> enforce the ratio ─> fit the shared limits ─> grow into the free room ─> sizes
//! ```
//!
//! Invariants: a role never loses a replica it demands to another role, unless the ratio or a
//! shared limit is violated already. A size in doubt never shrinks. A role gets no more than its
//! demand, except for the ratio. Existing plus requested replicas never grow beyond a shared limit.

mod lag;
mod ratio;
mod shared_limits;
#[cfg(test)]
mod tests;
mod write_order;

use std::cmp::Ordering;

use chrono::{DateTime, Utc};

use crate::{
    decision::{Adjustment, CoordinatedSize, Decision, Outcome},
    history::History,
    limit,
    policy::Policy,
};

pub use lag::Lag;
pub use ratio::Ratio;
pub use write_order::next_write;

/// The limits that all roles of a service share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimits {
    /// The allowed ratio of two roles' sizes, if there is one.
    pub ratio: Option<Ratio>,
    /// The maximum number of replicas of all roles together.
    pub max_replicas: i64,
    /// The maximum number of GPUs of all roles together; `None` is no limit.
    pub max_gpus: Option<i64>,
}

/// The demand of one role for one decision, and the range in which coordination may change it. All
/// sizes are in replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoleDemand {
    /// `spec.replicas` as it is now.
    pub current: i32,
    /// The size that the role's own decision asks for; `current` where it asks for none.
    pub demand: i32,
    /// The smallest size that coordination may give the role in this step.
    pub floor: i32,
    /// The largest size that coordination may give the role in this step.
    pub ceiling: i32,
    /// The largest size that the role may ever have: its `maxReplicas`.
    pub max: i32,
    /// The replicas that take up room: those that exist or are requested, and those that are still
    /// terminating.
    pub existing: i32,
    /// The number of requested replicas that do not start; see [`Lag`].
    pub lagging: i32,
    /// The number of GPUs of one replica.
    pub gpus: i64,
    /// True if something else, such as a person, has set the role's size, which is respected.
    pub fixed: bool,
}

impl RoleDemand {
    /// Returns the demand that follows from a role's own decision. With `fixed`, the role keeps its
    /// current size.
    ///
    /// The caller fills in `existing`, `lagging` and `gpus`, which depend on the role's pods; here
    /// they are the current size, 0 and 0.
    pub fn new(
        policy: &Policy,
        history: &History,
        decision: &Decision,
        fixed: bool,
        now: DateTime<Utc>,
    ) -> Self {
        let current = decision.current;
        let max = policy.max_replicas;
        let role = Self { current, max, existing: current, fixed, ..Self::default() };
        if fixed {
            return role.pinned_at(current);
        }
        let reach = limit::reach(policy, history, current, now);
        match &decision.outcome {
            Outcome::Disabled | Outcome::NoSelector => role.pinned_at(current),
            Outcome::OutOfBounds { to, .. } => role.pinned_at(*to),
            // The need is unknown, so the role may grow for the ratio and may not shrink.
            Outcome::NoMetrics { .. } | Outcome::NoEvents => {
                Self { ceiling: reach.highest.max(current), ..role.pinned_at(current) }
            }
            Outcome::Fallback { derivation, .. } => {
                let demand = derivation.desired;
                let ceiling = reach.highest.max(demand);
                Self { floor: current, ceiling, ..role.pinned_at(demand) }
            }
            Outcome::Computed(derivation) => {
                let demand = derivation.desired;
                let lowest = if derivation.held.is_some() { current } else { reach.lowest };
                let (floor, ceiling) = (lowest.min(demand), reach.highest.max(demand));
                Self { floor, ceiling, ..role.pinned_at(demand) }
            }
        }
    }

    /// A role that demands `size` and may have no other.
    fn pinned_at(self, size: i32) -> Self {
        Self { demand: size, floor: size, ceiling: size, ..self }
    }

    /// The replicas that the role is guaranteed: its current size, or its floor if that is larger,
    /// but never more than the agreed size.
    fn guaranteed(&self, agreed: i32) -> i32 {
        self.current.max(self.floor).min(agreed)
    }
}

/// The sizes after each stage of coordination, one per role.
struct Stages {
    /// The sizes that the roles' own decisions ask for.
    demand: Vec<i32>,
    /// The sizes after the ratio.
    agreed: Vec<i32>,
    /// The sizes after the shared limits.
    fitting: Vec<i32>,
    /// The sizes for which there is room now.
    now: Vec<i32>,
}

impl Stages {
    fn new(limits: &SharedLimits, roles: &[RoleDemand]) -> Self {
        let demand: Vec<i32> = roles.iter().map(|role| role.demand).collect();
        let agreed = match limits.ratio {
            Some(ratio) => ratio.wait(roles, &ratio.enforce(roles, &demand)),
            None => demand.clone(),
        };
        let fitting = shared_limits::fit(limits, roles, &agreed);
        let now = shared_limits::grow(limits, roles, &fitting);
        Self { demand, agreed, fitting, now }
    }

    /// The reason for the difference between a role's size and its demand: the first stage that
    /// lowered it, or the ratio, which alone raises sizes.
    fn adjustment(
        &self,
        limits: &SharedLimits,
        roles: &[RoleDemand],
        role: usize,
    ) -> Option<Adjustment> {
        match self.now[role].cmp(&self.demand[role]) {
            Ordering::Equal => None,
            Ordering::Greater => Some(Adjustment::Ratio),
            Ordering::Less if self.agreed[role] < self.demand[role] => {
                let waits = limits.ratio.is_some_and(|ratio| ratio.waits(roles, role));
                Some(if waits { Adjustment::Lagging } else { Adjustment::Ratio })
            }
            Ordering::Less if self.fitting[role] < self.agreed[role] => {
                Some(Adjustment::SharedLimit)
            }
            Ordering::Less => Some(Adjustment::WaitingForRoom),
        }
    }
}

/// Returns one size for each role, in the order of `roles`.
///
/// Example: prefill demands 8 replicas and decode 2. The ratio allows 0.5 to 2 prefill replicas for
/// one decode replica, so decode gets 4.
///
/// ```
/// use llm_autoscaler_core::{Adjustment, Milli, Ratio, RoleDemand, SharedLimits, coordinate};
///
/// let ratio = Ratio { between: [0, 1], min: Some(Milli(500)), max: Some(Milli(2000)) };
/// let limits = SharedLimits { ratio: Some(ratio), max_replicas: 40, max_gpus: None };
/// let role = |current, demand| RoleDemand {
///     current,
///     demand,
///     floor: 1,
///     ceiling: 20,
///     max: 20,
///     existing: current,
///     ..RoleDemand::default()
/// };
/// let [prefill, decode] = coordinate(&limits, &[role(2, 8), role(2, 2)])[..] else {
///     unreachable!("one size for each role")
/// };
/// assert_eq!((prefill.replicas, prefill.adjustment), (8, None));
/// assert_eq!((decode.replicas, decode.adjustment), (4, Some(Adjustment::Ratio)));
/// ```
pub fn coordinate(limits: &SharedLimits, roles: &[RoleDemand]) -> Vec<CoordinatedSize> {
    let stages = Stages::new(limits, roles);
    (0..roles.len())
        .map(|role| CoordinatedSize {
            replicas: stages.now[role],
            adjustment: stages.adjustment(limits, roles, role),
        })
        .collect()
}
