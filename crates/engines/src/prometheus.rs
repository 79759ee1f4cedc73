//! Prometheus servers as a source: the queries that they are sent, and the values of pods in their
//! responses.
//!
//! A query asks for the raw samples of a recent range (a range vector selector as an instant
//! query), never for the current value, which may be five minutes old without a sign of it. With
//! raw samples a dead pod's last value is known to be old, and means, rates and quantiles are
//! computed exactly as from metrics pages.

mod histogram;
mod pods;
mod promql;
mod response;
mod scrapes;
mod stored;

pub use histogram::{Bucket, Histogram};
pub use pods::{PodLabels, PodReading, PodSeries, group_by_pod};
pub use promql::{duration, label_matcher, range_selector, regex_matcher};
pub use response::{QueryData, QueryResponse, ResponseError, Series};
pub use scrapes::{Conflict, ScrapeId, late_after};
pub use stored::stored_names;
