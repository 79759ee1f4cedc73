//! Metrics that are computed over all replicas, such as a quantile of all their events. The HPA has
//! no such kind.
//!
//! The proposal is that of a `Value` target: ratio × ready replicas. The quorum counts the replicas
//! that have contributed.

use super::{outside, per_replica};
use crate::{
    decision::{Counted, MetricError, Proposal},
    observation::{Observation, Reading},
    policy::Policy,
    profile::Profile,
    units::Milli,
};

/// Returns the counted replicas where enough of them have reported, and they had too few events for
/// a value.
///
/// Without a quorum the metric has failed instead, because the events of the other replicas are
/// unknown.
pub(super) fn without_events(
    profile: Profile,
    reading: &Reading,
    observation: &Observation,
) -> Option<Counted> {
    let Reading::Pooled { value: None, reported } = reading else { return None };
    let counted = per_replica::count(profile, observation, reported);
    (counted.ready > 0 && counted.is_quorum()).then_some(counted)
}

/// Returns the proposal of a pooled metric.
pub(super) fn propose(
    policy: &Policy,
    value: Option<Milli>,
    reported: &[bool],
    target: Milli,
    observation: &Observation,
) -> Result<Proposal, MetricError> {
    let value = value.ok_or(MetricError::NoSamples)?;
    let counted = per_replica::count(policy.profile, observation, reported);
    let proposal = outside::propose_value(policy, value.0, target, observation)?;
    Ok(Proposal { counted, ..proposal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::decide,
        decision::{Decision, Hold, MetricOutcome, Outcome},
        history::History,
        observation::Replica,
        policy::{MetricKind, MetricPolicy, Target},
        tests::support::{at, legacy_policy, observed, ready},
    };

    const READY: Replica = Replica::READY;

    /// Decides on a TTFT against a target of 2 s, of replicas that have reported or have not.
    fn decided(value: Option<i64>, replicas: &[(Replica, bool)]) -> Decision {
        let ttft =
            MetricPolicy { kind: MetricKind::Pooled, target: Target::Value(Milli::whole(2)) };
        let policy = Policy { metrics: vec![ttft], profile: Profile::Default, ..legacy_policy() };
        let states: Vec<_> = replicas.iter().map(|(replica, _)| (*replica, None)).collect();
        let mut observation = observed(replicas.len() as i32, &states);
        let reported = replicas.iter().map(|(_, reported)| *reported).collect();
        observation.readings = vec![Reading::Pooled { value: value.map(Milli::whole), reported }];
        decide(&policy, &History::default(), &observation, at(0))
    }

    fn desired(value: i64, replicas: &[(Replica, bool)]) -> (i32, Option<Hold>) {
        match decided(Some(value), replicas).outcome {
            Outcome::Computed(derivation) => (derivation.raw, derivation.held),
            outcome => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn the_proposal_is_the_ratio_times_the_ready_replicas() {
        let pending = (Replica::PENDING, false);
        assert_eq!(desired(4, &[(READY, true); 3]), (6, None));
        assert_eq!(desired(4, &[(READY, true), (READY, true), pending]), (4, None));
        assert_eq!(desired(1, &[(READY, true); 4]), (2, None));
    }

    #[test]
    fn a_scale_down_needs_a_quorum() {
        let mut replicas = [(READY, true); 4];
        replicas[0].1 = false;
        assert_eq!(desired(1, &replicas), (2, Some(Hold::NoQuorum)), "three of four");
        assert_eq!(desired(4, &replicas), (8, None), "growing needs no quorum");
        let mut replicas = [(READY, true); 5];
        replicas[0].1 = false;
        assert_eq!(desired(1, &replicas), (3, None), "four of five");
    }

    #[test]
    fn too_few_events_are_no_failure_if_enough_replicas_have_reported() {
        let outcome = |reported| decided(None, &[(READY, true), (READY, reported)]);
        let all = outcome(true);
        assert_eq!(all.outcome, Outcome::NoEvents);
        assert!(matches!(all.metrics[0], MetricOutcome::NoEvents(Counted { ready: 2, .. })));
        assert_eq!(all.rescale(), None);
        assert_eq!(outcome(false).outcome, Outcome::NoMetrics { first: 0, failed: 1 });
    }

    #[test]
    fn a_metric_without_events_keeps_no_other_from_scaling_down() {
        let ttft =
            MetricPolicy { kind: MetricKind::Pooled, target: Target::Value(Milli::whole(2)) };
        let mut policy = Policy { profile: Profile::Default, ..legacy_policy() };
        policy.metrics.insert(0, ttft);
        let mut observation = ready(&[Some(1), Some(1)]);
        for (reported, expected) in [(vec![true; 2], Some(1)), (vec![false; 2], None)] {
            let pooled = Reading::Pooled { value: None, reported };
            observation.readings = vec![pooled, observation.readings.pop().unwrap()];
            let decision = decide(&policy, &History::default(), &observation, at(0));
            let raw = match decision.outcome {
                Outcome::Computed(derivation) => Some(derivation.raw),
                _ => None,
            };
            assert_eq!(raw, expected);
        }
    }
}
