//! The step: the order in which the parts are asked.

use chrono::{DateTime, Utc};

use crate::recommend::{recommend, winner};
use crate::{
    Bound, Decision, Derivation, Deviation, Doubt, History, Hold, Limit, MetricKind, MetricOutcome,
    Observation, Outcome, Policy, Reading, Reason, Recommendation, Scale, Selector, Stabilization, ToZero,
    limit, stabilize,
};

/// One step: the number of replicas that `observation` calls for, under `policy`, given `history`.
///
/// The part of the HPA's reconcile between reading the scale and writing it. Nothing is remembered here: the
/// caller passes the decision to [`History::record`], and a written change to [`History::scaled`].
pub fn decide(policy: &Policy, history: &History, observation: &Observation, now: DateTime<Utc>) -> Decision {
    let current = observation.scale.current;
    let without_metrics = |outcome| Decision { current, outcome, metrics: Vec::new() };
    if let Some(outcome) = shortcut(policy, observation) {
        return without_metrics(outcome);
    }
    if observation.selector != Selector::Valid {
        return without_metrics(Outcome::NoSelector);
    }
    let metrics = recommend(policy, observation);
    let outcome = match verdict(policy, &metrics, observation) {
        Ok(recommended) => Outcome::Computed(derive(policy, history, observation, &recommended, now)),
        Err(Outcome::Blind { first, failed }) => match fallback(policy, history, (current, failed), now) {
            Some(recommended) => {
                let mut derivation = derive(policy, history, observation, &recommended, now);
                derivation.reason = derivation.reason.map(|_| Reason::Fallback);
                Outcome::Fallback { first, failed, derivation }
            }
            None => Outcome::Blind { first, failed },
        },
        Err(outcome) => outcome,
    };
    Decision { current, outcome, metrics }
}

/// What is asked for while nobody knows: at least the policy's number, once nobody has known for long enough.
fn fallback(
    policy: &Policy,
    history: &History,
    (current, failed): (i32, usize),
    now: DateTime<Utc>,
) -> Option<Recommended> {
    let fallback = policy.fallback?;
    let blind_since = history.blind_since()?;
    let raw = fallback.replicas.max(current);
    let due = failed == policy.metrics.len() && now - blind_since >= fallback.after;
    due.then_some(Recommended { winner: 0, failed, raw, held: None })
}

/// Where the bounds alone, or a target at zero, say it all.
fn shortcut(policy: &Policy, observation: &Observation) -> Option<Outcome> {
    let Policy { min_replicas, max_replicas, .. } = *policy;
    match observation.scale.current {
        0 if leaves_zero(policy, observation) => {
            let to = min_replicas.max(1);
            observation.woken.then_some(Outcome::OutOfBounds { to, bound: Bound::Asleep })
        }
        0 => Some(Outcome::Disabled),
        current if current > max_replicas => {
            Some(Outcome::OutOfBounds { to: max_replicas, bound: Bound::AboveMax })
        }
        current if current < min_replicas => {
            Some(Outcome::OutOfBounds { to: min_replicas, bound: Bound::BelowMin })
        }
        _ => None,
    }
}

/// Only who scaled to zero scales from zero, and only where something can say when.
fn leaves_zero(policy: &Policy, observation: &Observation) -> bool {
    let ours = observation.scaled_to_zero && policy.settings.scale_to_zero;
    ours && (policy.min_replicas != 0 || policy.can_leave_zero())
}

/// What the metrics say together.
struct Recommended {
    winner: usize,
    failed: usize,
    raw: i32,
    held: Option<Hold>,
}

/// The highest proposal, unless a metric that failed might have been higher.
fn verdict(
    policy: &Policy,
    metrics: &[MetricOutcome],
    observation: &Observation,
) -> Result<Recommended, Outcome> {
    let current = observation.scale.current;
    let is_failure = |metric: &MetricOutcome| matches!(metric, MetricOutcome::Failed(_));
    let failed = metrics.iter().filter(|metric| is_failure(metric)).count();
    let first = metrics.iter().position(is_failure).unwrap_or_default();
    let Some((winner, raw)) = winner(metrics) else {
        let silent = failed == 0 && !metrics.is_empty();
        return Err(if silent { Outcome::Silent } else { Outcome::Blind { first, failed } });
    };
    if failed > 0 && raw < current {
        return Err(Outcome::Blind { first, failed });
    }
    let held = if raw < current { hold(policy, metrics, observation) } else { None };
    Ok(Recommended { winner, failed, raw, held })
}

