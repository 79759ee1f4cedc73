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
    /// The namespace of the credentials' Secrets; `None` without any.
    pub(crate) namespace: Option<String>,
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
