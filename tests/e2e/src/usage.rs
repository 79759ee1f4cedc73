//! The resources that an operator uses, and its own metrics.

use anyhow::{Context, Result};

use crate::Operator;

/// The resources of a process at one moment, as the kernel counts them.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The CPU time of all its threads, in seconds.
    pub cpu: f64,
    /// The resident memory, in MiB.
    pub memory: f64,
    /// The number of open descriptors: files, sockets, pipes.
    pub descriptors: f64,
    /// The number of threads.
    pub threads: f64,
}

impl Usage {
    /// Reads the usage of an operator.
    ///
    /// # Errors
    /// The operator does not run.
    pub fn of(operator: &Operator) -> Result<Self> {
        let pid = operator.pid().context("the operator does not run")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |field: &str| {
            let text = status.lines().find_map(|line| line.strip_prefix(field))?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        // The kernel counts in ticks of 1/100 s on every Linux that this runs on.
        let cpu = ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / 100.0);
        Ok(Self {
            cpu: cpu.context("no CPU time in /proc/PID/stat")?,
            memory: number("VmRSS:").context("no VmRSS in /proc/PID/status")? / 1024.0,
            descriptors: descriptors as f64,
            threads: number("Threads:").context("no Threads in /proc/PID/status")?,
        })
    }
}

/// A page of the operator's own metrics.
#[derive(Clone, Debug)]
pub struct OwnMetrics(String);

impl OwnMetrics {
    /// Fetches the page of an operator.
    ///
    /// # Errors
    /// The operator does not answer.
    pub async fn of(operator: &Operator) -> Result<Self> {
        operator.metrics().await.map(Self)
    }

    /// Returns the value of a series, which is given as on the page: `name{label="value"}`.
    pub fn value(&self, series: &str) -> Option<f64> {
        let is_it = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok();
        self.0.lines().find_map(is_it)
    }

    /// Returns the sum over the series of a name that have labels.
    pub fn sum(&self, name: &str) -> f64 {
        let prefix = format!("{name}{{");
        let lines = self.0.lines().filter(|line| line.starts_with(&prefix));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        // An empty sum of floating-point numbers is -0.
        values.fold(0.0, |sum, value| sum + value)
    }

    /// Returns the sum over the series that begin like this: `name{label="value"`.
    pub fn sum_of(&self, beginning: &str) -> f64 {
        let lines = self.0.lines().filter(|line| line.starts_with(beginning));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.fold(0.0, |sum, value| sum + value)
    }

    /// Returns the buckets of a histogram: upper bounds and cumulative counts.
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let prefix = format!("{name}_bucket{{le=\"");
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(&prefix));
        let bucket = |line: &str| {
            let (le, count) = line.split_once("\"} ")?;
            Some((le.parse::<f64>().unwrap_or(f64::INFINITY), count.parse().ok()?))
        };
        lines.filter_map(bucket).collect()
    }
}

/// Returns the upper bound of the bucket that a share of a histogram's observations is within.
pub fn within(buckets: &[(f64, f64)], share: f64) -> f64 {
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    let bucket = buckets.iter().find(|(_, count)| *count >= share * all);
    bucket.map_or(f64::INFINITY, |(le, _)| *le)
}