/// What keeps the target from shrinking although no metric that was computed wants what there is.
fn hold(policy: &Policy, metrics: &[MetricOutcome], observation: &Observation) -> Option<Hold> {
    let incomplete = |reading: &Reading| matches!(reading, Reading::Total { complete: false, .. });
    if lacks_quorum(policy, metrics) {
        Some(Hold::NoQuorum)
    } else if observation.readings.iter().any(incomplete) {
        Some(Hold::Incomplete)
    } else {
        observation.doubt.map(|doubt| match doubt {
            Doubt::Samples => Hold::Doubt,
            Doubt::Surplus => Hold::Surplus,
        })
    }
}

/// Whether a metric rests on samples from fewer than four fifths of the replicas that could have one.
fn lacks_quorum(policy: &Policy, metrics: &[MetricOutcome]) -> bool {
    let of_replicas =
        |index: usize| matches!(policy.metrics[index].kind, MetricKind::PerReplica | MetricKind::Pooled);
    policy.profile.has(Deviation::Quorum)
        && metrics.iter().enumerate().any(|(index, metric)| match metric {
            MetricOutcome::Proposal(proposal) => of_replicas(index) && !proposal.counted.is_quorum(),
            MetricOutcome::Silent(_) | MetricOutcome::Failed(_) => false,
        })
}

/// From the proposal to the number that is asked for.
fn derive(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    metrics: &Recommended,
    now: DateTime<Utc>,
) -> Derivation {
    let Recommended { winner, failed, raw, held } = *metrics;
    let Scale { current, .. } = observation.scale;
    let awake = stays_awake(policy, history, observation, raw, now);
    let proposed = raw.max(i32::from(awake));
    let recommended = if held.is_some() { current } else { proposed };

    let first = [Recommendation { replicas: current, at: now }];
    let past = history.recommendations().unwrap_or(&first);
    let (stabilized, (limited, limit)) = match &policy.behavior {
        None => {
            let window = policy.settings.downscale_stabilization;
            let highest = stabilize::legacy(past, window, recommended, now);
            let stabilized = never_growing(policy, highest, current.max(recommended));
            (stabilized, limit::legacy(policy, history, current, stabilized, now))
        }
        Some(behavior) => {
            let stabilized = stabilize::with_behavior(past, behavior, current, recommended, now);
            (stabilized, limit::with_behavior(policy, behavior, history, current, stabilized, now))
        }
    };
    let limit = if awake && limited == 1 { Limit::NotIdleYet } else { limit };
    let below_min = current == 0 && limited < policy.min_replicas;
    Derivation {
        winner,
        failed,
        raw,
        recommended,
        stabilized,
        stabilization: stabilization(policy, current, recommended, stabilized),
        limited,
        limit,
        desired: if below_min { policy.min_replicas } else { limited },
        reason: reason(current, proposed).or(below_min.then_some(Reason::BelowMin)),
        held,
    }
}

/// Whether the last replica stays although nothing is asked for: not for long enough yet, or somebody has just called.
fn stays_awake(
    policy: &Policy,
    history: &History,
    observation: &Observation,
    raw: i32,
    now: DateTime<Utc>,
) -> bool {
    let Some(ToZero { after }) = policy.to_zero else { return false };
    let idle = history.idle_since().is_some_and(|since| now - since >= after);
    raw < 1 && observation.scale.current > 0 && (observation.woken || !idle)
}

/// The legacy window holds what there is; what there was, before someone made it fewer, is past.
fn never_growing(policy: &Policy, highest: i32, ceiling: i32) -> i32 {
    if policy.profile.has(Deviation::WindowNeverGrows) { highest.min(ceiling) } else { highest }
}

