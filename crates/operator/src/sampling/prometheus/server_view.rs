//! A Prometheus server, as one autoscaler sees it.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::PrometheusConfig;
use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::{
    Measure,
    exposition::Value,
    prometheus::{Conflict, PodReading},
};
use llm_autoscaler_observe::{
    pod::Pod,
    samples::{Found, Lookup, QueryLookup, Sample},
};
use tokio::sync::Notify;

use crate::sampling::{
    error::FetchError,
    feed::SubscriberId,
    prometheus::{
        demand::{QueryDemand, QueryPace, Selection, ServerKey},
        pool::PrometheusPool,
        query_loop::PrometheusServer,
        range_samples::{PodSample, SampleDoubt},
    },
};

/// The time after a query's timeout in which its result is still awaited.
const MARGIN: Duration = Duration::from_secs(1);
/// The explanation of a NaN that is the latest value of all series of a pod.
const MARKER: &str = ", and so are all of its series there: the server marks the end of series so, \
                      because its latest scrape of the pod failed";
/// The number of intervals after which the result of a spec's query is stale.
const STALE_INTERVALS: u32 = 3;

/// The subscription of one autoscaler to a server.
pub(crate) struct ServerView {
    subscriber: SubscriberId,
    pool: PrometheusPool,
    key: ServerKey,
    demand: QueryDemand,
    /// The measures, and the series that each needs.
    selections: Vec<(Arc<Measure>, Selection)>,
    subscription: Option<ServerSubscription>,
    /// The reason why there is no subscription although one is wanted.
    refused: Option<FetchError>,
    /// The subscription to more frequent queries of the spec, while the target is at zero.
    at_zero: Option<ServerSubscription>,
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
    /// Notified after each answer to one of its queries.
    pub(crate) wake: &'a Arc<Notify>,
}

impl ServerView {
    /// Returns a view that is not subscribed yet.
    pub(crate) fn new(
        pool: PrometheusPool,
        config: &PrometheusConfig,
        demand: &TargetDemand<'_>,
    ) -> Self {
        let access = config.access.clone();
        let key = ServerKey {
            url: config.url.clone(),
            labels: config.labels.clone(),
            matchers: config.matchers.clone(),
            namespace: demand.namespace.to_owned(),
            access,
            pace: QueryPace::Normal,
        };
        let &PrometheusConfig { interval, timeout, stale_after, .. } = config;
        let selection = |measure: &Arc<Measure>| {
            (measure.clone(), Selection::new(measure, interval, timeout, stale_after))
        };
        let selections: Vec<_> = demand.measures.iter().map(selection).collect();
        let demand = QueryDemand {
            selections: selections.iter().map(|(_, selection)| selection.clone()).collect(),
            queries: demand.queries.clone(),
            interval,
            timeout,
            stale_after,
            wake: demand.wake.clone(),
        };
        let subscriber = pool.new_subscriber();
        let (subscription, refused, at_zero) = (None, None, None);
        Self { subscriber, pool, key, demand, selections, subscription, refused, at_zero }
    }

    /// Returns true if the spec has queries for this server.
    pub(crate) fn has_queries(&self) -> bool {
        !self.demand.queries.is_empty()
    }

    /// Returns the interval of its queries, while it is queried.
    pub(crate) fn interval(&self) -> Option<Duration> {
        self.subscription.as_ref().map(|_| self.demand.interval)
    }

    /// Subscribes to the server, unless it is subscribed already, or its namespace has too many.
    pub(crate) fn subscribe(&mut self, now: Monotonic) {
        if self.subscription.is_none() {
            match self.pool.subscribe(self.subscriber, &self.key, self.demand.clone()) {
                Ok(server) => {
                    self.subscription = Some(ServerSubscription { server, since: now });
                    self.refused = None;
                }
                Err(error) => self.refused = Some(error),
            }
        }
    }

    /// Ends the subscription.
    pub(crate) fn unsubscribe(&mut self) {
        self.refused = None;
        if self.subscription.take().is_some() {
            self.pool.unsubscribe(self.subscriber, &self.key);
        }
        if self.at_zero.take().is_some() {
            self.pool.unsubscribe(self.subscriber, &self.key_at_zero());
        }
    }

    /// Begins or ends more frequent queries of the spec's expressions. They end only once the usual
    /// queries have later answers, so that none is replaced by an older one.
    pub(crate) fn set_pace(&mut self, pace: QueryPace, now: Monotonic) {
        let is_wanted = pace == QueryPace::AtZero && self.has_queries();
        if is_wanted && self.subscription.is_some() && self.at_zero.is_none() {
            let demand = QueryDemand { selections: Arc::new([]), ..self.demand.clone() };
            let server = self.pool.subscribe(self.subscriber, &self.key_at_zero(), demand).ok();
            self.at_zero = server.map(|server| ServerSubscription { server, since: now });
        } else if !is_wanted && self.at_zero.is_some() && self.is_up_to_date() {
            self.at_zero = None;
            self.pool.unsubscribe(self.subscriber, &self.key_at_zero());
        }
    }

    /// Returns true if no answer of the more frequent queries is later than the usual one.
    fn is_up_to_date(&self) -> bool {
        let mut queries = self.demand.queries.iter();
        queries.all(|query| self.latest(query).is_none_or(|latest| latest.server.key == self.key))
    }

