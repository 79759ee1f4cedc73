//! The answer to a query, as its subscribers need it: samples by pod, or the numbers of a spec's
//! query.

use std::sync::Arc;

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::prometheus::{PodLabels, QueryData};

use crate::sampling::{
    error::{FetchError, FetchProblem},
    memory::Reservation,
    prometheus::{
        demand::ServerKey, instant_query::QueryResult, query_plan::QueryId,
        range_samples::RangeResponse,
    },
};

/// An answer whose series take more memory than this, in bytes, is sorted beside the other tasks.
const LARGE: usize = 256 << 10;

/// The answer to a query.
pub(super) struct QueryAnswer {
    /// The seconds that the server's clock is ahead of the operator's, if the response has a Date.
    pub(super) clock_ahead: Option<f64>,
    pub(super) found: Found,
}

/// The content of an answer.
pub(super) enum Found {
    /// The series of pods.
    Pods(RangeResponse),
    /// The numbers of a spec's query.
    Numbers(QueryReply),
}

/// The latest results of a query of a spec.
#[derive(Clone, Debug, Default)]
pub(super) struct QueryReply {
    /// The error of the latest query.
    pub(super) error: Option<FetchError>,
    /// The warnings of the latest response.
    pub(super) warnings: Vec<String>,
    /// The latest response.
    pub(super) numbers: Option<QueryNumbers>,
}

/// The numbers of a response, one per series.
#[derive(Clone, Debug)]
pub(super) struct QueryNumbers {
    pub(super) at: Monotonic,
    pub(super) numbers: Vec<f64>,
    /// The memory of the numbers, reserved as long as they are here.
    _memory: Arc<Reservation>,
}

impl QueryAnswer {
    /// Sorts the series of a result that came in at `at`.
    pub(super) fn new(
        query: &QueryId,
        result: QueryResult,
        labels: &PodLabels,
        at: Monotonic,
    ) -> Self {
        let clock_ahead = result.clock_ahead;
        let found = match query {
            QueryId::Expression(_) => Found::Numbers(QueryReply::new(result, at)),
            QueryId::Range(..) => Found::Pods(RangeResponse::new(result, labels, at)),
        };
        Self { clock_ahead, found }
    }

    /// Does the same. The series of thousands of pods are sorted beside the other tasks.
    ///
    /// # Errors
    /// Sorting ended by a panic.
    pub(super) async fn sorted(
        query: &QueryId,
        result: QueryResult,
        server: &ServerKey,
        at: Monotonic,
    ) -> Result<Self, FetchError> {
        if result.memory.bytes() <= LARGE {
            return Ok(Self::new(query, result, &server.labels, at));
        }
        let (query, labels) = (query.clone(), server.labels.clone());
        let sort = move || Self::new(&query, result, &labels, at);
        let sorted = tokio::task::spawn_blocking(sort).await;
        sorted.map_err(|error| FetchError::Request {
            url: server.url.clone(),
            problem: FetchProblem::Invalid(format!("the series could not be sorted: {error}")),
        })
    }
}

impl QueryReply {
    fn new(QueryResult { response, mut memory, .. }: QueryResult, at: Monotonic) -> Self {
        let mut numbers: Vec<f64> = match response.data {
            QueryData::Scalar(number) => vec![number],
            QueryData::Series(series) => {
                series.iter().filter_map(|series| Some(series.samples.last()?.1)).collect()
            }
        };
        numbers.shrink_to_fit();
        // The series are gone; giving back always succeeds.
        let _ = memory.resize(memory.bytes().min(size_of_val(&*numbers)));
        let numbers = Some(QueryNumbers { at, numbers, _memory: Arc::new(memory) });
        Self { error: None, warnings: response.warnings, numbers }
    }
}
