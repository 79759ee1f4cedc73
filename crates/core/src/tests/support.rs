//! Short constructors for the inputs of the tests.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    observation::{Observation, Reading, Replica, Scale},
    policy::{
        Amount, Behavior, MetricKind, MetricPolicy, Policy, RatePolicy, Rules, Settings, Target,
        Tolerances,
    },
    profile::Profile,
    units::Milli,
};

/// Returns the time of a test at a second, which may be negative.
pub(crate) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000 + second, 0).unwrap()
}

/// Returns an `HpaExact` policy of 1 to 20 replicas with one metric per replica at a target of 10
/// and without `behavior`.
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

/// Returns the [`legacy_policy`] with stabilization windows, in seconds, and without a limit of
/// rate.
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

/// Returns a metric with one sample per replica.
pub(crate) fn per_replica(target: i64) -> MetricPolicy {
    MetricPolicy {
        kind: MetricKind::PerReplica,
        target: Target::AverageValue(Milli::whole(target)),
    }
}

/// Returns an observation of as many ready replicas as there are samples.
pub(crate) fn ready(samples: &[Option<i64>]) -> Observation {
    let replicas: Vec<_> = samples.iter().map(|sample| (Replica::READY, *sample)).collect();
    observed(samples.len() as i32, &replicas)
}

/// Returns an observation of replicas with or without a sample, where `current` are requested.
pub(crate) fn observed(current: i32, replicas: &[(Replica, Option<i64>)]) -> Observation {
    let samples = replicas.iter().map(|(_, sample)| sample.map(Milli::whole)).collect();
    Observation {
        scale: Scale { current, status: replicas.len() as i32 },
        replicas: replicas.iter().map(|(replica, _)| *replica).collect(),
        readings: vec![Reading::PerReplica { samples, strays: Vec::new() }],
        ..Observation::default()
    }
}
