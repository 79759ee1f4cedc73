use super::*;
use crate::{
    observation::{Precision, PromisedSize, Scale},
    policy::{Fallback, MetricKind, MetricPolicy, Target},
    profile::Profile,
    tests::support::{at, legacy_policy, per_replica, policy_with_windows, ready},
    units::Milli,
};

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
fn only_the_autoscaler_that_scaled_to_zero_scales_up_again() {
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
fn without_an_outside_metric_only_a_minimum_scales_up_from_zero() {
    let observation = Observation { scaled_to_zero: true, ..Observation::default() };
    for (min_replicas, expected) in
        [(0, Outcome::Disabled), (1, Outcome::NoMetrics { first: 0, failed: 1 })]
    {
        let policy = Policy { min_replicas, ..legacy_policy() };
        assert_eq!(outcome(&policy, &observation), expected, "{min_replicas}");
    }
}

#[test]
fn the_minimum_is_the_reason_where_nothing_else_scales_up_from_zero() {
    let with_behavior = policy_with_windows(Profile::HpaExact, 0, 0);
    // Without `behavior`, the limit scales up from zero and gives no reason.
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
fn a_failed_metric_allows_a_scale_up_and_no_scale_down() {
    let policy = Policy { metrics: vec![OBJECT, per_replica(10)], ..legacy_policy() };
    let table = [(20, Some(4)), (10, Some(2)), (3, None)];
    for (sample, expected) in table {
        let mut observation = ready(&[Some(sample), Some(sample)]);
        observation.readings.insert(0, Reading::Failed);
        let decision = decide(&policy, &History::default(), &observation, at(0));
        assert_eq!(decision.desired(), expected, "{sample}");
        match decision.outcome {
            Outcome::Computed(derivation) => {
                assert_eq!((derivation.failed, derivation.winner), (1, 1));
            }
            outcome => assert_eq!(outcome, Outcome::NoMetrics { first: 0, failed: 1 }),
        }
    }
}

#[test]
fn a_decision_holds_every_number_of_its_derivation() {
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
fn a_demand_for_fewer_replicas_is_visible_despite_a_window() {
    let policy = policy_with_windows(Profile::HpaExact, 0, 300);
    for (sample, expected) in [(1, true), (10, false), (50, false)] {
        let observation = ready(&[Some(sample), Some(sample)]);
        let decision = decide(&policy, &History::default(), &observation, at(0));
        assert_eq!(decision.wants_fewer(), expected, "{sample}");
    }
}

#[test]
fn an_incomplete_total_never_scales_down() {
    let policy = policy_with_windows(Profile::Default, 0, 0);
    let derivation = |value, complete| {
        let mut observation = ready(&[None; 4]);
        observation.readings = vec![Reading::Total {
            value: Milli::whole(value),
            precision: Precision::Exact,
            complete,
        }];
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
fn doubt_allows_a_scale_up_and_no_scale_down() {
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
fn the_fallback_applies_after_a_time_without_metrics() {
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

        // A metric that works again resets the time.
        history.record(&policy, &decision, at(second));
        let seen = decide(&policy, &history, &ready(&[Some(10)]), at(second));
        history.record(&policy, &seen, at(second));
        assert_eq!(history.no_metrics_since(), None);
    }
}

#[test]
fn the_last_replica_goes_after_the_idle_time() {
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
        // Load resets the idle time.
        (20, 1, 10, false, Some(1), Some(Limit::DesiredWithinRange)),
        (30, 1, 0, false, Some(1), Some(Limit::NotIdleYet)),
        (329, 1, 0, false, Some(1), Some(Limit::NotIdleYet)),
        (330, 1, 0, true, Some(1), Some(Limit::NotIdleYet)),
        (331, 1, 0, false, Some(0), Some(Limit::DesiredWithinRange)),
        // At zero there are no samples, and a wake call is enough.
        (340, 0, 0, false, None, None),
        (350, 0, 0, true, Some(1), None),
    ];
    for (second, current, sample, woken, desired, limit) in table {
        assert_eq!(at_second(second, current, sample, woken), (desired, limit), "{second}");
    }
}

/// The idle time and the scale-down window run at the same time: the longer one decides.
#[test]
fn the_last_replica_goes_after_the_longer_of_idle_time_and_window() {
    // idle time in s, window in s, last second of load, second of the write to zero
    let table = [(60, 0, 20, 90), (60, 300, 20, 320), (300, 60, 20, 330), (600, 300, 20, 630)];
    for (after, window, loaded, expected) in table {
        let to_zero = Some(ToZero { after: chrono::TimeDelta::seconds(after) });
        let policy = policy_with_windows(Profile::Default, 0, window);
        let policy = Policy { min_replicas: 0, to_zero, ..policy };
        let mut history = History::default();
        let zero = (0..1_000).step_by(10).find(|second| {
            let samples = vec![Some(if *second <= loaded { 10 } else { 0 })];
            let decision = decide(&policy, &history, &ready(&samples), at(*second));
            history.record(&policy, &decision, at(*second));
            decision.desired() == Some(0)
        });
        assert_eq!(zero, Some(expected), "{after} s, {window} s");
    }
}

#[test]
fn a_target_that_something_else_scaled_to_zero_is_not_woken() {
    let to_zero = Some(ToZero { after: chrono::TimeDelta::zero() });
    let policy = Policy { min_replicas: 0, to_zero, ..policy_with_windows(Profile::Default, 0, 0) };
    let observation = Observation { woken: true, ..Observation::default() };
    assert_eq!(outcome(&policy, &observation), Outcome::Disabled);
}

#[test]
fn a_blocked_decision_records_the_current_size() {
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
        history.record_blocked(&policy, &decision, at(second));
    }
    assert_eq!((desired(&history, 699), desired(&history, 701)), (Some(3), Some(1)));
}

#[test]
fn a_policy_without_metrics_moves_nothing() {
    let policy = Policy { metrics: Vec::new(), ..legacy_policy() };
    assert_eq!(outcome(&policy, &ready(&[Some(1)])), Outcome::NoMetrics { first: 0, failed: 0 });
}

#[test]
fn a_promised_size_is_decided_on_as_the_proposal_of_a_metric_is() {
    let promise = |replicas, may_shrink| Some(PromisedSize { replicas, may_shrink });
    let quiet = ready(&[Some(1); 4]);
    let missing = ready(&[Some(1), Some(1), None, None]);
    let policy = policy_with_windows(Profile::Default, 0, 0);
    let policy = Policy { metrics: vec![per_replica(5)], max_replicas: 8, ..policy };
    let table = [
        // a metric alone asks for 1; samples of all, or of half of the replicas
        (&quiet, None, 1, None),
        (&quiet, promise(Some(9), true), 8, None),
        (&quiet, promise(Some(3), true), 3, None),
        (&quiet, promise(Some(3), false), 4, None),
        (&quiet, promise(None, false), 4, None),
        (&missing, promise(Some(1), true), 4, Some(Hold::NoQuorum)),
        (&missing, promise(Some(6), true), 6, None),
    ];
    for (observation, promised, expected, held) in table {
        let observation = Observation { promised, ..observation.clone() };
        let decision = decide(&policy, &History::default(), &observation, at(0));
        let Outcome::Computed(derivation) = &decision.outcome else { panic!("{decision:?}") };
        assert_eq!((derivation.desired, derivation.held), (expected, held), "{promised:?}");
        // The outcome of the metric itself stays what the plain formula says.
        let MetricOutcome::Proposal(plain) = decision.metrics[0] else { panic!("{decision:?}") };
        assert!(plain.replicas <= 4, "{plain:?}");
    }
}
