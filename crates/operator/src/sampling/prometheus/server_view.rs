//! A Prometheus server, as one autoscaler sees it.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::{Access, PrometheusConfig};
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{Measure, exposition::Value};
use llm_autoscaler_observe::{
    pod::Pod,
    samples::{Found, Lookup, QueryLookup, Sample},
};
use tokio::sync::Notify;

use crate::sampling::{
    feed::SubscriberId,
    prometheus::{
        demand::{QueryDemand, ServerKey},
        pool::PrometheusPool,
        query_loop::PrometheusServer,
    },
};

/// The time after a query's timeout in which its result is still awaited.
const MARGIN: Duration = Duration::from_secs(1);
/// The number of intervals after which the result of a spec's query is stale.
const STALE_INTERVALS: u32 = 3;

/// The subscription of one autoscaler to a server.
pub(crate) struct ServerView {
    subscriber: SubscriberId,
    pool: PrometheusPool,
    key: ServerKey,
    demand: QueryDemand,
    subscription: Option<ServerSubscription>,
}

struct ServerSubscription {
    server: Arc<PrometheusServer>,
    since: Monotonic,
}

/// The demand of one autoscaler on its servers.
pub(crate) struct TargetDemand<'a> {
    /// The autoscaler's namespace.
    pub(crate) namespace: &'a str,
    /// The quantities to read for each pod.
    pub(crate) measures: Arc<[Arc<Measure>]>,
    /// The PromQL expressions of the spec.
    pub(crate) queries: Arc<[String]>,
    /// Notified after each round of queries.
    pub(crate) wake: &'a Arc<Notify>,
}

impl ServerView {
    /// Returns a view that is not subscribed yet.
    pub(crate) fn new(
        pool: PrometheusPool,
        config: &PrometheusConfig,
        demand: &TargetDemand<'_>,
    ) -> Self {
        let access: Arc<Access> = Arc::new(config.access.clone());
        let key = ServerKey {
            url: config.url.clone(),
            labels: config.labels.clone(),
            namespace: (!access.is_open()).then(|| demand.namespace.to_owned()),
            access,
        };
        let demand = QueryDemand {
            namespace: demand.namespace.to_owned(),
            measures: demand.measures.clone(),
            queries: demand.queries.clone(),
            interval: config.interval,
            timeout: config.timeout,
            stale_after: config.stale_after,
            wake: demand.wake.clone(),
        };
        Self { subscriber: pool.new_subscriber(), pool, key, demand, subscription: None }
    }

    /// Returns true if the spec has queries for this server.
    pub(crate) fn has_queries(&self) -> bool {
        !self.demand.queries.is_empty()
    }

    /// Subscribes to the server, unless it is subscribed already.
    pub(crate) fn subscribe(&mut self, now: Monotonic) {
        if self.subscription.is_none() {
            let server = self.pool.subscribe(self.subscriber, &self.key, self.demand.clone());
            self.subscription = Some(ServerSubscription { server, since: now });
        }
    }

    /// Ends the subscription.
    pub(crate) fn unsubscribe(&mut self) {
        if self.subscription.take().is_some() {
            self.pool.unsubscribe(self.subscriber, &self.key);
        }
    }

