//! Policies side by side, in every scenario, over several seeds.
//!
//! `make simulate-bench` writes docs/simulate-results.md. `-- SCENARIO` runs the scenarios with
//! this in their names, and prints only; `SEEDS=1` is a short run. `POLICIES=wva=0.3,kpa=20` runs
//! these beside the bound, and prints only.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints, and may fail")]

mod pace;
mod page;
mod roles;
mod scenarios;

use llm_autoscaler_simulate::{Outcome, Scenario, clairvoyant, policy::policy};

use self::scenarios::{Case, Traces, cases};

/// The policies: a name of the catalog, or several of one knob. Those of others have their default
/// and two to four more, chosen so that some of them keep the promise and some save hours.
const POLICIES: [&str; 42] = [
    "in-flight=32",
    "in-flight=50",
    "slo",
    "hpa-queue=2",
    "hpa-queue=5",
    "hpa-queue=10",
    "hpa-in-flight=10",
    "hpa-in-flight=20",
    "hpa-in-flight=35",
    "hpa-in-flight=50",
    "hpa-in-flight=65",
    "kpa=10",
    "kpa=20",
    "kpa=28",
    "kpa=40",
    "apa=0.2",
    "apa=0.3",
    "apa=0.5",
    "apa-in-flight=20",
    "apa-in-flight=40",
    "apa-in-flight=60",
    "kthena=2",
    "kthena=5",
    "kthena=10",
    "wva=0.2",
    "wva=0.3",
    "wva=0.5",
    "wva",
    "dynamo=0.2",
    "dynamo=0.3",
    "dynamo=0.5",
    "dynamo",
    "slo-aware=0.4",
    "slo-aware",
    "slo-aware=0.7",
    "token-aware=0.2",
    "token-aware=0.3",
    "token-aware=0.5",
    "token-aware",
    "static=8",
    "static=16",
    "static=24",
];

/// The outcomes of a policy in a scenario, one for each seed.
pub(crate) struct Row {
    pub(crate) policy: String,
    pub(crate) outcomes: Vec<Outcome>,
}

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(5);
    let only = std::env::var("POLICIES").ok();
    let policies: Vec<&str> =
        only.as_ref().map_or_else(|| POLICIES.to_vec(), |only| only.split(',').collect());
    let traces = Traces::read();
    let mut page = page::Page::new(seeds);
    for case in cases(&traces) {
        if filter.as_ref().is_some_and(|filter| !case.name.contains(filter.as_str())) {
            continue;
        }
        let start = cpu_seconds();
        let mut rows = vec![bound(&case, seeds)];
        rows.extend(policies.iter().map(|name| row(&case, name, seeds)));
        let section = page::section(&case, &rows);
        println!("{section}\n{:.1} s of CPU time\n", cpu_seconds() - start);
        page.add(&section);
    }
    if only.is_some() {
        return;
    }
    if filter.as_ref().is_none_or(|filter| roles::NAME.contains(filter.as_str())) {
        let section = roles::section(seeds);
        println!("{section}");
        page.add(&section);
    }
    if filter.as_ref().is_none_or(|filter| pace::NAME.contains(filter.as_str())) {
        for section in pace::sections(&traces, seeds) {
            println!("{section}");
            page.add(&section);
        }
    }
    if filter.is_none() {
        page.write();
    }
}

/// Returns the time for which all threads were on a CPU, as Linux has it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn row(case: &Case, name: &str, seeds: u64) -> Row {
    let outcomes = by_seed(case, seeds, |scenario| {
        let mut policy = policy(name, &scenario.policy_context(case.limits)).unwrap();
        Some(scenario.run(&mut *policy, &mut |_| ()))
    });
    Row { policy: name.to_owned(), outcomes }
}

/// Returns the bound; without outcomes if no size keeps the promise.
fn bound(case: &Case, seeds: u64) -> Row {
    let outcomes = by_seed(case, seeds, |scenario| {
        clairvoyant(scenario, case.limits, &mut |_| ()).map(|bound| bound.outcome)
    });
    Row { policy: "clairvoyant".to_owned(), outcomes }
}

/// Runs a function for each seed, on threads of their own.
fn by_seed(
    case: &Case,
    seeds: u64,
    run: impl Fn(&Scenario) -> Option<Outcome> + Sync,
) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=seeds)
            .map(|seed| {
                let (scenario, run) = (Scenario { seed, ..case.scenario.clone() }, &run);
                scope.spawn(move || run(&scenario))
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    })
}
