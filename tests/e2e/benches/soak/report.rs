//! The report of a run, for readers.

use std::collections::BTreeMap;

use llm_autoscaler_e2e::copies::{Copies, Copy};

use crate::{
    churn::{Churn, EVERY, INTERVAL},
    samples::{FIGURES, Samples},
};

/// The number of different lines of the log that are printed.
const LINES: usize = 8;
/// The number of characters of each that are printed.
const WIDTH: usize = 250;

/// Prints the report. Returns what is wrong.
pub(crate) fn print(samples: &Samples, copies: &Copies<'_>, churn: &Churn<'_>) -> Vec<String> {
    println!(
        "{} replacements, one every {} s: each of {} pods, and of {} targets with their \
         autoscalers; pages scraped every {INTERVAL} s; {} samples missing",
        churn.rounds,
        EVERY.as_secs(),
        churn.replaced(),
        churn.replaced_targets(),
        samples.missing(),
    );
    Copy::BOTH.into_iter().flat_map(|copy| of_copy(samples, copies, copy)).collect()
}

fn of_copy(samples: &Samples, copies: &Copies<'_>, copy: Copy) -> Vec<String> {
    let mut wrong = Vec::new();
    println!("\ncopy {}         early       late     growth     per hour", copy.number());
    for (index, figure) in FIGURES.iter().enumerate() {
        let Some(allowance) = figure.allowance else { continue };
        let Some(trend) = samples.trend(copy, index) else {
            wrong.push(format!("copy {}: too few samples of {}", copy.number(), figure.name));
            continue;
        };
        let growth = trend.late - trend.early;
        let is_flat = trend.is_flat(allowance);
        println!(
            "  {:<12} {:>10.1} {:>10.1} {growth:>+10.1} {:>+12.2}  {}",
            figure.name,
            trend.early,
            trend.late,
            trend.per_hour,
            if is_flat { "flat" } else { "GROWS" },
        );
        if !is_flat {
            wrong.push(format!("copy {}: {} {growth:+.1}", copy.number(), figure.name));
        }
    }
    let last = |name| samples.last_and_most(copy, name).0;
    println!(
        "  {:.0} scrapes, {:.0} failed, late p99 {:.0} ms; {:.0} decisions, {:.0} sizes and {:.0} \
         statuses written; {:.0} panics; the Lease changed hands {:.0} times; the watch of pods \
         was silent for {:.0} s at most; {:.0} s of CPU",
        last("scrapes_ok") + last("scrapes_failed"),
        last("scrapes_failed"),
        1000.0 * last("late_p99_seconds"),
        last("decisions"),
        last("scale_writes"),
        last("status_writes"),
        last("panics"),
        last("lease_transitions"),
        samples.last_and_most(copy, "pods_watch_age_seconds").1,
        last("cpu_seconds"),
    );
    if last("panics") > 0.0 {
        wrong.push(format!("copy {}: {:.0} panics", copy.number(), last("panics")));
    }
    print_log(&copies.operator(copy).log_tail(usize::MAX));
    wrong
}

/// Prints the warnings and errors of a log by their number, without what differs among them.
fn print_log(log: &str) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in log.lines() {
        let Some(at) = [" WARN ", " ERROR "].iter().find_map(|level| line.find(level)) else {
            continue;
        };
        let text = line[at..].chars().map(|c| if c.is_ascii_digit() { '#' } else { c });
        *counts.entry(text.take(WIDTH).collect()).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    println!("  {total} warnings and errors in the log");
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (text, count) in counts.into_iter().take(LINES) {
        println!("  {count:>6} x{text}");
    }
}