    /// Returns the latest sample of a measure of a pod.
    pub(crate) fn lookup(&self, pod: &Pod, measure: &Arc<Measure>, now: Monotonic) -> Lookup {
        let Some(subscription) = &self.subscription else {
            return Lookup::Pending { error: None };
        };
        let mut state = subscription.server.state();
        let stale_after = self.demand.stale_after;
        let sample = match state.sample((&pod.namespace, &pod.name), measure, stale_after, now) {
            Ok(Some(sample)) => sample,
            Ok(None)
                if !state.has_tried(measure, stale_after) && self.is_early(subscription, now) =>
            {
                return Lookup::Pending { error: None };
            }
            Ok(None) => {
                return Lookup::Missing(self.absent(measure, state.warnings(measure, stale_after)));
            }
            Err(error) => return Lookup::Missing(error.to_string()),
        };
        if sample.age > stale_after {
            if let Some(error) = state.error(measure, stale_after) {
                return Lookup::Missing(error.to_string());
            }
            let (url, age, limit) = (&self.key.url, sample.age.as_secs(), stale_after.as_secs());
            return Lookup::Missing(format!(
                "{url}: its latest sample is {age} s old, more than {limit} s"
            ));
        }
        let reading = sample.reading;
        let absent = || self.absent(measure, state.warnings(measure, stale_after));
        if reading.value == Value::Absent {
            let not_finite = reading
                .extract
                .not_finite
                .map(|flaw| format!("{}: {}", self.key.url, flaw.describe(&measure.recipe)));
            return Lookup::Missing(not_finite.unwrap_or_else(absent));
        }
        let is_certain = sample.is_latest && reading.addresses <= 1 && !reading.is_young;
        let found = Found {
            alternative: reading.extract.alternative,
            ambiguous: reading.extract.ambiguous,
        };
        let copies = reading.scrapes.max(reading.addresses);
        let doubt = (!is_certain).then(absent);
        Lookup::Sample(Sample { value: reading.value, age: sample.age, doubt, found, copies })
    }

    /// Returns the latest result of a query of the spec, if it is recent.
    pub(crate) fn reply(&self, expression: &str, now: Monotonic) -> QueryLookup {
        let Some(subscription) = &self.subscription else { return QueryLookup::Pending };
        let state = subscription.server.state();
        let url = &self.key.url;
        let Some(reply) = state.reply(expression) else {
            if self.is_early(subscription, now) {
                return QueryLookup::Pending;
            }
            return QueryLookup::Missing(format!("{url}: the query has no result yet"));
        };
        let limit = STALE_INTERVALS * self.demand.interval + self.demand.timeout;
        match (&reply.numbers, &reply.error) {
            (Some(latest), _) if now.since(latest.at) <= limit => QueryLookup::Numbers {
                numbers: latest.numbers.clone(),
                age: now.since(latest.at),
                warning: reply.warnings.first().cloned(),
                complete: reply.error.is_none() && reply.warnings.is_empty(),
            },
            (_, Some(error)) => QueryLookup::Missing(error.to_string()),
            _ => {
                let limit = limit.as_secs();
                QueryLookup::Missing(format!("{url}: the query has had no result for {limit} s"))
            }
        }
    }

    /// Returns the seconds that the server's clock is ahead of the operator's, if known.
    pub(crate) fn clock_ahead(&self) -> Option<f64> {
        self.subscription.as_ref()?.server.state().clock_ahead()
    }

    /// Returns the first warning of the latest responses about pods.
    pub(crate) fn warning(&self) -> Option<String> {
        let state = self.subscription.as_ref()?.server.state();
        let stale_after = self.demand.stale_after;
        let mut measures = self.demand.measures.iter();
        measures.find_map(|measure| state.warnings(measure, stale_after).first().cloned())
    }

    /// Returns the server's URL.
    pub(crate) fn url(&self) -> &str {
        &self.key.url
    }

    fn absent(&self, measure: &Measure, warnings: &[String]) -> String {
        let warning = warnings.first().map(|warning| format!(" (the server warns: {warning})"));
        let (url, series) = (&self.key.url, measure.recipe.accepted_names());
        let (limit, warning) = (self.demand.stale_after.as_secs(), warning.unwrap_or_default());
        format!("{url} has no {series} of this pod in the last {limit} s{warning}")
    }

    /// Returns true while the first result is still awaited.
    fn is_early(&self, subscription: &ServerSubscription, now: Monotonic) -> bool {
        now.since(subscription.since) < self.demand.timeout + MARGIN
    }
}

impl Drop for ServerView {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}
