//! The state of one Prometheus server: the subscriptions to it, and its latest results.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Measure,
    exposition::Scratch,
    prometheus::{PodLabels, PodReading, PodSeries, QueryData, group_by_pod, late_after},
};
use tokio::sync::Notify;

use crate::sampling::{
    error::FetchError,
    feed::{FeedState, SubscriberId},
    memory::Reservation,
    prometheus::{
        client::QueryResult,
        demand::{QueryDemand, QueryPace, range},
        query_plan::{Purpose, QueryPlan},
    },
};

/// The interval of a server without subscribers, which is not queried.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// The subscriptions to a server, and its latest results.
#[derive(Default)]
pub(crate) struct ServerState {
    demands: HashMap<SubscriberId, QueryDemand>,
    /// The samples of pods, by the range of time.
    ranges: HashMap<Duration, RangeSamples>,
    /// The results of the specs' queries, by their PromQL expression.
    replies: HashMap<String, QueryReply>,
    clock_ahead: Option<f64>,
}

/// The samples of pods over one range of time.
#[derive(Default)]
struct RangeSamples {
    /// The error of the latest query.
    error: Option<FetchError>,
    /// The warnings of the latest response.
    warnings: Vec<String>,
    /// The time of the latest response.
    at: Option<Monotonic>,
    /// The server's time of the latest response, in seconds since 1970.
    server_time: f64,
    /// The shortest spacing of a namespace's series in seconds, for a pod with a single sample: it
    /// is scraped as often as its neighbours.
    spacings: HashMap<String, f64>,
    /// The pods, by namespace and name.
    pods: HashMap<String, HashMap<String, PodSamples>>,
    /// The memory that is reserved for the series.
    memory: Vec<Reservation>,
}

/// The series of a pod, and the readings that have been taken from them.
#[derive(Default)]
struct PodSamples {
    series: PodSeries,
    readings: Vec<(Arc<Measure>, Option<PodReading>)>,
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
}

/// The value of a measure of a pod.
pub(super) struct PodSample {
    pub(super) reading: PodReading,
    /// The time since the server scraped it.
    pub(super) age: Duration,
    /// The reason why it is not the pod's number of now.
    pub(super) doubt: Option<SampleDoubt>,
}

/// A reason to doubt a sample.
#[derive(Debug, PartialEq)]
pub(super) enum SampleDoubt {
    /// The latest query has failed.
    Failed(FetchError),
    /// The latest response has this warning.
    Warned(String),
    /// The server has not scraped the pod lately, as far as the spacing of its samples tells.
    Late {
        /// The age of the sample at the time of the query.
        age: Duration,
        /// The time from one sample to the next; `None` if no pod of the namespace shows it.
        spacing: Option<Duration>,
    },
    /// The pod has the series at this many addresses.
    Addresses(usize),
    /// Less than half of the window is known.
    Young,
}

/// The result of a query, and its use.
pub(super) struct CompletedQuery {
    pub(super) purpose: Purpose,
    pub(super) result: Result<QueryResult, FetchError>,
}

impl FeedState for ServerState {
    type Subscription = QueryDemand;

    fn subscribe(&mut self, subscriber: SubscriberId, demand: QueryDemand) {
        self.demands.insert(subscriber, demand);
    }

    fn unsubscribe(&mut self, subscriber: SubscriberId) {
        self.demands.remove(&subscriber);
    }

    fn has_subscribers(&self) -> bool {
        !self.demands.is_empty()
    }
}

impl ServerState {
    /// Returns the sample of a pod, given by namespace and name. `Ok(None)` before the first query,
    /// and if the latest response has no series of the pod.
    ///
    /// # Errors
    /// The latest query failed, and no earlier response has a series of the pod.
    pub(super) fn sample(
        &mut self,
        pod: (&str, &str),
        measure: &Arc<Measure>,
        stale_after: Duration,
        now: Monotonic,
    ) -> Result<Option<PodSample>, FetchError> {
        let Some(samples) = self.ranges.get_mut(&range(measure, stale_after)) else {
            return Ok(None);
        };
        let Some(at) = samples.at else { return samples.error.clone().map_or(Ok(None), Err) };
        let Some(reading) = samples.reading(pod, measure, stale_after) else {
            return samples.error.clone().map_or(Ok(None), Err);
        };
        let then = seconds(samples.server_time - reading.at);
        let doubt = samples.doubt(&reading, pod.0, then, stale_after);
        Ok(Some(PodSample { reading, age: then.saturating_add(now.since(at)), doubt }))
    }

    /// Returns true if a query for this measure has been tried.
    pub(super) fn has_tried(&self, measure: &Measure, stale_after: Duration) -> bool {
        let samples = self.ranges.get(&range(measure, stale_after));
        samples.is_some_and(|samples| samples.at.is_some() || samples.error.is_some())
    }

    /// Returns the error of the latest query for this measure.
    pub(super) fn error(&self, measure: &Measure, stale_after: Duration) -> Option<&FetchError> {
        self.ranges.get(&range(measure, stale_after))?.error.as_ref()
    }

    /// Returns the warnings of the latest response for this measure.
    pub(super) fn warnings(&self, measure: &Measure, stale_after: Duration) -> &[String] {
        let samples = self.ranges.get(&range(measure, stale_after));
        samples.map_or(&[], |samples| &samples.warnings)
    }

    /// Returns the latest results of a query of a spec; `None` before the first.
    pub(super) fn reply(&self, expression: &str) -> Option<&QueryReply> {
        self.replies.get(expression)
    }

