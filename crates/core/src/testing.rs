//! Short ways to build what the tests decide about.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    Amount, Behavior, MetricKind, MetricPolicy, Milli, Observation, Policy, Profile, RatePolicy,
    Reading, Replica, Rules, Scale, Settings, Target, Tolerances,
};

/// A moment of a test, in seconds.
pub(crate) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000 + second, 0).unwrap()
}

/// One metric per replica with target 10, 1 to 20 replicas, no `behavior`, to the bit.
pub(crate) fn legacy_policy() -> Policy {
    Policy {
        min_replicas: 1,
        max_replicas: 20,
        metrics: vec![per_replica(10)],
        tolerance: Tolerances { down: 0.1, up: 0.1 },
        behavior: None,
        to_zero: None,
        fallback: None,
        profile: Profile::HpaExact,
        settings: Settings::HPA,
    }
}

/// The same with windows and no limit of rate.
pub(crate) fn policy_with_windows(profile: Profile, up: i64, down: i64) -> Policy {
    let unlimited =
        vec![RatePolicy { amount: Amount::Replicas(1000), period: TimeDelta::seconds(15) }];
    let rules = |seconds| Rules {
        window: TimeDelta::seconds(seconds),
        policies: unlimited.clone(),
        ..Rules::default_scale_up()
    };
    let behavior = Behavior { scale_up: rules(up), scale_down: rules(down) };
    Policy { behavior: Some(behavior), profile, ..legacy_policy() }
}

/// A metric with a sample per replica.
pub(crate) fn per_replica(target: i64) -> MetricPolicy {
    MetricPolicy {
        kind: MetricKind::PerReplica,
        target: Target::AverageValue(Milli::whole(target)),
    }
}

/// Ready replicas with these samples; as many are asked for.
pub(crate) fn ready(samples: &[Option<i64>]) -> Observation {
    let replicas: Vec<_> = samples.iter().map(|sample| (Replica::READY, *sample)).collect();
    observed(samples.len() as i32, &replicas)
}

/// Replicas with or without a sample, of which `current` are asked for.
pub(crate) fn observed(current: i32, replicas: &[(Replica, Option<i64>)]) -> Observation {
    let samples = replicas.iter().map(|(_, sample)| sample.map(Milli::whole)).collect();
    Observation {
        scale: Scale { current, status: replicas.len() as i32 },
        replicas: replicas.iter().map(|(replica, _)| *replica).collect(),
        readings: vec![Reading::PerReplica { samples, strays: Vec::new() }],
        ..Observation::default()
    }
}
