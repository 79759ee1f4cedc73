//! A Prometheus server as a source: what it is asked, and what its answers say about pods.
//!
//! A server is asked for the raw samples of a recent stretch of time (a range selector as an instant query), never
//! for its idea of the current value: that would be up to five minutes old and would not say so. So a dead pod's last
//! value is known to be old, and means, rates and quantiles are made of samples exactly as from pages.

mod answer;
mod pod;
mod query;

pub use answer::{Answer, AnswerError, Outcome, Series};
pub use pod::{PodLabels, PodReading, PodSeries, by_pod};
pub use query::{duration, matcher, range_query};
