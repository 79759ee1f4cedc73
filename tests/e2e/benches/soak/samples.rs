//! The resources of both copies, sampled while they run.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{
    copies::{Copies, Copy},
    usage::{OwnMetrics, Usage, within},
};
use llm_autoscaler_testbed::flatness::{Allowance, Sample, Trend};

/// The time between two samples.
const EVERY: Duration = Duration::from_secs(10);
/// The share of samples that may be missing.
const MISSING: f64 = 0.05;

/// A column of the samples.
pub(crate) struct Figure {
    /// The name of the column, with the unit.
    pub(crate) name: &'static str,
    /// The growth that still counts as flat; `None` where growth is meant.
    pub(crate) allowance: Option<Allowance>,
    read: fn(&Usage, &OwnMetrics) -> Option<f64>,
}

const fn flat(
    name: &'static str,
    (share, constant): (f64, f64),
    read: fn(&Usage, &OwnMetrics) -> Option<f64>,
) -> Figure {
    Figure { name, allowance: Some(Allowance { share, constant }), read }
}

const fn reported(name: &'static str, read: fn(&Usage, &OwnMetrics) -> Option<f64>) -> Figure {
    Figure { name, allowance: None, read }
}

/// The series of pages that were read.
const SCRAPED: &str = "llm_autoscaler_scrapes_total{result=\"ok\"}";

/// All columns. The constants are for the copy that stands by, of which all figures are small, and
/// for scrapes that happen to be under way.
pub(crate) const FIGURES: [Figure; 17] = [
    flat("memory_mib", (0.1, 4.0), |usage, _| Some(usage.memory)),
    flat("descriptors", (0.05, 16.0), |usage, _| Some(usage.descriptors)),
    flat("threads", (0.05, 2.0), |usage, _| Some(usage.threads)),
    flat("tasks", (0.05, 32.0), |_, page| page.value("llm_autoscaler_tasks")),
    flat("pages", (0.05, 0.0), |_, page| page.value("llm_autoscaler_pages")),
    flat("autoscalers", (0.05, 1.0), |_, page| page.value("llm_autoscaler_autoscalers")),
    flat("reserved_mib", (0.1, 1.0), |_, page| {
        page.value("llm_autoscaler_memory_reserved_bytes").map(|bytes| bytes / f64::from(1 << 20))
    }),
    reported("cpu_seconds", |usage, _| Some(usage.cpu)),
    reported("scrapes_ok", |_, page| Some(page.value(SCRAPED).unwrap_or(0.0))),
    reported("scrapes_failed", |_, page| {
        Some(page.sum("llm_autoscaler_scrapes_total") - page.value(SCRAPED).unwrap_or(0.0))
    }),
    reported("late_p99_seconds", |_, page| {
        let buckets = page.buckets("llm_autoscaler_scrape_lateness_seconds");
        Some(if buckets.last()?.1 > 0.0 { within(&buckets, 0.99) } else { 0.0 })
    }),
    reported("decisions", |_, page| Some(page.sum("llm_autoscaler_decisions_total"))),
    reported("scale_writes", |_, page| Some(page.sum("llm_autoscaler_scale_writes_total"))),
    reported("status_writes", |_, page| Some(page.sum("llm_autoscaler_status_writes_total"))),
    reported("panics", |_, page| Some(page.sum("llm_autoscaler_panics_total"))),
    reported("lease_transitions", |_, page| {
        Some(page.sum("llm_autoscaler_lease_transitions_total"))
    }),
    reported("pods_watch_age_seconds", |_, page| {
        page.value("llm_autoscaler_watch_age_seconds{kind=\"pods\"}")
    }),
];

/// The samples of both copies.
pub(crate) struct Samples {
    csv: File,
    rows: Vec<Row>,
    missing: usize,
}

struct Row {
    second: f64,
    copy: Copy,
    values: [Option<f64>; FIGURES.len()],
}

impl Samples {
    /// Begins the file.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let mut csv = File::create(path).with_context(|| path.display().to_string())?;
        let names = FIGURES.map(|figure| figure.name);
        writeln!(csv, "second,copy,{}", names.join(","))?;
        Ok(Self { csv, rows: Vec::new(), missing: 0 })
    }

    /// Samples both copies for a time. A copy that ends is an error, and one that does not answer
    /// has no sample.
    pub(crate) async fn take(&mut self, copies: &Copies<'_>, time: Duration) -> Result<()> {
        let began = Instant::now();
        let mut ticks = tokio::time::interval(EVERY);
        while began.elapsed() < time {
            ticks.tick().await;
            for copy in Copy::BOTH {
                let operator = copies.operator(copy);
                let usage = Usage::of(operator).with_context(|| copies.logs())?;
                match OwnMetrics::of(operator).await {
                    Ok(page) => self.add(began.elapsed(), copy, &usage, &page)?,
                    Err(_) => self.missing += 1,
                }
            }
        }
        let most = MISSING * self.rows.len() as f64;
        ensure!(self.missing as f64 <= most, "{} samples are missing", self.missing);
        Ok(())
    }

    fn add(&mut self, at: Duration, copy: Copy, usage: &Usage, page: &OwnMetrics) -> Result<()> {
        let row = Row {
            second: at.as_secs_f64(),
            copy,
            values: FIGURES.map(|figure| (figure.read)(usage, page)),
        };
        let values = row.values.map(|value| value.map(|value| format!("{value:.3}")));
        let values = values.map(Option::unwrap_or_default).join(",");
        writeln!(self.csv, "{:.0},{},{values}", row.second, copy.number())?;
        self.rows.push(row);
        Ok(())
    }

    /// Returns the number of samples that are missing.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Returns the samples of a figure of a copy.
    fn of(&self, copy: Copy, figure: usize) -> Vec<Sample> {
        let its = self.rows.iter().filter(|row| row.copy == copy);
        its.filter_map(|row| Some(Sample { second: row.second, value: row.values[figure]? }))
            .collect()
    }

    /// Returns the trend of a figure of a copy.
    pub(crate) fn trend(&self, copy: Copy, figure: usize) -> Option<Trend> {
        Trend::of(&self.of(copy, figure))
    }

    /// Returns the last and the largest value of a figure of a copy.
    pub(crate) fn last_and_most(&self, copy: Copy, name: &str) -> (f64, f64) {
        let figure = FIGURES.iter().position(|figure| figure.name == name);
        let values = figure.map(|figure| self.of(copy, figure)).unwrap_or_default();
        let most = values.iter().map(|sample| sample.value).fold(0.0, f64::max);
        (values.last().map_or(0.0, |sample| sample.value), most)
    }
}