    /// Returns the seconds that the server's clock is ahead of the operator's, if its responses
    /// have a Date.
    pub(super) fn clock_ahead(&self) -> Option<f64> {
        self.clock_ahead
    }

    /// Returns the interval that serves all subscribers at a pace.
    pub(super) fn interval(&self, pace: QueryPace) -> Duration {
        let intervals = self.demands.values().map(|demand| demand.interval);
        let shortest = intervals.min().unwrap_or(DEFAULT_INTERVAL);
        pace.interval(shortest, self.replies.len())
    }

    /// Returns the queries that serve all subscribers.
    pub(super) fn plan(&self) -> QueryPlan {
        QueryPlan::merge(self.demands.values())
    }

    /// Records a round of queries, and returns the subscribers to wake. Ranges and expressions that
    /// the round did not query are forgotten.
    pub(super) fn record_results(
        &mut self,
        completed: Vec<CompletedQuery>,
        labels: &PodLabels,
        at: Monotonic,
    ) -> Vec<Arc<Notify>> {
        let mut former_replies = std::mem::take(&mut self.replies);
        let mut ranges: BTreeMap<Duration, Result<Vec<QueryResult>, FetchError>> = BTreeMap::new();
        for CompletedQuery { purpose, result } in completed {
            if let Ok(result) = &result {
                self.clock_ahead = result.clock_ahead;
            }
            match purpose {
                Purpose::Query(expression) => {
                    let mut reply = former_replies.remove(&expression).unwrap_or_default();
                    reply.record_result(result, at);
                    self.replies.insert(expression, reply);
                }
                Purpose::Range(range) => {
                    let merged = ranges.entry(range).or_insert_with(|| Ok(Vec::new()));
                    match (&mut *merged, result) {
                        (Ok(results), Ok(result)) => results.push(result),
                        (Ok(_), Err(error)) => *merged = Err(error),
                        (Err(_), _) => {}
                    }
                }
            }
        }
        self.ranges.retain(|range, _| ranges.contains_key(range));
        for (range, results) in ranges {
            self.ranges.entry(range).or_default().record_results(results, labels, at);
        }
        self.demands.values().map(|demand| demand.wake.clone()).collect()
    }
}

/// Returns a time in seconds as a duration; zero if it is negative.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

impl RangeSamples {
    /// Returns why a reading of a pod of this namespace is in doubt. `age` is that of its latest
    /// sample at the time of the query. Where the spacing is unknown, it is taken to be at most
    /// half of `stale_after`, as the documentation of that field demands.
    fn doubt(
        &self,
        reading: &PodReading,
        namespace: &str,
        age: Duration,
        stale_after: Duration,
    ) -> Option<SampleDoubt> {
        if let Some(error) = &self.error {
            return Some(SampleDoubt::Failed(error.clone()));
        }
        if let Some(warning) = self.warnings.first() {
            return Some(SampleDoubt::Warned(warning.clone()));
        }
        let spacing = reading.spacing.or_else(|| self.spacings.get(namespace).copied());
        let late_after = spacing.map_or(stale_after / 2, |spacing| seconds(late_after(spacing)));
        if age > late_after {
            return Some(SampleDoubt::Late { age, spacing: spacing.map(seconds) });
        }
        if reading.addresses > 1 {
            return Some(SampleDoubt::Addresses(reading.addresses));
        }
        reading.is_young.then_some(SampleDoubt::Young)
    }

    fn reading(
        &mut self,
        (namespace, name): (&str, &str),
        measure: &Arc<Measure>,
        gap: Duration,
    ) -> Option<PodReading> {
        let PodSamples { series, readings } = self.pods.get_mut(namespace)?.get_mut(name)?;
        if let Some((_, reading)) = readings.iter().find(|(known, _)| Arc::ptr_eq(known, measure)) {
            return reading.clone();
        }
        let reading = series.reading(measure, gap, &mut Scratch::default());
        readings.push((measure.clone(), reading.clone()));
        reading
    }

    fn record_results(
        &mut self,
        results: Result<Vec<QueryResult>, FetchError>,
        labels: &PodLabels,
        at: Monotonic,
    ) {
        let results = match results {
            Ok(results) => results,
            Err(error) => return self.error = Some(error),
        };
        *self = Self { at: Some(at), ..Self::default() };
        for QueryResult { response, now, memory, .. } in results {
            self.memory.push(memory);
            self.server_time = self.server_time.max(now);
            self.warnings.extend(response.warnings);
            let QueryData::Series(series) = response.data else { continue };
            for ((namespace, pod), series) in group_by_pod(series, labels) {
                if let Some(spacing) = series.shortest_spacing() {
                    let known = self.spacings.entry(namespace.clone()).or_insert(spacing);
                    *known = known.min(spacing);
                }
                let pods = self.pods.entry(namespace).or_default();
                pods.entry(pod).or_default().series.extend(series);
            }
        }
    }
}

impl QueryReply {
    fn record_result(&mut self, result: Result<QueryResult, FetchError>, at: Monotonic) {
        match result {
            Err(error) => self.error = Some(error),
            Ok(QueryResult { response, .. }) => {
                let numbers = match response.data {
                    QueryData::Scalar(number) => vec![number],
                    QueryData::Series(series) => {
                        series.iter().filter_map(|series| Some(series.samples.last()?.1)).collect()
                    }
                };
                *self = Self {
                    error: None,
                    warnings: response.warnings,
                    numbers: Some(QueryNumbers { at, numbers }),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests;
