//! A simulation of the election: several copies with clocks of their own, a network that loses
//! and delays, an API server in trouble, copies that stop, are suspended, die and
//! start again. Time is virtual, and all of it follows from a seed.
//!
//! ```text
//! LEASE_SEEDS=100000 cargo test -p llm-autoscaler-operator --lib lease::simulation
//! LEASE_SEED=4711 cargo test -p llm-autoscaler-operator --lib lease::simulation
//! ```
//!
//! `copy` is one copy of the operator, around the product's own machine; `server` is the API
//! server; `clocks` are those of a copy; `world` has the time, with the network and the invariants
//! below; `plan` draws the troubles of a seed.
//!
//! A write that is on its way for longer than a third of the duration is accepted here too if its
//! version is right, and counted apart: no Lease can stop it.

mod clocks;
mod copy;
mod plan;
mod server;
mod world;

use std::{env, ops::Range};

use plan::{Fault, Plan, SECOND};
use world::{Outcome, World};

/// Runs seeds, and returns the first violation with its seed.
fn first_violation(seeds: Range<u64>, plan: impl Fn(u64) -> Plan) -> Option<(u64, String)> {
    let violation = |seed| World::new(plan(seed)).run().violation.map(|text| (seed, text));
    seeds.into_iter().find_map(violation)
}

/// Returns the seeds to run: one, as many as wanted, or as many as take a few seconds.
fn seeds() -> Range<u64> {
    let variable = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match variable("LEASE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("LEASE_SEEDS").unwrap_or(200),
    }
}

#[test]
fn no_two_copies_write_whatever_goes_wrong() {
    let (mut writes, mut takeovers, mut late) = (0, 0, 0);
    for seed in seeds() {
        let Outcome { violation, accepted, taken, late_writes, .. } =
            World::new(Plan::trouble(seed)).run();
        if let Some(violation) = violation {
            let trace = World::new(Plan::trouble(seed)).traced().run().trace;
            panic!("{}\nseed {seed}: {violation}", trace.join("\n"));
        }
        (writes, takeovers, late) = (writes + accepted, takeovers + taken, late + late_writes);
    }
    println!(
        "{writes} writes were accepted, and {late} that were on their way for longer than a permit \
         allows for; {takeovers} Leases were taken"
    );
    assert!(writes > takeovers && takeovers > 0, "{writes} writes, {takeovers} takeovers");
}

#[test]
fn after_a_kill_another_copy_may_write_within_the_duration_and_a_second() {
    let mut shares = Vec::new();
    for seed in 0..100 {
        let plan = Plan::kill(seed);
        let (duration, limit) = (plan.duration, plan.duration + SECOND);
        let gap = World::new(plan).run().gap.unwrap_or(u64::MAX);
        shares.push(gap * 100 / duration);
        assert!(gap <= limit, "seed {seed}: {gap} µs without a holder, and {limit} are allowed");
    }
    shares.sort_unstable();
    println!("gaps in percent of the duration: p50 {}, p99 {}", shares[50], shares[98]);
}

#[test]
fn after_a_release_another_copy_may_write_within_a_second() {
    for seed in 0..100 {
        let gap = World::new(Plan::release(seed)).run().gap.unwrap_or(u64::MAX);
        assert!(gap <= SECOND, "seed {seed}: {gap} µs without a holder");
    }
}

#[test]
fn without_trouble_no_lease_changes_hands_and_copies_share_the_buckets() {
    for seed in 0..40 {
        let plan = Plan::calm(seed);
        let (buckets, copies) = (plan.copies[0].buckets, plan.copies.len());
        let outcome = World::new(plan).run();
        assert_eq!(outcome.violation, None, "seed {seed}");
        let moved = outcome.taken - buckets;
        let most = buckets - buckets / copies;
        assert!(moved <= most && (buckets > 1 || moved == 0), "seed {seed}: {moved} are moved");
    }
}

#[test]
fn a_copy_that_comes_later_gets_its_share_and_nothing_else_changes_hands() {
    let mut times = Vec::new();
    for seed in 0..60 {
        let plan = Plan::newcomer(seed);
        let (buckets, copies, duration) =
            (plan.copies[0].buckets, plan.copies.len(), plan.duration);
        let outcome = World::new(plan).run();
        assert_eq!(outcome.violation, None, "seed {seed}");
        let got = outcome.held[copies - 1];
        assert!(got >= buckets / copies, "seed {seed}: {:?}", outcome.held);
        assert_eq!(outcome.taken_since, got, "seed {seed}: {:?}", outcome.held);
        times.push(outcome.evened.unwrap_or(u64::MAX) * 100 / duration);
    }
    times.sort_unstable();
    println!("even after, in percent of the duration: p50 {}, most {}", times[30], times[59]);
}

#[test]
fn a_wish_does_not_delay_the_takeover_from_a_copy_that_is_killed() {
    let mut gaps = Vec::new();
    for seed in 0..60 {
        let plan = Plan::kill_among_several(seed);
        let (duration, is_watched) = (plan.duration, plan.copies[0].is_watched);
        let outcome = World::new(plan).run();
        assert_eq!(outcome.violation, None, "seed {seed}");
        // Without a watch a renewal is seen half a second late.
        let late = if is_watched { SECOND } else { SECOND * 3 / 2 };
        let limit = duration + late;
        // At times the first Lease is between two holders, and no copy is killed.
        let Some(gap) = outcome.gap else { continue };
        assert!(gap <= limit, "seed {seed}: {gap} µs without a holder, and {limit} are allowed");
        gaps.push(gap * 100 / duration);
    }
    gaps.sort_unstable();
    let (half, most) = (gaps[gaps.len() / 2], gaps.last().copied().unwrap_or_default());
    println!("gaps in percent of the duration: p50 {half}, most {most}");
    assert!(gaps.len() > 45, "only {} copies were killed", gaps.len());
}

#[test]
fn no_two_copies_write_though_leases_are_deleted() {
    assert_eq!(first_violation(0..100, Plan::deletions), None);
}

/// Faults that were put in on purpose.
#[test]
fn the_simulation_finds_each_fault() {
    for fault in Fault::ALL {
        // A rare one: a Lease is deleted while an old update is on its way.
        let base = if fault == Fault::NoUid { Plan::deletions } else { Plan::trouble };
        let found = first_violation(0..20_000, |seed| Plan { fault, ..base(seed) });
        let (seed, text) = found.unwrap_or_else(|| panic!("{fault:?} is not found"));
        println!("{fault:?}: seed {seed}: {text}");
    }
}
