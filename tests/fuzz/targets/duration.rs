//! Durations in PromQL's syntax: Prometheus's rule reads back the duration that was printed.
#![no_main]

use std::{sync::LazyLock, time::Duration};

use libfuzzer_sys::fuzz_target;
use llm_autoscaler_engines::prometheus::duration;
use regex::Regex;

/// The grammar of Prometheus's `model.ParseDuration`: every unit at most once, the largest first.
static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    let units = UNITS.map(|(unit, _)| format!("(?:([0-9]+){unit})?"));
    Regex::new(&format!("^{}$", units.concat())).expect("it is a pattern")
});

/// Units, and their milliseconds.
const UNITS: [(&str, u128); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

fn milliseconds(text: &str) -> Option<u128> {
    let amounts = GRAMMAR.captures(text).filter(|_| !text.is_empty())?;
    UNITS.iter().enumerate().try_fold(0, |sum, (index, (_, length))| {
        let amount = amounts
            .get(index + 1)
            .map_or(Some(0), |amount| amount.as_str().parse::<u128>().ok())?;
        Some(sum + amount * length)
    })
}

fuzz_target!(|input: (u64, u32)| {
    let (seconds, nanoseconds) = input;
    let given = Duration::new(seconds, nanoseconds % 1_000_000_000);
    let text = duration(given);
    assert_eq!(milliseconds(&text), Some(given.as_millis()), "{text}");
});
