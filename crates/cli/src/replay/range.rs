//! The range of time that is recorded.

use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use llm_autoscaler_simulate::recording::Header;

/// The options of the range of time.
#[derive(Debug, clap::Args)]
pub(super) struct RangeArgs {
    /// The length of the recording, such as 7d or 12h; it ends at --to.
    #[arg(
        long,
        default_value = "1d",
        value_parser = humantime::parse_duration,
        value_name = "DURATION",
        conflicts_with = "from"
    )]
    last: Duration,
    /// The start of the recording, such as 2026-11-20T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<DateTime<Utc>>,
    /// The end of the recording; now if absent.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<DateTime<Utc>>,
    /// The time that one query covers. Each chunk is kept once it is there; one that a server
    /// refuses is asked in parts.
    #[arg(
        long,
        default_value = "1h",
        value_parser = humantime::parse_duration,
        value_name = "DURATION"
    )]
    chunk: Duration,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| "write it as 2026-11-20T00:00:00Z".to_owned())
}

impl RangeArgs {
    /// Returns the start and the end, in seconds since 1970. A recording that has begun keeps its
    /// own, unless another time is named.
    pub(super) fn resolve(&self, begun: Option<&Header>) -> anyhow::Result<(f64, f64)> {
        let seconds = |at: DateTime<Utc>| at.timestamp_millis() as f64 / 1e3;
        if let (None, None, Some(header)) = (self.from, self.to, begun) {
            return Ok((header.from, header.to));
        }
        #[expect(clippy::disallowed_methods, reason = "a recording is of the time up to now")]
        let now = Utc::now;
        let to = seconds(self.to.unwrap_or_else(now)).floor();
        let from = self.from.map_or(to - self.last.as_secs_f64(), seconds);
        ensure!(from < to, "the recording is to begin before it ends: check --from and --to");
        Ok((from, to))
    }

    /// Returns the length of a chunk, in seconds.
    pub(super) fn chunk(&self) -> f64 {
        self.chunk.as_secs_f64().max(60.0)
    }
}

/// Returns a time in words.
pub(super) fn time_text(at: f64) -> anyhow::Result<String> {
    let time = DateTime::from_timestamp_millis((at * 1e3) as i64);
    let time = time.with_context(|| format!("{at} is no time"))?;
    Ok(time.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}
