//! The time of one decision, and of one with its record: `cargo bench -p llm-autoscaler-core`.
//!
//! The policy has one metric with a sample per replica, and behavior with both windows; the history
//! is full.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{hint::black_box, time::Instant};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_core::{
    Behavior, History, MetricKind, MetricPolicy, Milli, Observation, Policy, Profile, Reading,
    Replica, Rules, Scale, Settings, Target, Tolerances, decide,
};

const SIZES: [i32; 4] = [1, 10, 100, 1000];
const ROUNDS: usize = 7;

fn main() {
    println!("{:>9} {:>12} {:>16} {:>12}", "replicas", "decide", "decide + record", "allocations");
    for replicas in SIZES {
        let (policy, observation) = case(replicas);
        let decided = nanoseconds(|history, now| {
            black_box(decide(&policy, black_box(history), black_box(&observation), now));
        });
        let recorded = nanoseconds(|history, now| {
            let decision = decide(&policy, black_box(history), black_box(&observation), now);
            history.record(&policy, &decision, now);
        });
        let history = full_history();
        let counted = allocation_counter::measure(|| {
            black_box(decide(&policy, &history, &observation, start()));
        });
        println!("{replicas:>9} {decided:>9.0} ns {recorded:>13.0} ns {:>12}", counted.count_total);
    }
}

/// Returns the time of one call in the best of several rounds.
fn nanoseconds(mut tick: impl FnMut(&mut History, DateTime<Utc>)) -> f64 {
    const CALLS: usize = 20_000;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let mut history = full_history();
        let mut now = start();
        let began = Instant::now();
        for _ in 0..CALLS {
            now += TimeDelta::milliseconds(500);
            tick(&mut history, now);
        }
        best = best.min(began.elapsed().as_nanos() as f64 / CALLS as f64);
    }
    best
}

fn start() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(10_000)
}

/// Returns a history of recommendations that decrease step by step.
fn full_history() -> History {
    let (policy, _) = case(10);
    let mut history = History::default();
    for step in 0..16 {
        history.record_recommendation(
            &policy,
            40 - step,
            start() - TimeDelta::seconds(160 - i64::from(step) * 10),
        );
    }
    history
}

fn case(replicas: i32) -> (Policy, Observation) {
    let settings = Settings::HPA;
    let policy = Policy {
        min_replicas: 1,
        max_replicas: 10_000,
        metrics: vec![MetricPolicy {
            kind: MetricKind::PerReplica,
            target: Target::AverageValue(Milli::whole(5)),
        }],
        tolerance: Tolerances { down: 0.1, up: 0.1 },
        behavior: Some(Behavior {
            scale_up: Rules::default_scale_up(),
            scale_down: Rules::default_scale_down(settings.downscale_stabilization),
        }),
        to_zero: None,
        fallback: None,
        profile: Profile::Default,
        settings,
    };
    let samples = (0..replicas)
        .map(|index| (index % 10 != 9).then(|| Milli::whole(i64::from(index % 17))))
        .collect();
    let observation = Observation {
        scale: Scale { current: replicas, status: replicas },
        replicas: vec![Replica::READY; replicas as usize],
        readings: vec![Reading::PerReplica { samples, strays: Vec::new() }],
        ..Observation::default()
    };
    (policy, observation)
}
