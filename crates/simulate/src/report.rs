//! The outcomes of several policies, as a table for people.

use std::fmt::Write;

use crate::{
    picture::text::latency,
    score::{Outcome, Promise},
};

/// The heads of the columns.
const HEADS: [&str; 13] = [
    "POLICY",
    "ATTAINMENT",
    "WORST 5 MIN",
    "GPU-HOURS",
    "REPLICAS",
    "PEAK",
    "TTFT P50",
    "P99",
    "ITL P50",
    "P99",
    "REVERSALS",
    "CUT OFF",
    "NO ANSWER",
];

/// Returns a table with a row for each policy.
pub fn table(promise: Promise, outcomes: &[(String, Outcome)]) -> String {
    let rows: Vec<[String; 13]> =
        outcomes.iter().map(|(name, outcome)| row(promise, name, outcome)).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &[String; 13]| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match index {
                0 => write!(line, "{cell:width$}"),
                _ => write!(line, "  {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&HEADS.map(str::to_owned));
    rows.iter().for_each(line);
    text
}

fn row(promise: Promise, name: &str, outcome: &Outcome) -> [String; 13] {
    let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), latency);
    // Of no request nothing can be said.
    let share = |text: String| if outcome.requests == 0 { "-".to_owned() } else { text };
    let kept = outcome.attainment * 100.0 >= promise.percentile;
    [
        name.to_owned(),
        share(format!("{:.2} %{}", outcome.attainment * 100.0, if kept { "" } else { " !" })),
        share(format!("{:.1} %", outcome.worst_five_minutes * 100.0)),
        format!("{:.2}", outcome.gpu_hours),
        format!("{:.2}", outcome.mean_replicas),
        outcome.peak_replicas.to_string(),
        seconds(outcome.ttft_p50),
        seconds(outcome.ttft_p99),
        seconds(outcome.itl_p50),
        seconds(outcome.itl_p99),
        outcome.reversals.to_string(),
        outcome.cut_off.to_string(),
        (outcome.refused + outcome.unfinished).to_string(),
    ]
}
