//! A decision allocates as often for a thousand replicas as for one, and a step of the SLO mode not
//! at all.

#[path = "support/steady.rs"]
mod steady;

use chrono::DateTime;
use llm_autoscaler_core::{
    History, MetricKind, MetricPolicy, Milli, Observation, Policy, Profile, Reading, Replica,
    Scale, Settings, Target, Tolerances, decide,
    slo::{Promise, Slo, SloPolicy},
};
use steady::Steady;

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

#[test]
fn a_step_of_the_slo_mode_allocates_nothing_once_its_replicas_are_known() {
    let promise = Promise { time_to_first_token: 2.0, inter_token_latency: 0.1 };
    let policy = SloPolicy::new(promise, 1, 2_000);
    for replicas in [1, 10, 1_000] {
        let (mut slo, mut service) = (Slo::default(), Steady::new(replicas));
        for _ in 0..400 {
            service.serve();
            let _ = slo.step(&service.observation, &policy);
        }
        for _ in 0..60 {
            service.serve();
            let mut size = None;
            let counted = allocation_counter::measure(|| {
                size = slo.step(&service.observation, &policy).ok();
            });
            assert!(size.is_some_and(|size| size.arrivals > 3.9 * f64::from(replicas)));
            assert_eq!(counted.count_total, 0, "{replicas} replicas");
        }
    }
}
