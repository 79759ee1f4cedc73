//! The page of the results.

use std::{fmt::Write, path::Path};

use llm_autoscaler_simulate::Outcome;

use crate::{Row, scenarios::Case};

const HEAD: &str = "# Results of the simulator

Written by `make simulate-bench`; do not edit. [simulate.md](simulate.md) describes the model and
the policies. Every figure is of a simulation. One of another autoscaler is of our reading of its
documentation and code, with its defaults or with the number behind its name, and is no measurement
of the product.

Attainment is the share of requests with TTFT ≤ 2 s (or four times its own prefill) and a mean ITL ≤
100 ms, over all arrivals after ten minutes of warm-up; requests that were refused, cut off or never
finished have missed. Replica-hours are from creation to deletion. The bound is the clairvoyant
policy; a ratio to it is given where the policy keeps the promise with every seed.

[behavior.md](behavior.md#what-deciding-with-each-sample-costs) says why an LLMAutoscaler with
defaults differs from the HPA's formula at the same target; the last sections have the figures.";

/// The page, section by section.
pub(crate) struct Page {
    text: String,
}

impl Page {
    pub(crate) fn new(seeds: u64) -> Self {
        let values = "Each figure is the median over the seeds, with the lowest and the highest \
                      value\nin brackets where they differ.";
        Self { text: format!("{HEAD}\n\nSeeds: 1 to {seeds}. {values}\n") }
    }

    pub(crate) fn add(&mut self, section: &str) {
        self.text.push('\n');
        self.text.push_str(section);
    }

    pub(crate) fn write(&self) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulate-results.md");
        std::fs::write(page, &self.text).unwrap();
    }
}

/// Returns the section of a scenario.
pub(crate) fn section(case: &Case, rows: &[Row]) -> String {
    let doc = wrapped(&format!("{}.", capitalized(case.doc)));
    let mut text = format!("## {}\n\n{doc}\n\n", case.name);
    text.push_str(
        "| policy | attainment % | replica-hours | × bound | worst 5 min % | reversals | cut off |",
    );
    text.push_str("\n|---|---|---|---|---|---|---|\n");
    let bound = rows.first().and_then(|bound| median(&bound.outcomes, |it| it.gpu_hours));
    for row in rows.iter().filter(|row| !row.outcomes.is_empty()) {
        let cell = |of: fn(&Outcome) -> f64, digits: usize| spread(&row.outcomes, of, digits);
        let gpus = f64::from(case.scenario.profile.gpus);
        let hours: Vec<f64> = row.outcomes.iter().map(|it| it.gpu_hours / gpus).collect();
        let own = median(&row.outcomes, |it| it.gpu_hours);
        let kept = row.outcomes.iter().all(|it| it.promise_kept);
        let ratio = own.zip(bound).filter(|_| kept).map(|(own, bound)| own / bound);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.policy,
            cell(|it| it.attainment * 100.0, 2),
            spread_of(hours, 2),
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            cell(|it| it.worst_five_minutes * 100.0, 1),
            cell(|it| f64::from(it.reversals), 0),
            cell(|it| it.cut_off as f64, 0),
        )
        .unwrap();
    }
    text
}

fn median(outcomes: &[Outcome], of: fn(&Outcome) -> f64) -> Option<f64> {
    let mut numbers: Vec<f64> = outcomes.iter().map(of).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

/// Returns the text in lines of at most 100 columns.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().unwrap();
        if line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|it| it.to_uppercase().to_string()).unwrap_or_default();
    first + characters.as_str()
}

fn spread(outcomes: &[Outcome], of: fn(&Outcome) -> f64, digits: usize) -> String {
    spread_of(outcomes.iter().map(of).collect(), digits)
}

/// Returns the median of numbers, with the lowest and the highest one.
fn spread_of(mut numbers: Vec<f64>, digits: usize) -> String {
    numbers.sort_by(f64::total_cmp);
    let text = |number: f64| format!("{number:.digits$}");
    let (low, high) = (text(numbers[0]), text(numbers[numbers.len() - 1]));
    let median = text(numbers[numbers.len() / 2]);
    if low == high { median } else { format!("{median} [{low} … {high}]") }
}
