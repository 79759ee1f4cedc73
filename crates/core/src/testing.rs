//! Short ways to build what the tests decide about.

use chrono::{DateTime, Utc};

use crate::*;

/// The moment `second` of a test.
pub(crate) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000 + second, 0).unwrap()
}

/// One metric per replica with target 10, 1 to 20 replicas, the HPA's legacy path, to the bit.
pub(crate) fn legacy_policy() -> Policy {
    Policy {
        min_replicas: 1,
        max_replicas: 20,
        metrics: vec![per_replica(10)],
        tolerance: Tolerances { down: 0.1, up: 0.1 },
        behavior: None,
        profile: Profile::HpaExact,
        settings: Settings::HPA,
    }
}

/// The same with the HPA's default behavior, under a profile.
pub(crate) fn policy(profile: Profile) -> Policy {
    let behavior = Behavior {
        scale_up: Rules::default_scale_up(),
        scale_down: Rules::default_scale_down(Settings::HPA.downscale_stabilization),
    };
    Policy { behavior: Some(behavior), profile, ..legacy_policy() }
}

pub(crate) fn per_replica(target: i64) -> MetricPolicy {
    MetricPolicy { kind: MetricKind::PerReplica, target: Target::AverageValue(Milli::whole(target)) }
}

/// Ready replicas with these samples; as many are asked for.
pub(crate) fn observation(samples: &[Option<i64>]) -> Observation {
    let count = samples.len() as i32;
    let samples = samples.iter().map(|sample| sample.map(Milli::whole)).collect();
    Observation {
        scale: Scale { current: count, status: count },
        replicas: vec![Replica::READY; count as usize],
        readings: vec![Reading::PerReplica { samples, strays: Vec::new() }],
        ..Observation::default()
    }
}
