//! How long one decision of several roles takes: `cargo bench -p llm-autoscaler-core`.
//!
//! What each role's own decision takes is `decide`; this is what comes after.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{hint::black_box, time::Instant};

use llm_autoscaler_core::{Milli, Part, Ratio, Terms, share};

const ROUNDS: usize = 7;

fn main() {
    println!("{:>28} {:>9} {:>12}", "", "replicas", "share");
    for (name, terms, parts) in cases() {
        let replicas: i32 = parts.iter().map(|part| part.wanted).sum();
        println!("{name:>28} {replicas:>9} {:>9.0} ns", nanoseconds(&terms, &parts));
    }
}

/// Two roles at rest, growing, and growing against a ceiling; then more of both.
fn cases() -> Vec<(&'static str, Terms, Vec<Part>)> {
    let ratio = Ratio { between: [0, 1], min: Some(Milli(500)), max: Some(Milli(2000)) };
    let below =
        |max_replicas| Terms { ratio: Some(ratio), max_replicas, max_gpus: Some(8 * max_replicas) };
    vec![
        ("two roles, at rest", below(100), vec![part(8, 8), part(6, 6)]),
        ("two roles, grow", below(100), vec![part(8, 16), part(6, 10)]),
        ("two roles, at the ceiling", below(20), vec![part(8, 16), part(6, 10)]),
        ("two roles, at the ceiling", below(1000), vec![part(400, 800), part(400, 700)]),
        ("eight roles, at the ceiling", below(1000), vec![part(100, 200); 8]),
    ]
}

fn part(current: i32, wanted: i32) -> Part {
    Part {
        current,
        wanted,
        lowest: 1,
        highest: 10_000,
        most: 10_000,
        exist: current,
        lagging: 0,
        gpus: 8,
        by_hand: false,
    }
}

/// The best of some rounds, for a call.
fn nanoseconds(terms: &Terms, parts: &[Part]) -> f64 {
    const CALLS: u32 = 2000;
    let round = || {
        let began = Instant::now();
        for _ in 0..CALLS {
            black_box(share(terms, black_box(parts)));
        }
        began.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
