//! The time of one step of the SLO mode: `cargo bench -p llm-autoscaler-core --bench slo`.
//!
//! Every replica has a new sample, and an hour has been learned before.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "../tests/support/steady.rs"]
mod steady;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use llm_autoscaler_core::slo::{Promise, Slo, SloPolicy};
use steady::Steady;

const SIZES: [u32; 4] = [1, 10, 100, 1_000];
/// The steps of an hour, and those that are measured.
const LEARNED: usize = 720;
const MEASURED: usize = 2_000;

fn main() {
    println!("{:>9} {:>12} {:>12}", "replicas", "step", "allocations");
    let promise = Promise { time_to_first_token: 2.0, inter_token_latency: 0.1 };
    let policy = SloPolicy::new(promise, 1, 2_000);
    for replicas in SIZES {
        let (mut slo, mut service) = (Slo::default(), Steady::new(replicas));
        for _ in 0..LEARNED {
            service.serve();
            let _ = black_box(slo.step(&service.observation, &policy));
        }
        let mut times = Vec::with_capacity(MEASURED);
        for _ in 0..MEASURED {
            service.serve();
            let began = Instant::now();
            let _ = black_box(slo.step(black_box(&service.observation), &policy));
            times.push(began.elapsed());
        }
        service.serve();
        let counted = allocation_counter::measure(|| {
            let _ = black_box(slo.step(&service.observation, &policy));
        });
        times.sort();
        let median: Duration = times[MEASURED / 2];
        println!("{replicas:>9} {:>9.2} µs {:>12}", micros(median), counted.count_total);
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