fn stabilization(policy: &Policy, current: i32, recommended: i32, stabilized: i32) -> Stabilization {
    if stabilized == recommended {
        Stabilization::None
    } else if policy.behavior.is_some() && recommended >= current {
        Stabilization::Up
    } else {
        Stabilization::Down
    }
}

/// Compared before any window or limit, as the HPA does.
fn reason(current: i32, proposed: i32) -> Option<Reason> {
    match proposed.cmp(&current) {
        std::cmp::Ordering::Greater => Some(Reason::AboveTarget),
        std::cmp::Ordering::Less => Some(Reason::AllBelowTarget),
        std::cmp::Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, legacy_policy, policy_with_windows, ready};
    use crate::{Fallback, MetricPolicy, Milli, Profile, Reading, Target};

    const OBJECT: MetricPolicy =
        MetricPolicy { kind: MetricKind::Object, target: Target::Value(Milli::whole(10)) };

    fn outcome(policy: &Policy, observation: &Observation) -> Outcome {
        decide(policy, &History::default(), observation, at(0)).outcome
    }

    #[test]
    fn bounds_come_before_metrics() {
        let policy = Policy { min_replicas: 2, max_replicas: 4, ..legacy_policy() };
        let broken = |current| Observation {
            scale: Scale { current, status: current },
            selector: Selector::Missing,
            ..Observation::default()
        };
        let table = [
            (0, Outcome::Disabled),
            (1, Outcome::OutOfBounds { to: 2, bound: Bound::BelowMin }),
            (5, Outcome::OutOfBounds { to: 4, bound: Bound::AboveMax }),
            (2, Outcome::NoSelector),
            (4, Outcome::NoSelector),
        ];
        for (current, expected) in table {
            assert_eq!(outcome(&policy, &broken(current)), expected, "{current}");
        }
    }

    #[test]
    fn zero_is_left_only_by_who_went_there() {
        // ours, gate, minimum, desired
        let table = [
            (true, true, 0, Some(3)),
            (true, true, 5, Some(5)),
            (false, true, 0, None),
            (true, false, 0, None),
        ];
        for (ours, gate, min_replicas, expected) in table {
            let mut policy = Policy { min_replicas, metrics: vec![OBJECT], ..legacy_policy() };
            policy.settings.scale_to_zero = gate;
            let observation = Observation {
                scaled_to_zero: ours,
                readings: vec![Reading::Object(Milli::whole(25))],
                ..Observation::default()
            };
            let decision = decide(&policy, &History::default(), &observation, at(0));
            assert_eq!(decision.rescale(), expected, "{ours} {gate} {min_replicas}");
        }
    }

    #[test]
    fn without_an_outside_metric_zero_is_left_for_a_minimum_only() {
        let observation = Observation { scaled_to_zero: true, ..Observation::default() };
        for (min_replicas, expected) in [(0, Outcome::Disabled), (1, Outcome::Blind { first: 0, failed: 1 })]
        {
            let policy = Policy { min_replicas, ..legacy_policy() };
            assert_eq!(outcome(&policy, &observation), expected, "{min_replicas}");
        }
    }

    #[test]
    fn the_minimum_is_the_reason_where_nothing_else_left_zero() {
        let with_behavior = policy_with_windows(Profile::HpaExact, 0, 0);
        // What leaves zero without `behavior` is the limit, and it gives no reason.
        for (policy, expected) in [(with_behavior, Some(Reason::BelowMin)), (legacy_policy(), None)] {
            let policy = Policy { min_replicas: 2, metrics: vec![OBJECT], ..policy };
            let observation = Observation {
                scaled_to_zero: true,
                readings: vec![Reading::Object(Milli(0))],
                ..Observation::default()
            };
            let Outcome::Computed(derivation) = outcome(&policy, &observation) else {
                panic!("not computed")
            };
            assert_eq!((derivation.desired, derivation.reason), (2, expected));
        }
    }

    #[test]
    fn a_failed_metric_lets_the_target_grow_and_not_shrink() {
        let policy = Policy { metrics: vec![OBJECT, crate::testing::per_replica(10)], ..legacy_policy() };
        let table = [(20, Some(4)), (10, Some(2)), (3, None)];
        for (sample, expected) in table {
            let mut observation = ready(&[Some(sample), Some(sample)]);
            observation.readings.insert(0, Reading::Failed);
            let decision = decide(&policy, &History::default(), &observation, at(0));
            assert_eq!(decision.desired(), expected, "{sample}");
            match decision.outcome {
                Outcome::Computed(derivation) => assert_eq!((derivation.failed, derivation.winner), (1, 1)),
                outcome => assert_eq!(outcome, Outcome::Blind { first: 0, failed: 1 }),
            }
        }
    }

    #[test]
    fn every_number_on_the_way_is_told() {
        let policy = Policy { max_replicas: 6, ..policy_with_windows(Profile::HpaExact, 0, 300) };
        let Outcome::Computed(derivation) = outcome(&policy, &ready(&[Some(50), Some(50)])) else {
            panic!("not computed")
        };
        assert_eq!(
            (derivation.raw, derivation.stabilized, derivation.limited, derivation.desired),
            (10, 10, 6, 6)
        );
        assert_eq!(derivation.limit, Limit::TooManyReplicas);
        assert_eq!(derivation.reason, Some(Reason::AboveTarget));

        let Outcome::Computed(derivation) = outcome(&policy, &ready(&[Some(1), Some(1)])) else {
            panic!("not computed")
        };
        assert_eq!((derivation.raw, derivation.stabilized, derivation.desired), (1, 2, 2));
        assert_eq!(derivation.stabilization, Stabilization::Down);
        assert_eq!(derivation.reason, Some(Reason::AllBelowTarget));
    }

    #[test]
    fn fewer_are_wanted_whatever_holds_them() {
        let policy = policy_with_windows(Profile::HpaExact, 0, 300);
        for (sample, expected) in [(1, true), (10, false), (50, false)] {
            let observation = ready(&[Some(sample), Some(sample)]);
            let decision = decide(&policy, &History::default(), &observation, at(0));
            assert_eq!(decision.wants_fewer(), expected, "{sample}");
        }
    }

    #[test]
    fn a_total_that_is_not_complete_never_shrinks() {
        let policy = policy_with_windows(Profile::Default, 0, 0);
        let derivation = |value, complete| {
            let mut observation = ready(&[None; 4]);
            observation.readings = vec![Reading::Total { value: Milli::whole(value), complete }];
            match outcome(&policy, &observation) {
                Outcome::Computed(derivation) => (derivation.raw, derivation.desired, derivation.held),
                outcome => panic!("{outcome:?}"),
            }
        };
        assert_eq!(derivation(20, true), (2, 2, None));
        assert_eq!(derivation(20, false), (2, 4, Some(Hold::Incomplete)));
        assert_eq!(derivation(60, false), (6, 6, None));
    }

    #[test]
    fn doubt_lets_the_target_grow_and_not_shrink() {
        let policy = policy_with_windows(Profile::Default, 0, 0);
        for (sample, desired, held) in [(1, 2, Some(Hold::Doubt)), (10, 2, None), (50, 10, None)] {
            let observation =
                Observation { doubt: Some(Doubt::Samples), ..ready(&[Some(sample), Some(sample)]) };
            let Outcome::Computed(derivation) = outcome(&policy, &observation) else {
                panic!("not computed")
            };
            assert_eq!((derivation.desired, derivation.held), (desired, held), "{sample}");
        }
    }

    #[test]
    fn when_nobody_has_known_for_long_there_is_a_fallback() {
        let after = chrono::TimeDelta::seconds(180);
        let policy = |replicas| Policy {
            fallback: Some(Fallback { after, replicas }),
            ..policy_with_windows(Profile::Default, 0, 0)
        };
        // second, current, fallback; expected
        let table = [
            (0, 2, 4, None),
            (179, 2, 4, None),
            (180, 2, 4, Some((4, Some(Reason::Fallback)))),
            (180, 6, 4, Some((6, None))),
            (180, 2, 99, Some((20, Some(Reason::Fallback)))),
        ];
        for (second, current, replicas, expected) in table {
            let mut observation = ready(&vec![None; current as usize]);
            observation.readings = vec![Reading::Failed];
            let (policy, mut history) = (policy(replicas), History::default());
            let first = decide(&policy, &history, &observation, at(0));
            history.record(&policy, &first, at(0));
            let decision = decide(&policy, &history, &observation, at(second));
            let found = match &decision.outcome {
                Outcome::Fallback { derivation, .. } => Some((derivation.desired, derivation.reason)),
                _ => None,
            };
            assert_eq!(found, expected, "{second} {current} {replicas}");

            // Once something is known again, the time begins anew.
            history.record(&policy, &decision, at(second));
            let seen = decide(&policy, &history, &ready(&[Some(10)]), at(second));
            history.record(&policy, &seen, at(second));
            assert_eq!(history.blind_since(), None);
        }
    }

    #[test]
    fn the_last_replica_goes_when_nothing_has_been_asked_for_long_enough() {
        let to_zero = Some(ToZero { after: chrono::TimeDelta::seconds(300) });
        let policy = Policy { min_replicas: 0, to_zero, ..policy_with_windows(Profile::Default, 0, 0) };
        let mut history = History::default();
        let mut at_second = |second, current: i32, sample, woken| {
            let samples = vec![Some(sample); current as usize];
            let observation = Observation { scaled_to_zero: current == 0, woken, ..ready(&samples) };
            let decision = decide(&policy, &history, &observation, at(second));
            history.record(&policy, &decision, at(second));
            let limit = match &decision.outcome {
                Outcome::Computed(derivation) => Some(derivation.limit),
                _ => None,
            };
            (decision.desired(), limit)
        };
        // second, current, sample, woken; desired, limit
        let table = [
            (0, 3, 0, false, Some(1), Some(Limit::NotIdleYet)),
            (10, 1, 0, false, Some(1), Some(Limit::NotIdleYet)),
            // Something is asked for: the time begins anew.
            (20, 1, 10, false, Some(1), Some(Limit::DesiredWithinRange)),
            (30, 1, 0, false, Some(1), Some(Limit::NotIdleYet)),
            (329, 1, 0, false, Some(1), Some(Limit::NotIdleYet)),
            (330, 1, 0, true, Some(1), Some(Limit::NotIdleYet)),
            (331, 1, 0, false, Some(0), Some(Limit::DesiredWithinRange)),
            // At zero its own replicas say nothing, and a call is enough.
            (340, 0, 0, false, None, None),
            (350, 0, 0, true, Some(1), None),
        ];
        for (second, current, sample, woken, desired, limit) in table {
            assert_eq!(at_second(second, current, sample, woken), (desired, limit), "{second}");
        }
    }

    #[test]
    fn nobody_is_woken_who_was_put_to_sleep_by_others() {
        let to_zero = Some(ToZero { after: chrono::TimeDelta::zero() });
        let policy = Policy { min_replicas: 0, to_zero, ..policy_with_windows(Profile::Default, 0, 0) };
        let observation = Observation { woken: true, ..Observation::default() };
        assert_eq!(outcome(&policy, &observation), Outcome::Disabled);
    }

    #[test]
    fn what_is_kept_counts_as_recommended() {
        let policy = policy_with_windows(Profile::Default, 0, 300);
        let idle = ready(&[Some(1), Some(1), Some(1)]);
        let desired = |history: &History, second| decide(&policy, history, &idle, at(second)).desired();
        let mut history = History::default();
        for second in [0, 200] {
            let decision = decide(&policy, &history, &idle, at(second));
            history.record(&policy, &decision, at(second));
        }
        assert_eq!(desired(&history, 301), Some(1), "the window is over");
        for second in [250, 400] {
            let decision = decide(&policy, &history, &idle, at(second));
            history.kept(&policy, &decision, at(second));
        }
        assert_eq!((desired(&history, 699), desired(&history, 701)), (Some(3), Some(1)));
    }

    #[test]
    fn a_policy_without_metrics_moves_nothing() {
        let policy = Policy { metrics: Vec::new(), ..legacy_policy() };
        assert_eq!(outcome(&policy, &ready(&[Some(1)])), Outcome::Blind { first: 0, failed: 0 });
    }
}
