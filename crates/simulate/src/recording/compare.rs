//! The fleet of today beside policies, each run with several seeds.

use std::fmt::Write;

use serde::Serialize;

use super::measured::{Latency, Measured};
use crate::{picture::text::latency, score::Outcome};

/// A number over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The mean.
    pub mean: f64,
    /// The lowest number.
    pub low: f64,
    /// The highest number.
    pub high: f64,
}

/// A policy, and its outcomes for the seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The name of the policy.
    pub name: String,
    /// The outcome for each seed; at least one.
    pub runs: Vec<Outcome>,
}

/// A number of an outcome.
type Number = fn(&Outcome) -> Option<f64>;

/// The heads of the columns.
const HEADS: [&str; 9] = [
    "POLICY",
    "ATTAINMENT",
    "TTFT IN TIME",
    "GPU-HOURS",
    "REPLICAS",
    "PEAK",
    "TTFT P99",
    "ITL P99",
    "CHANGES",
];

impl Range {
    /// Returns the range of numbers; `None` without any.
    fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        let numbers: Vec<f64> = numbers.collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let low = numbers.iter().copied().min_by(f64::total_cmp)?;
        let high = numbers.iter().copied().max_by(f64::total_cmp)?;
        Some(Self { mean, low, high })
    }

    /// Returns the mean, and the ends of the range if they read differently.
    fn text(self, format: impl Fn(f64) -> String) -> String {
        let [mean, low, high] = [self.mean, self.low, self.high].map(&format);
        if low == high { mean } else { format!("{mean} ({low}..{high})") }
    }
}

impl Compared {
    /// Returns a number over the runs; `None` if none has it.
    pub fn range(&self, of: impl Fn(&Outcome) -> Option<f64>) -> Option<Range> {
        Range::of(self.runs.iter().filter_map(of))
    }

    fn row(&self) -> [String; 9] {
        let cell = |of: Number, format: fn(f64) -> String| {
            self.range(of).map_or_else(|| "-".to_owned(), |range| range.text(format))
        };
        [
            self.name.clone(),
            cell(|it| Some(it.attainment), percent),
            cell(|it| it.first_tokens_in_time, percent),
            cell(|it| Some(it.gpu_hours), |it| format!("{it:.2}")),
            cell(|it| Some(it.mean_replicas), |it| format!("{it:.2}")),
            cell(|it| Some(f64::from(it.peak_replicas)), |it| format!("{it:.0}")),
            cell(|it| it.ttft_p99, latency),
            cell(|it| it.itl_p99, latency),
            cell(|it| Some(f64::from(it.changes)), |it| format!("{it:.0}")),
        ]
    }

    /// Returns the runs together: each number with its range.
    pub fn json(&self) -> serde_json::Value {
        let ranges: [(&str, Number); 10] = [
            ("attainment", |it| Some(it.attainment)),
            ("firstTokensInTime", |it| it.first_tokens_in_time),
            ("worstFiveMinutes", |it| Some(it.worst_five_minutes)),
            ("gpuHours", |it| Some(it.gpu_hours)),
            ("meanReplicas", |it| Some(it.mean_replicas)),
            ("peakReplicas", |it| Some(f64::from(it.peak_replicas))),
            ("ttftP99", |it| it.ttft_p99),
            ("itlP99", |it| it.itl_p99),
            ("changes", |it| Some(f64::from(it.changes))),
            ("cutOff", |it| Some(it.cut_off as f64)),
        ];
        let ranges = ranges.map(|(name, of)| (name.to_owned(), serde_json::json!(self.range(of))));
        let mut json = serde_json::Value::Object(ranges.into_iter().collect());
        json["policy"] = self.name.clone().into();
        json["firstRun"] = serde_json::json!(self.runs.first());
        json
    }
}

/// Returns a table with a row for the fleet of today, as it was measured, and one for each policy.
/// `gpus` are those of a replica.
pub fn table(measured: &Measured, gpus: u32, policies: &[Compared]) -> String {
    let today = {
        let time = |latency_of: Option<Latency>| {
            let p99 = latency_of.and_then(|found| found.p99);
            p99.map_or_else(|| "-".to_owned(), latency)
        };
        [
            "today, measured".to_owned(),
            "-".to_owned(),
            measured.ttft.map_or_else(|| "-".to_owned(), kept),
            format!("{:.2}", measured.replica_hours * f64::from(gpus)),
            format!("{:.2}", measured.mean_replicas),
            measured.peak_replicas.to_string(),
            time(measured.ttft),
            time(measured.itl),
            measured.changes.to_string(),
        ]
    };
    let rows: Vec<[String; 9]> =
        std::iter::once(today).chain(policies.iter().map(Compared::row)).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for cells in std::iter::once(&HEADS.map(str::to_owned)).chain(&rows) {
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
    }
    text
}

/// Returns the share of events within the promise.
pub(super) fn kept(found: Latency) -> String {
    let [low, high] = [found.kept_at_least, found.kept_at_most].map(percent);
    if low == high { low } else { format!("{low}..{high}") }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_range_of_its_runs() {
        let run = |attainment, gpu_hours| Outcome { attainment, gpu_hours, ..Outcome::default() };
        let compared =
            Compared { name: "ours".to_owned(), runs: vec![run(0.99, 3.0), run(0.98, 3.0)] };
        let row = compared.row();
        assert_eq!(row[..2], ["ours", "98.50 % (98.00 %..99.00 %)"]);
        assert_eq!(row[3], "3.00");
        assert_eq!(row[6], "-", "no first token, no percentile");
    }
}
