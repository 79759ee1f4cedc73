//! Properties of every decision of the Default profile.

use chrono::TimeDelta;
use proptest::prelude::*;

use crate::{
    decide::decide,
    decision::Outcome,
    history::{History, Recommendation, ScaleEvent},
    observation::{
        Doubt, EngineActivity, Observation, Phase, Precision, Reading, Replica, Scale, Selector,
    },
    policy::{
        Amount, Behavior, Fallback, MetricKind, MetricPolicy, Policy, RatePolicy, Rules, Select,
        Settings, Target, Tolerances,
    },
    profile::Profile,
    tests::support::{at, per_replica},
    units::Milli,
};

fn rules() -> impl Strategy<Value = Rules> {
    let amount =
        prop_oneof![(1..30).prop_map(Amount::Replicas), (1..200).prop_map(Amount::Percent)];
    let policy = (amount, 1_i64..600)
        .prop_map(|(amount, seconds)| RatePolicy { amount, period: TimeDelta::seconds(seconds) });
    let select = prop_oneof![Just(Select::Max), Just(Select::Min), Just(Select::Disabled)];
    (0_i64..600, select, prop::collection::vec(policy, 1..3)).prop_map(
        |(seconds, select, policies)| Rules {
            window: TimeDelta::seconds(seconds),
            select,
            policies,
        },
    )
}

fn metric() -> impl Strategy<Value = MetricPolicy> {
    let target = 1_i64..50_000;
    prop_oneof![
        target.clone().prop_map(|t| (MetricKind::PerReplica, Target::AverageValue(Milli(t)))),
        target.clone().prop_map(|t| (MetricKind::Object, Target::Value(Milli(t)))),
        target.clone().prop_map(|t| (MetricKind::Object, Target::AverageValue(Milli(t)))),
        target.clone().prop_map(|t| (MetricKind::External, Target::Value(Milli(t)))),
        target.clone().prop_map(|t| (MetricKind::External, Target::AverageValue(Milli(t)))),
        target.prop_map(|t| (MetricKind::Pooled, Target::Value(Milli(t)))),
    ]
    .prop_map(|(kind, target)| MetricPolicy { kind, target })
}

prop_compose! {
    fn policy()(
        min_replicas in 0_i32..5,
        more in 0_i32..30,
        metrics in prop::collection::vec(metric(), 1..4),
        down in 0.0..0.5,
        up in 0.0..0.5,
        behavior in prop::option::of((rules(), rules())),
        fallback in prop::option::of((0_i64..600, 0_i32..40)),
    ) -> Policy {
        Policy {
            min_replicas,
            max_replicas: (min_replicas + more).max(1),
            metrics,
            tolerance: Tolerances { down, up },
            behavior: behavior.map(|(scale_up, scale_down)| Behavior { scale_up, scale_down }),
            to_zero: None,
            fallback: fallback
                .map(|(after, replicas)| Fallback { after: TimeDelta::seconds(after), replicas }),
            profile: Profile::Default,
            settings: Settings::HPA,
        }
    }
}

fn replica() -> impl Strategy<Value = Replica> {
    let phase = prop_oneof![
        8 => Just(Phase::Running),
        2 => Just(Phase::Pending),
        1 => Just(Phase::Failed),
        1 => Just(Phase::Succeeded),
        1 => Just(Phase::Unknown),
    ];
    let activity = prop_oneof![
        6 => Just(EngineActivity::Unknown),
        2 => Just(EngineActivity::Answering),
        1 => Just(EngineActivity::Asleep),
        1 => Just(EngineActivity::Wedged),
    ];
    let rarely = || prop::bool::weighted(0.1);
    (phase, rarely(), prop::bool::weighted(0.8), rarely(), activity).prop_map(
        |(phase, deleting, ready, stuck, activity)| Replica {
            phase,
            deleting,
            ready,
            stuck,
            activity,
        },
    )
}

/// Usual loads, and absurd ones.
fn load() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0_i64..200_000, 1 => i64::MAX - 10..=i64::MAX]
}

/// A reading for a metric; its presence is drawn separately from its value.
fn reading(metric: MetricPolicy, replicas: usize) -> impl Strategy<Value = Reading> {
    let samples = prop::collection::vec(prop::option::weighted(0.8, load()), replicas);
    let strays = prop::collection::vec(load(), 0..2);
    let values = prop::collection::vec(load(), 1..4);
    let how = (prop::bool::weighted(0.1), prop::bool::weighted(0.2), prop::bool::weighted(0.7));
    (samples, strays, values, how, precision()).prop_map(
        move |(samples, strays, values, how, precision)| {
            let (failed, elsewhere, complete) = how;
            match metric.kind {
                _ if failed => Reading::Failed,
                MetricKind::PerReplica | MetricKind::Pooled | MetricKind::External if elsewhere => {
                    Reading::Total { value: Milli(values[0]), precision, complete }
                }
                MetricKind::Pooled => Reading::Pooled {
                    value: complete.then_some(Milli(values[0])),
                    precision,
                    reported: samples.iter().map(Option::is_some).collect(),
                },
                MetricKind::PerReplica => Reading::PerReplica {
                    samples: samples.into_iter().map(|sample| sample.map(Milli)).collect(),
                    strays: strays.into_iter().map(Milli).collect(),
                },
                MetricKind::Object => Reading::Object(Milli(values[0])),
                MetricKind::External => Reading::External(values.into_iter().map(Milli).collect()),
            }
        },
    )
}

