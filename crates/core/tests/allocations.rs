//! A decision allocates as often for a thousand replicas as for one.

use chrono::DateTime;
use llm_autoscaler_core::{
    History, MetricKind, MetricPolicy, Milli, Observation, Policy, Profile, Reading, Replica,
    Scale, Settings, Target, Tolerances, decide,
};

/// Returns the number of allocations of one decision about a number of replicas.
fn allocations(replicas: i32) -> u64 {
    let target = Target::AverageValue(Milli::whole(5));
    let policy = Policy {
        min_replicas: 1,
        max_replicas: 10_000,
        metrics: vec![MetricPolicy { kind: MetricKind::PerReplica, target }],
        tolerance: Tolerances { down: 0.1, up: 0.1 },
        behavior: None,
        to_zero: None,
        fallback: None,
        profile: Profile::Default,
        settings: Settings::HPA,
    };
    let replicas_seen = vec![Replica::READY; replicas.unsigned_abs() as usize];
    let samples = vec![Some(Milli::whole(11)); replicas_seen.len()];
    let observation = Observation {
        scale: Scale { current: replicas, status: replicas },
        replicas: replicas_seen,
        readings: vec![Reading::PerReplica { samples, strays: Vec::new() }],
        ..Observation::default()
    };
    let history = History::default();
    let counted = allocation_counter::measure(|| {
        let decision = decide(&policy, &history, &observation, DateTime::UNIX_EPOCH);
        assert!(decision.rescale().is_some());
    });
    counted.count_total
}

#[test]
fn no_allocation_is_per_replica() {
    let one = allocations(1);
    assert!(one <= 2, "{one} allocations for one metric");
    assert_eq!(allocations(1000), one);
}
