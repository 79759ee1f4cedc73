//! Metrics that are computed over all replicas, such as a quantile of all their events. The HPA has
//! no such kind.
//!
//! The proposal is that of a `Value` target: ratio × ready replicas. The quorum counts the replicas
//! that have contributed.

use super::{
    need::{Need, Proposed},
    outside, per_replica,
};
use crate::{
    decision::{Counted, MetricError, Proposal},
    observation::{Observation, Precision, Reading},
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
    let Reading::Pooled { value: None, reported, .. } = reading else { return None };
    let counted = per_replica::count(profile, observation, reported);
    (counted.ready > 0 && counted.is_quorum()).then_some(counted)
}

/// Returns the proposal of a pooled metric with a value of this precision.
pub(super) fn propose(
    policy: &Policy,
    value: Milli,
    precision: Precision,
    reported: &[bool],
    target: Milli,
    observation: &Observation,
) -> Result<Proposed, MetricError> {
    let counted = per_replica::count(policy.profile, observation, reported);
    let Proposed { proposal, need } = propose_value(policy, value, precision, target, observation)?;
    Ok(Proposed { proposal: Proposal { counted, ..proposal }, need })
}

/// Returns the proposal of a `Value` target. If the value is so imprecise that it may be above the
/// target or below it, the current size is proposed; at zero replicas, one replica.
pub(super) fn propose_value(
    policy: &Policy,
    value: Milli,
    precision: Precision,
    target: Milli,
    observation: &Observation,
) -> Result<Proposed, MetricError> {
    let Proposed { proposal, need } = outside::propose_value(policy, value.0, target, observation)?;
    let proposal = Proposal { precision, ..proposal };
    if precision.tells(value, target) {
        return Ok(Proposed { proposal, need });
    }
    let current = observation.scale.current;
    let one = proposal.replicas.min(1);
    let replicas = if current == 0 { one } else { current };
    let proposal = Proposal { replicas, ..proposal };
    Ok(Proposed { proposal, need: Need::at_least(f64::from(one)) })
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

    fn exact(value: Option<Milli>, reported: Vec<bool>) -> Reading {
        Reading::Pooled { value, precision: Precision::Exact, reported }
    }

    /// Decides on a TTFT against a target of 2 s, of replicas that have reported or have not.
    fn decided(value: Option<i64>, replicas: &[(Replica, bool)]) -> Decision {
        let ttft =
            MetricPolicy { kind: MetricKind::Pooled, target: Target::Value(Milli::whole(2)) };
        let policy = Policy { metrics: vec![ttft], profile: Profile::Default, ..legacy_policy() };
        let states: Vec<_> = replicas.iter().map(|(replica, _)| (*replica, None)).collect();
        let mut observation = observed(replicas.len() as i32, &states);
        let reported = replicas.iter().map(|(_, reported)| *reported).collect();
        observation.readings = vec![exact(value.map(Milli::whole), reported)];
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
            let pooled = exact(None, reported);
            observation.readings = vec![pooled, observation.readings.pop().unwrap()];
            let decision = decide(&policy, &History::default(), &observation, at(0));
            let raw = match decision.outcome {
                Outcome::Computed(derivation) => Some(derivation.raw),
                _ => None,
            };
            assert_eq!(raw, expected);
        }
    }

    #[test]
    fn a_value_beyond_the_buckets_moves_nothing_that_it_does_not_tell() {
        use Precision::{AtLeast, AtMost, Exact};
        let bound = |thousandths| AtMost(Milli(thousandths));
        // value and precision, target, and replicas of four; all in thousandths
        let table = [
            ("more than 60, at a target of 120", 60_000, AtLeast, 120_000, 4),
            ("60, at a target of 120", 60_000, Exact, 120_000, 2),
            ("more than 60, at a target of 30", 60_000, AtLeast, 30_000, 8),
            ("more than 60, at a target of 60", 60_000, AtLeast, 60_000, 4),
            ("less than 0.3, at a target of 0.2", 270, bound(300), 200, 4),
            ("0.27, at a target of 0.2", 270, Exact, 200, 6),
            ("less than 0.3, estimated below the target of 0.2", 100, bound(300), 200, 4),
            ("less than 0.3, at a target of 1", 270, bound(300), 1_000, 2),
            ("less than 0.3, at a target of 0.3", 150, bound(300), 300, 2),
        ];
        for profile in [Profile::Default, Profile::HpaExact] {
            for (name, value, precision, target, expected) in table {
                let observation = observed(4, &[(READY, None); 4]);
                let policy = Policy { profile, ..legacy_policy() };
                let (value, target) = (Milli(value), Milli(target));
                let metric =
                    MetricPolicy { kind: MetricKind::Pooled, target: Target::Value(target) };
                let readings = [
                    Reading::Pooled { value: Some(value), precision, reported: vec![true; 4] },
                    Reading::Total { value, precision, complete: true },
                ];
                for reading in readings {
                    let found = super::super::propose(&policy, &metric, &reading, &observation);
                    assert_eq!(found.unwrap().replicas, expected, "{name}: {reading:?}");
                }
            }
        }
    }

    #[test]
    fn a_value_beyond_the_buckets_wakes_one_replica() {
        let observation = observed(0, &[]);
        for precision in [Precision::AtLeast, Precision::AtMost(Milli(900))] {
            let (value, target) =
                (Milli(800), Milli(if precision == Precision::AtLeast { 2_000 } else { 100 }));
            let found = propose_value(&legacy_policy(), value, precision, target, &observation);
            assert_eq!(found.unwrap().proposal.replicas, 1, "{precision:?}");
        }
    }
}
