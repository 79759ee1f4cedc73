//! The demand of one autoscaler on one Prometheus server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use llm_autoscaler_api::Access;
use llm_autoscaler_engines::{
    Measure,
    prometheus::{PodLabels, stored_names},
};
use tokio::sync::Notify;

/// A Prometheus server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey {
    /// The URL, without a slash at the end.
    pub(crate) url: String,
    /// The server's names of the labels for pods and namespaces.
    pub(crate) labels: PodLabels,
    /// Labels and values that the series of pods must have.
    pub(crate) matchers: BTreeMap<String, String>,
    /// The credentials and TLS settings.
    pub(crate) access: Arc<Access>,
    /// The namespace of the autoscalers and their pods. Tenants share no queries: those of one
    /// neither delay those of another, nor fail with them.
    pub(crate) namespace: String,
    /// The frequency of its queries. A server has a task for each.
    pub(crate) pace: QueryPace,
}

#[cfg(test)]
impl ServerKey {
    /// Returns a server at this URL, of the namespace `ns`, with the usual labels.
    pub(super) fn of_tests(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            labels: PodLabels {
                namespace: "namespace".to_owned(),
                pod: "pod".to_owned(),
                replicas: [].into(),
            },
            matchers: BTreeMap::new(),
            access: Arc::default(),
            namespace: "ns".to_owned(),
            pace: QueryPace::Normal,
        }
    }
}

/// The frequency of queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum QueryPace {
    /// Each query at the shortest interval of the demands for it.
    #[default]
    Normal,
    /// The expressions of targets that were scaled to zero, more often, because a client waits for
    /// the first replica.
    AtZero,
}

/// The interval of queries for targets at zero.
const AT_ZERO_INTERVAL: Duration = Duration::from_millis(500);
/// The time per expression below which that interval does not go: a server gets at most 40 of these
/// queries a second, however many targets are at zero. The usual queries go on beside them, so that
/// with very many of them the usual interval is the shorter one.
const PER_QUERY: Duration = Duration::from_millis(25);

impl QueryPace {
    /// Returns the interval of a query, given the shortest interval of the demands for it. At zero,
    /// `crowd` is the number of queries that share the server's 40 a second.
    pub(super) fn interval(self, shortest: Duration, crowd: usize) -> Duration {
        match self {
            Self::Normal => shortest,
            Self::AtZero => {
                let many = PER_QUERY.saturating_mul(u32::try_from(crowd).unwrap_or(u32::MAX));
                AT_ZERO_INTERVAL.max(many)
            }
        }
    }
}

/// The demand of one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct QueryDemand {
    /// The series to read for each pod, for the measures of the autoscaler.
    pub(crate) selections: Arc<[Selection]>,
    /// The PromQL expressions of the spec.
    pub(crate) queries: Arc<[String]>,
    /// The interval between two queries.
    pub(crate) interval: Duration,
    /// The timeout of a query.
    pub(crate) timeout: Duration,
    /// The age after which a sample is ignored.
    pub(crate) stale_after: Duration,
    /// Notified after each answer to one of its queries.
    pub(crate) wake: Arc<Notify>,
}

/// The series that a measure needs, and the group of queries that reads them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Selection {
    pub(super) group: RangeGroup,
    pub(super) names: SeriesNames,
}

/// The names of a measure's series, sorted. They are queried together or not at all.
pub(super) type SeriesNames = Arc<[String]>;

/// Selections that one query may read: they cover the same range of time, at the same interval and
/// with the same timeout. So no autoscaler waits for the timeout of another one, or queries at its
/// interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RangeGroup {
    /// The range of time up to now: the window of a measure, preceded by the age that a sample may
    /// have.
    pub(super) range: Duration,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Selection {
    /// Returns the series that a measure needs, for an autoscaler with these settings.
    pub(crate) fn new(
        measure: &Measure,
        interval: Duration,
        timeout: Duration,
        stale_after: Duration,
    ) -> Self {
        let mut names: Vec<String> = stored_names(&measure.recipe).collect();
        names.sort_unstable();
        names.dedup();
        let range = measure.window + stale_after;
        Self { group: RangeGroup { range, interval, timeout }, names: names.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_targets_at_zero_are_frequent_but_few_per_second() {
        let ms = Duration::from_millis;
        for (pace, shortest, crowd, expected) in [
            (QueryPace::Normal, 5000, 1, 5000),
            (QueryPace::AtZero, 5000, 1, 500),
            (QueryPace::AtZero, 5000, 20, 500),
            (QueryPace::AtZero, 5000, 100, 2500),
            (QueryPace::AtZero, 5000, 1000, 25000),
        ] {
            let found = pace.interval(ms(shortest), crowd);
            assert_eq!(found, ms(expected), "{pace:?} {crowd}");
        }
    }
}
