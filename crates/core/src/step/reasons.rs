//! The reason of each replica's existence, by the rule of the decision that keeps it.

use super::{RoleObservation, drain_role::Drained};
use crate::{
    decision::{Bound, Decision, Derivation, Hold, Limit, Outcome},
    policy::Policy,
    replica_reason::ReplicaReason,
    replica_state::ReplicaState,
    step::DrainAction,
};

/// Returns the reason of each replica, in the order of the observation.
///
/// Replicas that serve are interchangeable: the first of them are the needed ones, up to the number
/// that the metrics ask for, and each further one is there for the rule that raised the number
/// above it. Example: the metrics ask for 2 of 4 replicas, a window recommends 3, and `maxReplicas`
/// is 3: needed, needed, held by a window, above the ceiling.
pub(super) fn reasons(
    policy: &Policy,
    observed: &RoleObservation<'_>,
    decision: &Decision,
    drained: &Drained,
) -> Vec<ReplicaReason> {
    let levels = Levels::new(policy, observed, decision);
    let mut serving = 0;
    let states = observed.states.iter().enumerate();
    states
        .map(|(place, state)| match state {
            ReplicaState::Starting | ReplicaState::NotCreated => ReplicaReason::Starting,
            ReplicaState::Ending | ReplicaState::Ended => ReplicaReason::Draining,
            ReplicaState::Stuck | ReplicaState::Wedged => ReplicaReason::Stuck,
            ReplicaState::Asleep => ReplicaReason::Asleep,
            ReplicaState::Ready | ReplicaState::Unready => {
                if is_victim(&drained.action, observed, place) {
                    return ReplicaReason::Draining;
                }
                serving += 1;
                levels.reason(serving)
            }
        })
        .collect()
}

/// True for a replica that is a victim of the drain. Candidates are the alive replicas, in their
/// order.
fn is_victim(action: &DrainAction, observed: &RoleObservation<'_>, place: usize) -> bool {
    let DrainAction::Step(step) = action else { return false };
    let is_alive =
        |state: &ReplicaState| !matches!(state, ReplicaState::Ending | ReplicaState::Ended);
    let candidate = observed.states[..place].iter().filter(|state| is_alive(state)).count();
    step.victims.contains(&candidate)
}

/// The number of replicas up to which each rule asks for replicas, in the order of the rules.
struct Levels(Vec<(i32, ReplicaReason)>);

impl Levels {
    fn new(policy: &Policy, observed: &RoleObservation<'_>, decision: &Decision) -> Self {
        let mut levels = Vec::with_capacity(6);
        match &decision.outcome {
            Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
                levels.extend(derived(derivation));
            }
            Outcome::NoMetrics { .. } | Outcome::NoEvents | Outcome::NoSelector => {
                levels.push((decision.current, ReplicaReason::HeldByDoubt));
            }
            Outcome::Disabled => levels.push((decision.current, ReplicaReason::Manual)),
            Outcome::OutOfBounds { to, bound: Bound::BelowMin } => {
                levels.push((*to, ReplicaReason::Floor));
            }
            // The metrics were not looked at; a bound or a wake call asks for these.
            Outcome::OutOfBounds { to, bound: Bound::AboveMax | Bound::Wake } => {
                levels.push((*to, ReplicaReason::Needed));
            }
        }
        let granted = decision.desired().unwrap_or(decision.current);
        levels.push((granted, ReplicaReason::Ratio));
        if observed.block.is_blocked() {
            levels.push((decision.current, ReplicaReason::Manual));
        }
        levels.push((policy.max_replicas, ReplicaReason::HeldByWindow));
        Self(levels)
    }

    /// The reason of the replica with this number, counted from 1.
    fn reason(&self, number: i32) -> ReplicaReason {
        let level = self.0.iter().find(|(level, _)| number <= *level);
        level.map_or(ReplicaReason::AboveCeiling, |(_, reason)| *reason)
    }
}

/// The numbers on the way from the metrics' proposal to the desired number, each with what raises
/// it.
fn derived(derivation: &Derivation) -> [(i32, ReplicaReason); 4] {
    let Derivation { raw, recommended, stabilized, desired, limit, held, .. } = *derivation;
    let held = match held {
        Some(Hold::NoQuorum | Hold::Incomplete | Hold::Doubt | Hold::Surplus) => {
            ReplicaReason::HeldByDoubt
        }
        None => ReplicaReason::HeldByWindow,
    };
    let limited = match limit {
        Limit::TooFewReplicas => ReplicaReason::Floor,
        Limit::DesiredWithinRange
        | Limit::TooManyReplicas
        | Limit::ScaleUpLimit
        | Limit::ScaleDownLimit
        | Limit::NotIdleYet => ReplicaReason::HeldByWindow,
    };
    [
        (raw, ReplicaReason::Needed),
        (recommended, held),
        (stabilized, ReplicaReason::HeldByWindow),
        (desired, limited),
    ]
}