    /// Returns the subscription with the latest answer to a query of the spec.
    fn latest(&self, expression: &str) -> Option<&ServerSubscription> {
        let both = self.subscription.iter().chain(&self.at_zero);
        let answered = both.filter_map(|subscription| {
            let state = subscription.server.state();
            let at = state.reply(expression)?.numbers.as_ref()?.at;
            Some((at, subscription))
        });
        answered.max_by_key(|(at, _)| *at).map(|(_, subscription)| subscription)
    }

    fn key_at_zero(&self) -> ServerKey {
        ServerKey { pace: QueryPace::AtZero, ..self.key.clone() }
    }

    /// Returns the latest sample of a measure of a pod.
    pub(crate) fn lookup(&self, pod: &Pod, measure: &Arc<Measure>, now: Monotonic) -> Lookup {
        let found = self.selections.iter().find(|(known, _)| Arc::ptr_eq(known, measure));
        let (Some(subscription), Some((_, selection))) = (&self.subscription, found) else {
            return match &self.refused {
                Some(error) => Lookup::Missing(error.to_string()),
                None => Lookup::Pending { error: None },
            };
        };
        // The server's state is free again while the samples are read.
        let results = subscription.server.state().range(selection).cloned();
        let Some(results) = results else { return self.unanswered(subscription, measure, now) };
        let (url, stale_after) = (&self.key.url, self.demand.stale_after);
        let pod = (&*pod.namespace, &*pod.name);
        let absent = || self.absent(measure, results.warnings());
        let sample = match results.sample(pod, measure, stale_after, now) {
            Ok(Some(sample)) => sample,
            Ok(None) => return Lookup::Missing(absent()),
            Err(error) => return Lookup::Missing(error.to_string()),
        };
        if sample.age > stale_after
            && let Some(error) = &results.error
        {
            return Lookup::Missing(error.to_string());
        }
        lookup_of(sample, measure, url, stale_after, absent)
    }

    /// Returns the answer before the first result.
    fn unanswered(&self, of: &ServerSubscription, measure: &Measure, now: Monotonic) -> Lookup {
        if self.is_early(of, now) {
            return Lookup::Pending { error: None };
        }
        let (url, series) = (&self.key.url, measure.recipe.accepted_names());
        Lookup::Missing(format!("{url}: the query for {series} has no result yet"))
    }

    /// Returns the latest result of a query of the spec, if it is recent.
    pub(crate) fn reply(&self, expression: &str, now: Monotonic) -> QueryLookup {
        let latest = self.latest(expression).or(self.subscription.as_ref());
        let Some(subscription) = latest else {
            let refused = self.refused.as_ref().map(ToString::to_string);
            return refused.map_or(QueryLookup::Pending, QueryLookup::Missing);
        };
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
        let mut selections = self.demand.selections.iter();
        selections.find_map(|selection| state.range(selection)?.warnings().first().cloned())
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

/// Turns a sample into the answer of a server. `absent` is the text for a sample without a number.
fn lookup_of(
    sample: PodSample,
    measure: &Measure,
    url: &str,
    stale_after: Duration,
    absent: impl FnOnce() -> String,
) -> Lookup {
    let PodSample { reading, age, doubt } = sample;
    if age > stale_after {
        let (age, limit) = (age.as_secs(), stale_after.as_secs());
        return Lookup::Missing(format!(
            "{url}: its latest sample is {age} s old, more than {limit} s"
        ));
    }
    if reading.value == Value::Absent {
        let Some(flaw) = reading.extract.not_finite else { return Lookup::Missing(absent()) };
        let flaw = flaw.describe(&measure.recipe);
        let marker = if reading.is_marked { MARKER } else { "" };
        return Lookup::Missing(format!("{url}: {flaw}{marker}"));
    }
    if let Some(conflict) = reading.conflict {
        return Lookup::Ambiguous(conflict_text(url, &conflict));
    }
    let doubt = doubt.map(|doubt| doubt_text(url, doubt).into());
    let PodReading { value, extract, scrapes, addresses, .. } = reading;
    let found = Found { alternative: extract.alternative, ambiguous: extract.ambiguous };
    Lookup::Sample(Sample { value, age, doubt, found, copies: scrapes.max(addresses) })
}

/// Returns what is wrong with the series of several pods under one name, and what to do.
fn conflict_text(url: &str, conflict: &Conflict) -> String {
    let Conflict { label, values: [one, other] } = conflict;
    format!(
        "{url} has several pods of this name, which differ in the label {label} ({one:?}, \
         {other:?}), and are no number: select one by matchers of the source, or add {label} to \
         its replicaLabels if they are the same pod"
    )
}

fn doubt_text(url: &str, doubt: SampleDoubt) -> String {
    match doubt {
        SampleDoubt::Failed(error) => error.to_string(),
        SampleDoubt::Warned(warning) => format!("{url} warns: {warning}"),
        SampleDoubt::Late { age, spacing } => {
            let usual = spacing
                .map(|spacing| format!(", and one every {:.0} s is usual", spacing.as_secs_f64()));
            format!(
                "{url}: its latest sample is {} s old{}: the server does not scrape it any more, \
                 or in vain",
                age.as_secs(),
                usual.unwrap_or_default()
            )
        }
        SampleDoubt::Addresses(count) => format!(
            "{url} has it at {count} addresses of the pod, which may be parts of a number or \
             repeat it"
        ),
        SampleDoubt::Young => {
            format!("{url} has samples of less than half of the metric's window")
        }
    }
}

impl Drop for ServerView {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

#[cfg(test)]
mod tests;
