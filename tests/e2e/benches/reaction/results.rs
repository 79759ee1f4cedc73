//! The distributions of the times, in a file and as a table.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf, time::Duration};

use anyhow::{Context, Result};

/// The series that the ratios of a scenario refer to: the default of this operator.
const REFERENCE: &str = "sampled every 2 s";

/// The figures of all series, in seconds.
pub(crate) struct Results {
    file: Option<PathBuf>,
    /// By scenario and series, in the order of their first run.
    all: Vec<((String, String), Figures)>,
}

#[derive(Clone, Copy)]
struct Figures {
    steps: usize,
    p50: f64,
    p99: f64,
    longest: f64,
}

impl Results {
    /// Begins with what a file has, or with nothing.
    pub(crate) fn open(file: Option<String>) -> Result<Self> {
        let file = file.map(PathBuf::from);
        let mut all = Vec::new();
        if let Some(path) = file.as_ref().filter(|path| path.exists()) {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading earlier figures from {}", path.display()))?;
            for line in text.lines() {
                all.push(parse(line).with_context(|| format!("{}: {line}", path.display()))?);
            }
        }
        Ok(Self { file, all })
    }

    /// Adds a series in place of an earlier one of its name, and prints it.
    pub(crate) fn add(&mut self, scenario: &str, series: &str, times: Vec<Duration>) -> Result<()> {
        let figures = Figures::of(times).context("no steps")?;
        println!("  {series}: {}", figures.text());
        let key = (scenario.to_owned(), series.to_owned());
        match self.all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = figures,
            None => self.all.push((key, figures)),
        }
        let Some(file) = &self.file else { return Ok(()) };
        let mut text = String::new();
        for ((scenario, series), it) in &self.all {
            let Figures { steps, p50, p99, longest } = it;
            writeln!(text, "{scenario}\t{series}\t{steps}\t{p50}\t{p99}\t{longest}")?;
        }
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// Prints a table for each scenario, with the ratios to the default of this operator.
    pub(crate) fn print(&self) {
        let mut scenarios: BTreeMap<&str, Vec<(&str, Figures)>> = BTreeMap::new();
        for ((scenario, series), figures) in &self.all {
            scenarios.entry(scenario).or_default().push((series, *figures));
        }
        for (scenario, all) in scenarios {
            println!("\n| {scenario} | steps | p50 | p99 | longest | ratio of p50 | of p99 |");
            println!("|---|---|---|---|---|---|---|");
            let reference = all.iter().find(|(series, _)| *series == REFERENCE).map(|it| it.1);
            for (series, it) in all {
                let ratio = |of: fn(&Figures) -> f64| {
                    reference.map_or("?".to_owned(), |by| format!("{:.1}", of(&it) / of(&by)))
                };
                let Figures { steps, p50, p99, longest } = it;
                let (median, late) = (ratio(|it| it.p50), ratio(|it| it.p99));
                println!(
                    "| {series} | {steps} | {p50:.3} s | {p99:.3} s | {longest:.3} s | {median} | {late} |"
                );
            }
        }
    }
}

impl Figures {
    /// Returns the distribution of the times of steps.
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort();
        let steps = times.len();
        let longest = times.last()?.as_secs_f64();
        // The percentile is the smallest time that this share of the steps did not exceed.
        let at =
            |share: f64| times[((steps as f64 * share).ceil() as usize).max(1) - 1].as_secs_f64();
        Some(Self { steps, p50: at(0.5), p99: at(0.99), longest })
    }

    fn text(&self) -> String {
        let Self { steps, p50, p99, longest } = self;
        format!("{steps} steps: p50 {p50:.3} s, p99 {p99:.3} s, longest {longest:.3} s")
    }
}

/// Reads a line of the file.
fn parse(line: &str) -> Result<((String, String), Figures)> {
    let parts: Vec<_> = line.split('\t').collect();
    let part = |index: usize| parts.get(index).copied().context("it has too few columns");
    let figures = Figures {
        steps: part(2)?.parse()?,
        p50: part(3)?.parse()?,
        p99: part(4)?.parse()?,
        longest: part(5)?.parse()?,
    };
    Ok(((part(0)?.to_owned(), part(1)?.to_owned()), figures))
}
