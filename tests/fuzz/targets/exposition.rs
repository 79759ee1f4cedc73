//! Any bytes as a metrics page: the reader never panics, and a quantity is a number or absent.
#![no_main]

use std::{cell::RefCell, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use llm_autoscaler_engines::{
    Engine, Kind, Recipe,
    exposition::{Extract, Extractor, PageError, PageSummary, Scratch, Value},
};

/// Reads all signals of all engines, and series of every kind with names that the fuzzer finds
/// quickly.
static EXTRACTOR: LazyLock<(Extractor, usize)> = LazyLock::new(|| {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let profiles = Engine::ALL.map(Engine::profile);
    let signals = profiles
        .iter()
        .flat_map(|profile| profile.signals.iter().map(|def| profile.recipe_of(def)));
    let mut recipes: Vec<Recipe> = signals.collect();
    for kind in [Kind::Gauge, Kind::Counter, Kind::Histogram] {
        for name in ["a", "a:b", "a.b"] {
            recipes.push(Recipe::series(kind, name, []));
            recipes.push(Recipe::series(kind, name, [label("l", "x"), label("m", "")]));
            recipes.push(
                Recipe::series(kind, name, [label("n.o", "\"\\\n")])
                    .with_repeat_labels(["l".to_owned()]),
            );
        }
    }
    (Extractor::new(&recipes), recipes.len())
});

type Memory = (Scratch, Vec<Extract>);

thread_local! {
    /// Memory that previous pages have used.
    static USED: RefCell<Memory> = RefCell::default();
}

fuzz_target!(|page: &[u8]| {
    let (extractor, count) = &*EXTRACTOR;
    let read = |(scratch, out): &mut Memory| extractor.read(page, scratch, out);
    let mut fresh = Memory::default();
    let result = read(&mut fresh);
    USED.with_borrow_mut(|used| {
        assert_eq!(read(used), result, "previous pages make a difference");
        assert_eq!(used.1, fresh.1, "previous pages make a difference");
    });

    assert_eq!(fresh.1.len(), *count);
    for extract in &fresh.1 {
        assert!(is_sound(&extract.value), "{extract:?}");
    }
    match result {
        Ok(summary) => check_summary(&summary, page),
        Err(error) => {
            let text = error.to_string();
            assert!(text.chars().count() < 1000 && !text.contains(char::is_control), "{text:?}");
            if !matches!(error, PageError::BadLine { .. }) {
                assert!(
                    fresh.1.iter().all(|extract| *extract == Extract::default()),
                    "{error}: {:?}",
                    fresh.1
                );
            }
        }
    }
});

fn is_sound(value: &Value) -> bool {
    match value {
        Value::Absent => true,
        Value::Number(number) => number.is_finite(),
        Value::Buckets(buckets) => {
            let (bounds, counts) = (buckets.bounds(), buckets.counts());
            bounds.len() == counts.len()
                && bounds.len() > 1
                && bounds.last() == Some(&f64::INFINITY)
                && bounds.is_sorted_by(|a, b| a < b)
                && counts.is_sorted()
                && counts.iter().all(|count| count.is_finite() && *count >= 0.0)
                && buckets.quantile(0.9).is_none_or(f64::is_finite)
        }
    }
}

fn check_summary(summary: &PageSummary, page: &[u8]) {
    let PageSummary { samples, comments, skipped_malformed, not_finite, duplicates } = *summary;
    let lines = page.split(|byte| *byte == b'\n').count();
    assert!(samples + comments + skipped_malformed <= lines, "{summary:?} of {lines} lines");
    assert!(not_finite + duplicates <= samples, "{summary:?}");
}
