//! The demand of one autoscaler on one Prometheus server.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use llm_autoscaler_api::Access;
use llm_autoscaler_engines::{Measure, prometheus::PodLabels};
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
    /// The namespace of the autoscalers. Tenants share no queries: those of one neither delay those
    /// of another, nor fail with them.
    pub(crate) namespace: String,
    /// The frequency of its queries. A server has a task for each.
    pub(crate) pace: QueryPace,
}

/// The frequency of queries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum QueryPace {
    /// All demands, at the shortest of their intervals.
    #[default]
    Normal,
    /// The expressions of targets that were scaled to zero, more often, because a client waits for
    /// the first replica.
    AtZero,
}

/// The interval of queries for targets at zero.
const AT_ZERO_INTERVAL: Duration = Duration::from_millis(500);
/// The time per expression below which that interval does not go: a server gets at most 40 of these
/// queries a second, however many targets are at zero.
const PER_QUERY: Duration = Duration::from_millis(25);

impl QueryPace {
    /// Returns the interval between two rounds of queries, given the shortest interval of the
    /// demands and the number of different expressions.
    pub(super) fn interval(self, shortest: Duration, expressions: usize) -> Duration {
        match self {
            Self::Normal => shortest,
            Self::AtZero => {
                let many = PER_QUERY * u32::try_from(expressions).unwrap_or(u32::MAX);
                AT_ZERO_INTERVAL.max(many).min(shortest)
            }
        }
    }
}

/// The demand of one subscriber.
#[derive(Clone, Debug)]
pub(crate) struct QueryDemand {
    /// The namespace of the pods.
    pub(crate) namespace: String,
    /// The quantities to read for each pod.
    pub(crate) measures: Arc<[Arc<Measure>]>,
    /// The PromQL expressions of the spec.
    pub(crate) queries: Arc<[String]>,
    /// The interval between two queries.
    pub(crate) interval: Duration,
    /// The timeout of a query.
    pub(crate) timeout: Duration,
    /// The age after which a sample is ignored.
    pub(crate) stale_after: Duration,
    /// Notified after each round of queries.
    pub(crate) wake: Arc<Notify>,
}

/// Returns the range of time that a measure needs: its window, preceded by the age that a sample
/// may have.
pub(super) fn range(measure: &Measure, stale_after: Duration) -> Duration {
    measure.window + stale_after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_targets_at_zero_are_frequent_but_few_per_second() {
        let ms = Duration::from_millis;
        for (pace, shortest, expressions, expected) in [
            (QueryPace::Normal, 5000, 1, 5000),
            (QueryPace::AtZero, 5000, 1, 500),
            (QueryPace::AtZero, 5000, 20, 500),
            (QueryPace::AtZero, 5000, 100, 2500),
            (QueryPace::AtZero, 5000, 1000, 5000),
        ] {
            let found = pace.interval(ms(shortest), expressions);
            assert_eq!(found, ms(expected), "{pace:?} {expressions}");
        }
    }
}
