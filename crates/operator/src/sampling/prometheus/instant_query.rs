//! A query, and its result.

use std::time::Duration;

use llm_autoscaler_engines::prometheus::{QueryData, QueryResponse};

use crate::sampling::memory::Reservation;

/// The largest number of warnings of a result, as of a single response.
const MOST_WARNINGS: usize = 10;

/// An instant query.
#[derive(Debug, PartialEq)]
pub(super) struct InstantQuery {
    /// The PromQL expression.
    pub(super) expression: String,
    /// Expressions that select the same series together, one for each name; empty if the expression
    /// selects at most one name.
    pub(super) by_name: Vec<String>,
    /// The age after which a sample is ignored; `None` if the expression selects a range.
    pub(super) lookback: Option<Duration>,
    pub(super) timeout: Duration,
}

/// The result of a query.
pub(super) struct QueryResult {
    pub(super) response: QueryResponse,
    /// The server's time, in seconds since 1970; the operator's if the response has no Date.
    pub(super) now: f64,
    /// The seconds that the server's clock is ahead of the operator's, if the response has a Date.
    pub(super) clock_ahead: Option<f64>,
    /// The memory of the response, reserved as long as this lives.
    pub(super) memory: Reservation,
}

impl QueryResult {
    /// Adds the series and warnings of a later result of other series.
    pub(super) fn append(&mut self, later: Self) {
        if let (QueryData::Series(all), QueryData::Series(series)) =
            (&mut self.response.data, later.response.data)
        {
            all.extend(series);
        }
        let warnings = &mut self.response.warnings;
        for warning in later.response.warnings {
            if warnings.len() < MOST_WARNINGS && !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        // By the latest time, no sample looks younger than it is.
        self.now = self.now.max(later.now);
        self.clock_ahead = later.clock_ahead.or(self.clock_ahead);
        self.memory.absorb(later.memory);
    }
}
