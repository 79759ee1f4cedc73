//! The state of one Prometheus server: the subscriptions to it, and its latest results.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use llm_autoscaler_core::Monotonic;
use llm_autoscaler_engines::prometheus::{PodLabels, QueryData};
use tokio::sync::Notify;

use crate::sampling::{
    error::FetchError,
    feed::{FeedState, SubscriberId},
    memory::Reservation,
    prometheus::{
        demand::{QueryDemand, Selection},
        instant_query::QueryResult,
        query_plan::{QueryId, QueryPlan, Wanted},
        range_samples::{RangeResponse, RangeResults},
        splits::Splits,
    },
};

/// The subscriptions to a server, and its latest results.
#[derive(Default)]
pub(crate) struct ServerState {
    /// The demands, the oldest subscriber's first.
    demands: BTreeMap<SubscriberId, QueryDemand>,
    /// Changes with the demands.
    generation: u64,
    /// The samples of pods.
    ranges: HashMap<Selection, RangeResults>,
    /// The results of the specs' queries, by their PromQL expression.
    replies: HashMap<String, QueryReply>,
    clock_ahead: Option<f64>,
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

impl FeedState for ServerState {
    type Subscription = QueryDemand;

    fn subscribe(&mut self, subscriber: SubscriberId, demand: QueryDemand) {
        self.demands.insert(subscriber, demand);
        self.generation += 1;
    }

    fn unsubscribe(&mut self, subscriber: SubscriberId) {
        self.demands.remove(&subscriber);
        self.generation += 1;
    }

    fn has_subscribers(&self) -> bool {
        !self.demands.is_empty()
    }
}

impl ServerState {
    /// Returns the latest results of the queries for these series; `None` before the first.
    pub(super) fn range(&self, selection: &Selection) -> Option<&RangeResults> {
        self.ranges.get(selection)
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

    /// Returns a number that differs after each change of the demands.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the queries that serve all subscribers, and forgets the results of all others.
    pub(super) fn plan(&mut self, splits: &Splits) -> QueryPlan {
        let plan = QueryPlan::merge(self.demands.values(), splits);
        let wanted = plan.wanted();
        self.ranges.retain(|known, _| wanted.contains(&Wanted::Selection(known.clone())));
        self.replies.retain(|known, _| wanted.contains(&Wanted::Expression(known.clone())));
        plan
    }

    /// Records the result of a query, and returns the subscribers to wake.
    pub(super) fn record_result(
        &mut self,
        query: &QueryId,
        result: Result<QueryResult, FetchError>,
        labels: &PodLabels,
        at: Monotonic,
    ) -> Vec<Arc<Notify>> {
        let wanted = query.wanted();
        match result {
            Err(error) => {
                for one in &wanted {
                    self.record_error(one, &error);
                    self.forget_outdated(one, at);
                }
            }
            Ok(result) => {
                self.clock_ahead = result.clock_ahead;
                if let QueryId::Expression(expression) = query {
                    self.replies.insert(expression.clone(), QueryReply::new(result, at));
                } else {
                    let response = RangeResponse::new(result, labels, at);
                    for one in &wanted {
                        if let Wanted::Selection(selection) = one {
                            let latest = Some(response.clone());
                            let results = RangeResults { error: None, latest };
                            self.ranges.insert(selection.clone(), results);
                        }
                    }
                }
            }
        }
        self.subscribers(&wanted)
    }

    /// Forgets a response that is older than its range, and thus has no sample that is used. Its
    /// memory may be what the next one lacks.
    fn forget_outdated(&mut self, wanted: &Wanted, now: Monotonic) {
        let Wanted::Selection(selection) = wanted else { return };
        let Some(results) = self.ranges.get_mut(selection) else { return };
        let is_outdated =
            |response: &mut RangeResponse| now.since(response.at) > selection.group.range;
        results.latest.take_if(is_outdated);
    }

    /// Records that something could not be queried.
    pub(super) fn record_error(&mut self, wanted: &Wanted, error: &FetchError) {
        let error = Some(error.clone());
        match wanted {
            Wanted::Selection(it) => self.ranges.entry(it.clone()).or_default().error = error,
            Wanted::Expression(it) => self.replies.entry(it.clone()).or_default().error = error,
        }
    }

    /// Returns the subscribers that want any of this.
    pub(super) fn subscribers(&self, wanted: &[Wanted]) -> Vec<Arc<Notify>> {
        let (mut selections, mut expressions) = (BTreeSet::new(), BTreeSet::new());
        for one in wanted {
            match one {
                Wanted::Selection(selection) => selections.insert(selection),
                Wanted::Expression(expression) => expressions.insert(expression),
            };
        }
        let is_concerned = |demand: &&QueryDemand| {
            demand.selections.iter().any(|one| selections.contains(one))
                || demand.queries.iter().any(|one| expressions.contains(one))
        };
        let concerned = self.demands.values().filter(is_concerned);
        concerned.map(|demand| demand.wake.clone()).collect()
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

#[cfg(test)]
mod tests;
