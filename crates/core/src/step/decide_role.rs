//! The decision of one role, made again where samples in doubt would shrink it.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};

use super::RoleObservation;
use crate::{
    decide::decide_from,
    decision::{Decision, MetricOutcome, Outcome},
    history::History,
    observation::{Doubt, Observation},
    policy::Policy,
};

/// The range of usage divided by target in which a metric is near its target.
const NEAR_TARGET: RangeInclusive<f64> = 0.7..=1.3;

/// The samples that a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Basis {
    /// All usable samples.
    Usable,
    /// Samples beyond doubt only, because the others would have shrunk the target.
    BeyondDoubt,
    /// Samples in doubt, because there are no others. They may keep the size, and not reduce it.
    InDoubt,
}

/// Decides one role, starting from `from` replicas. Samples in doubt never shrink a target: where a
/// decision with them would, it is made again without them, and the larger size of the two is
/// taken: without a sample of much load a target may seem to need fewer. If no metric is left
/// without them, the samples in doubt may keep the size but not reduce it.
///
/// This holds under [`Profile::HpaExact`](crate::Profile::HpaExact) too, because pods are scraped
/// one after the other, while the HPA gets the samples of all of them at once.
pub(super) fn decide_role(
    policy: &Policy,
    history: &History,
    observed: &RoleObservation<'_>,
    from: i32,
    now: DateTime<Utc>,
) -> (Decision, Basis) {
    let decide = |observation| decide_from(policy, history, observation, from, now);
    let decision = decide(observed.usable);
    let Some(beyond_doubt) = observed.beyond_doubt.filter(|_| decision.wants_fewer()) else {
        return (decision, Basis::Usable);
    };
    let strict = decide(beyond_doubt);
    if !matches!(strict.outcome, Outcome::NoMetrics { .. } | Outcome::NoEvents) {
        return if size(&decision) > size(&strict) {
            (decision, Basis::Usable)
        } else {
            (strict, Basis::BeyondDoubt)
        };
    }
    let marked = Observation { doubt: Some(Doubt::Samples), ..observed.usable.clone() };
    (decide(&marked), Basis::InDoubt)
}

/// Returns the desired replicas, and the recommendation for later scale-downs.
fn size(decision: &Decision) -> (Option<i32>, Option<i32>) {
    let recommended = match &decision.outcome {
        Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
            Some(derivation.recommended)
        }
        _ => None,
    };
    (decision.own_desired(), recommended)
}

/// Returns whether a metric is near its target, so that the next sample may change the decision.
pub(super) fn is_near_target(decision: &Decision) -> bool {
    decision.metrics.iter().any(|metric| match metric {
        MetricOutcome::Proposal(proposal) => NEAR_TARGET.contains(&proposal.ratio),
        MetricOutcome::NoEvents(_) | MetricOutcome::Failed(_) => false,
    })
}
