//! Responses of Prometheus's HTTP API to an instant query.
//!
//! Types and fields have the API's own names, see
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>.

mod series_reader;
mod warnings;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::warnings::{Warnings, short};
use super::{Bucket, Histogram};
use crate::labels::MOST_LABELS;

/// The warning that a response with `isPartial` stands for.
const PARTIAL: &str = "isPartial: a part of its storage nodes did not answer";

/// The memory that an allocation takes beside its bytes.
const ALLOCATION: usize = 16;
/// The memory of an interned text beside its bytes: two counters, the place in the set, and the
/// allocation.
const TEXT: usize = 64;

/// A successful response to a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryResponse {
    /// The result of the query.
    pub data: QueryData,
    /// The server's warnings, for example that a part of the result is missing.
    pub warnings: Vec<String>,
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryData {
    /// The series of a `vector` or a `matrix`. In a `vector` each has one sample.
    Series(Vec<Series>),
    /// The number of a `scalar`.
    Scalar(f64),
}

/// A series of a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// The name of the metric; empty if the query has computed the series.
    pub name: Arc<str>,
    /// All other labels, in the server's order.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Times (seconds since 1970, by the clock of the server that scraped them) and values, the
    /// oldest first.
    pub samples: Vec<(f64, f64)>,
    /// Times and native histograms, the oldest first.
    pub histograms: Vec<(f64, Histogram)>,
}

/// The reason why a response has no numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The server has rejected the query.
    #[error("the server rejected the query: {error_type}: {error}")]
    Rejected {
        /// The API's `errorType`, such as `bad_data`.
        error_type: String,
        /// The API's `error`, a sentence.
        error: String,
    },
    /// The body is not a response of Prometheus's API.
    #[error("this is not a response of Prometheus's API (check the URL and its prefix): {0}")]
    NotPrometheus(String),
    /// The result is of a type without numbers.
    #[error("the query returns a {0}, not numbers")]
    NoNumbers(String),
    /// The response takes more memory than it may.
    #[error("its series take more than {0} bytes of memory")]
    TooLarge(usize),
    /// A series has too many labels.
    #[error("a series has more than {MOST_LABELS} labels")]
    ManyLabels,
    /// An element of the vector is a native histogram.
    #[error(
        "the query returns a native histogram, not numbers: apply histogram_quantile, \
         histogram_count or histogram_sum to it"
    )]
    Histogram,
}

impl Default for QueryData {
    fn default() -> Self {
        Self::Series(Vec::new())
    }
}

#[derive(Deserialize)]
struct RawResponse<'a> {
    status: &'a str,
    #[serde(borrow)]
    data: Option<RawData<'a>>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Option<Warnings>,
    /// True if a storage node did not answer. Only clusters of `VictoriaMetrics` send it, and no
    /// warning beside it.
    #[serde(default, rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct RawData<'a> {
    #[serde(rename = "resultType")]
    result_type: &'a str,
    #[serde(borrow)]
    result: &'a RawValue,
}

impl QueryResponse {
    /// Returns the memory of the response, in bytes.
    pub fn size(&self) -> usize {
        let series = match &self.data {
            QueryData::Scalar(_) => 0,
            QueryData::Series(series) => series.iter().map(Series::size).sum(),
        };
        size_of::<Self>() + series + self.warnings.iter().map(String::len).sum::<usize>()
    }

    /// Parses the body of a response.
    ///
    /// # Errors
    /// Fails with a [`ResponseError`] if the server has rejected the query, or if the body has no
    /// numbers.
    pub fn parse(body: &[u8]) -> Result<Self, ResponseError> {
        Self::parse_within(body, usize::MAX)
    }

    /// Parses the body of a response that takes at most `most` bytes of memory beside the body.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and if the response takes more memory.
    pub fn parse_within(body: &[u8], most: usize) -> Result<Self, ResponseError> {
        let raw: RawResponse<'_> =
            serde_json::from_slice(body).map_err(|error| not_prometheus(&error))?;
        if raw.status != "success" {
            return Err(ResponseError::Rejected {
                error_type: short(&raw.error_type),
                error: short(&raw.error),
            });
        }
        let warnings = warnings(raw.warnings, raw.is_partial);
        let Some(RawData { result_type, result }) = raw.data else {
            return Err(ResponseError::NotPrometheus("it has no data".to_owned()));
        };
        let data = match result_type {
            "vector" | "matrix" => {
                let series = series_reader::read(result.get(), most)?;
                let is_histogram = |series: &Series| !series.histograms.is_empty();
                if result_type == "vector" && series.iter().any(is_histogram) {
                    return Err(ResponseError::Histogram);
                }
                QueryData::Series(series)
            }
            "scalar" => {
                let series_reader::Point(_, value) =
                    serde_json::from_str(result.get()).map_err(|error| not_prometheus(&error))?;
                QueryData::Scalar(value)
            }
            other => return Err(ResponseError::NoNumbers(short(other))),
        };
        Ok(Self { data, warnings })
    }
}

impl Series {
    /// Returns the value of a label, if the series has it.
    pub fn label(&self, wanted: &str) -> Option<&str> {
        self.text(wanted).map(|value| &**value)
    }

    /// Returns the value of a label as a text that others share, if the series has it.
    pub(super) fn text(&self, wanted: &str) -> Option<&Arc<str>> {
        self.labels.iter().find(|(name, _)| **name == *wanted).map(|(_, value)| value)
    }

    /// Returns the memory of the series, in bytes, with the texts that no other series has.
    fn size(&self) -> usize {
        let own =
            |text: &Arc<str>| if Arc::strong_count(text) <= 2 { text.len() + TEXT } else { 0 };
        let labels = self.labels.iter().map(|(name, value)| own(name) + own(value));
        let buckets = |(_, histogram): &(f64, Histogram)| histogram.buckets.capacity();
        size_of::<Self>()
            + 3 * ALLOCATION
            + labels.sum::<usize>()
            + self.labels.capacity() * size_of::<(Arc<str>, Arc<str>)>()
            + self.samples.capacity() * size_of::<(f64, f64)>()
            + self.histograms.capacity() * size_of::<(f64, Histogram)>()
            + self.histograms.iter().map(buckets).sum::<usize>() * size_of::<Bucket>()
    }

    /// Returns the times of its samples and of its histograms, the oldest first. A series has one
    /// of the two forms.
    pub fn times(&self) -> impl DoubleEndedIterator<Item = f64> {
        let samples = self.samples.iter().map(|(at, _)| *at);
        samples.chain(self.histograms.iter().map(|(at, _)| *at))
    }
}

/// Returns the warnings of a response. A partial one counts as a warning, because it lacks
/// the series of the nodes that did not answer.
fn warnings(of_server: Option<Warnings>, is_partial: Option<bool>) -> Vec<String> {
    let Warnings(mut warnings) = of_server.unwrap_or_default();
    warnings.extend(is_partial.unwrap_or_default().then(|| PARTIAL.to_owned()));
    warnings
}

fn not_prometheus(error: &serde_json::Error) -> ResponseError {
    ResponseError::NotPrometheus(short(&error.to_string()))
}

#[cfg(test)]
mod tests;