fn precision() -> impl Strategy<Value = Precision> {
    let bound = (0_i64..200_000).prop_map(|bound| Precision::AtMost(Milli(bound)));
    prop_oneof![4 => Just(Precision::Exact), 1 => Just(Precision::AtLeast), 1 => bound]
}

fn observation(policy: &Policy) -> impl Strategy<Value = Observation> + use<> {
    let metrics = policy.metrics.clone();
    let rare = || prop::bool::weighted(0.1);
    let doubt =
        prop::option::weighted(0.2, prop::sample::select(vec![Doubt::Samples, Doubt::Surplus]));
    let flags = (any::<bool>(), doubt, rare());
    (prop::collection::vec(replica(), 0..12), 0_i32..35, 0_i32..35, flags).prop_flat_map(
        move |(replicas, current, status, (scaled_to_zero, doubt, woken))| {
            let readings: Vec<_> =
                metrics.iter().map(|metric| reading(*metric, replicas.len()).boxed()).collect();
            readings.prop_map(move |readings| Observation {
                scale: Scale { current, status },
                selector: Selector::Valid,
                scaled_to_zero,
                replicas: replicas.clone(),
                readings,
                promised: None,
                doubt,
                woken,
            })
        },
    )
}

fn history() -> impl Strategy<Value = History> {
    let recommendations = prop::collection::vec((0_i32..40, -700_i64..=0), 0..6).prop_map(|list| {
        list.into_iter()
            .map(|(replicas, second)| Recommendation { replicas, at: at(second) })
            .collect()
    });
    let events = || {
        prop::collection::vec((1_i32..10, -700_i64..=0), 0..4).prop_map(|list| {
            let event = |(change, second)| ScaleEvent { change, at: at(second), outdated: false };
            list.into_iter().map(event).collect()
        })
    };
    let blind = prop::option::of(-700_i64..=0);
    (prop::option::of(recommendations), events(), events(), blind).prop_map(
        |(past, ups, downs, blind)| {
            History::from_lists(past, ups, downs).with_no_metrics_since(blind.map(at))
        },
    )
}

fn case() -> impl Strategy<Value = (Policy, History, Observation)> {
    policy().prop_flat_map(|policy| {
        let observation = observation(&policy);
        (Just(policy), history(), observation)
    })
}

/// Returns the size after a decision.
fn replicas(policy: &Policy, history: &History, observation: &Observation) -> i32 {
    decide(policy, history, observation, at(0)).desired().unwrap_or(observation.scale.current)
}

