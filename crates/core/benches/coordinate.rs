//! The time of one coordination of roles: `cargo bench -p llm-autoscaler-core --bench coordinate`.
//!
//! Each role's own decision is measured by `decide`; this is the time that coordination adds.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::{hint::black_box, time::Instant};

use llm_autoscaler_core::{Milli, Ratio, RoleDemand, SharedLimits, coordinate};

const ROUNDS: usize = 7;

fn main() {
    println!("{:>28} {:>9} {:>12}", "", "replicas", "coordinate");
    for Case { name, limits, roles, calls } in cases() {
        let replicas: i32 = roles.iter().map(|role| role.demand).sum();
        println!("{name:>28} {replicas:>9} {:>9.0} ns", nanoseconds(&limits, &roles, calls));
    }
}

struct Case {
    name: &'static str,
    limits: SharedLimits,
    roles: Vec<RoleDemand>,
    /// The number of calls in a round.
    calls: u32,
}

/// Returns two roles at rest, growing, and growing against a limit; then more of both.
fn cases() -> Vec<Case> {
    let case = |name, limits, roles| Case { name, limits, roles, calls: 2000 };
    vec![
        case("two roles, at rest", limits(100, 500, 2000), vec![role(8, 8), role(6, 6)]),
        case("two roles, grow", limits(100, 500, 2000), vec![role(8, 16), role(6, 10)]),
        case("two roles, at the limit", limits(20, 500, 2000), vec![role(8, 16), role(6, 10)]),
        case(
            "two roles, at the limit",
            limits(1000, 500, 2000),
            vec![role(400, 800), role(400, 700)],
        ),
        case("eight roles, at the limit", limits(1000, 500, 2000), vec![role(100, 200); 8]),
        // Few whole numbers meet this ratio, and the third role grows by many replicas.
        Case {
            calls: 1,
            ..case(
                "three roles, narrow ratio",
                limits(100_000, 617, 617),
                vec![role(617, 1200), role(1000, 1945), role(1, 100_000)],
            )
        },
    ]
}

fn limits(max_replicas: i64, min: i64, max: i64) -> SharedLimits {
    let ratio = Ratio { between: [0, 1], min: Some(Milli(min)), max: Some(Milli(max)) };
    SharedLimits { ratio: Some(ratio), max_replicas, max_gpus: Some(8 * max_replicas) }
}

fn role(current: i32, demand: i32) -> RoleDemand {
    RoleDemand {
        current,
        demand,
        floor: 1,
        ceiling: 100_000,
        max: 100_000,
        existing: current,
        lagging: 0,
        gpus: 8,
        fixed: false,
    }
}

/// Returns the time of one call in the best of several rounds.
fn nanoseconds(limits: &SharedLimits, roles: &[RoleDemand], calls: u32) -> f64 {
    let round = || {
        let began = Instant::now();
        for _ in 0..calls {
            black_box(coordinate(limits, black_box(roles)));
        }
        began.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