/// Returns the observation with every measured value raised.
fn with_more_load(observation: &Observation, more: i64) -> Observation {
    let raise = |value: &Milli| Milli(value.0.saturating_add(more));
    let readings = observation.readings.iter().map(|reading| match reading {
        Reading::PerReplica { samples, strays } => Reading::PerReplica {
            samples: samples.iter().map(|sample| sample.as_ref().map(raise)).collect(),
            strays: strays.iter().map(raise).collect(),
        },
        Reading::Object(value) => Reading::Object(raise(value)),
        Reading::External(values) => Reading::External(values.iter().map(raise).collect()),
        Reading::Pooled { value, precision, reported } => Reading::Pooled {
            value: value.as_ref().map(raise),
            precision: *precision,
            reported: reported.clone(),
        },
        Reading::Total { value, precision, complete } => {
            Reading::Total { value: raise(value), precision: *precision, complete: *complete }
        }
        Reading::Failed => Reading::Failed,
    });
    Observation { readings: readings.collect(), ..observation.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_bounds_hold((policy, history, observation) in case()) {
        let decision = decide(&policy, &history, &observation, at(0));
        let within = policy.min_replicas..=policy.max_replicas;
        match decision.outcome {
            Outcome::Disabled => prop_assert_eq!(decision.rescale(), None),
            _ => prop_assert!(
                decision.desired().is_none_or(|desired| within.contains(&desired)),
                "{decision:?}"
            ),
        }
    }

    #[test]
    fn more_load_never_gives_fewer_replicas(
        (mut policy, history, observation) in case(),
        more in load(),
    ) {
        // A ratio within the tolerance can be computed without a replica, and that ends the
        // fallback.
        policy.fallback = None;
        let now = replicas(&policy, &history, &observation);
        let then = replicas(&policy, &history, &with_more_load(&observation, more));
        prop_assert!(now <= then, "{now} replicas, and {then} with more load");
    }

    #[test]
    fn without_data_nothing_shrinks((policy, history, mut observation) in case()) {
        for reading in &mut observation.readings {
            if let Reading::PerReplica { samples, .. } = reading {
                samples.fill(None);
            } else {
                *reading = Reading::Failed;
            }
        }
        let current = observation.scale.current;
        let bounded = current.clamp(policy.min_replicas, policy.max_replicas);
        let desired = replicas(&policy, &history, &observation);
        prop_assert!(desired >= current || desired == bounded, "{current} to {desired}");
    }

    #[test]
    fn without_a_complete_total_nothing_shrinks(
        (mut policy, history, mut observation) in case(),
        value in load(),
    ) {
        let current = within_bounds(&policy, &mut observation);
        policy.metrics.push(per_replica(10));
        observation.readings.push(Reading::Total {
            value: Milli(value),
            precision: Precision::Exact,
            complete: false,
        });
        prop_assert!(replicas(&policy, &history, &observation) >= current);
    }

    #[test]
    fn on_doubt_nothing_shrinks((policy, history, mut observation) in case()) {
        let current = within_bounds(&policy, &mut observation);
        observation.doubt = observation.doubt.or(Some(Doubt::Samples));
        prop_assert!(replicas(&policy, &history, &observation) >= current);
    }

    #[test]
    fn a_fallback_never_shrinks((policy, history, mut observation) in case()) {
        let current = within_bounds(&policy, &mut observation);
        observation.readings.fill(Reading::Failed);
        prop_assert!(replicas(&policy, &history, &observation) >= current);
    }

    #[test]
    fn without_a_quorum_nothing_shrinks((mut policy, history, mut observation) in case()) {
        let current = within_bounds(&policy, &mut observation);
        // There is one sample for three replicas that could have one.
        policy.metrics.push(per_replica(10));
        observation.replicas = vec![Replica::READY; 3];
        let samples = vec![Some(Milli(1)), None, None];
        observation.readings.push(Reading::PerReplica { samples, strays: Vec::new() });
        prop_assert!(replicas(&policy, &history, &observation) >= current);
    }

    #[test]
    fn within_the_tolerance_nothing_moves(
        (mut policy, history, mut observation) in case(),
        part in -0.9_f64..0.9,
    ) {
        let current = within_bounds(&policy, &mut observation);
        // The targets are large enough that a rounded thousandth does not matter.
        let Tolerances { down, up } = &mut policy.tolerance;
        (*down, *up) = (down.max(0.01), up.max(0.01));
        let ratio = 1.0 + part * if part < 0.0 { *down } else { *up };
        for metric in &mut policy.metrics {
            if let Target::Value(target) | Target::AverageValue(target) = &mut metric.target {
                target.0 += 10_000;
            }
        }
        observation.replicas = vec![Replica::READY; current as usize];
        observation.readings =
            policy.metrics.iter().map(|metric| at_ratio(*metric, ratio, current)).collect();
        prop_assert_eq!(replicas(&policy, &history, &observation), current);
    }
}

/// Moves the current size into the bounds, above zero.
fn within_bounds(policy: &Policy, observation: &mut Observation) -> i32 {
    let current = observation.scale.current.clamp(policy.min_replicas.max(1), policy.max_replicas);
    observation.scale.current = current;
    current
}

/// Returns the reading of a metric with a usage of `ratio` times its target, on `replicas`.
fn at_ratio(metric: MetricPolicy, ratio: f64, replicas: i32) -> Reading {
    let value = |target: Milli| Milli((target.0 as f64 * ratio).round() as i64);
    let each = |target| vec![value(target); replicas as usize];
    match (metric.kind, metric.target) {
        (MetricKind::PerReplica, Target::AverageValue(target)) => Reading::PerReplica {
            samples: each(target).into_iter().map(Some).collect(),
            strays: vec![Milli(1_000_000)],
        },
        (MetricKind::Object, Target::AverageValue(target)) => {
            Reading::Object(Milli(value(target).0 * i64::from(replicas)))
        }
        (MetricKind::External, Target::AverageValue(target)) => Reading::External(each(target)),
        (MetricKind::Object, Target::Value(target)) => Reading::Object(value(target)),
        (MetricKind::Pooled, Target::Value(target)) => Reading::Pooled {
            value: Some(value(target)),
            precision: Precision::Exact,
            reported: vec![true; replicas as usize],
        },
        (MetricKind::External, Target::Value(target)) => Reading::External(vec![value(target)]),
        _ => Reading::Failed,
    }
}
