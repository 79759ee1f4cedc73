//! The state of one Prometheus server: the subscriptions to it, and its latest results.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use llm_autoscaler_core::Monotonic;
use tokio::sync::Notify;

use crate::sampling::{
    error::FetchError,
    feed::{FeedState, SubscriberId},
    prometheus::{
        answer::{Found, QueryAnswer, QueryReply},
        demand::{QueryDemand, Selection},
        query_plan::{QueryId, QueryPlan, Wanted},
        query_task::QueryTask,
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

impl FeedState for ServerState {
    type Subscription = QueryDemand;
    type Sampler = QueryTask;

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

    /// Records the answer to a query, and returns the subscribers to wake. `now` is the time at
    /// which an error came about.
    pub(super) fn record_answer(
        &mut self,
        query: &QueryId,
        answer: Result<QueryAnswer, FetchError>,
        now: Monotonic,
    ) -> Vec<Arc<Notify>> {
        let wanted = query.wanted();
        match answer {
            Err(error) => {
                for one in &wanted {
                    self.record_error(one, &error);
                    self.forget_outdated(one, now);
                }
            }
            Ok(QueryAnswer { clock_ahead, found }) => {
                self.clock_ahead = clock_ahead;
                for one in &wanted {
                    self.replace(one, &found);
                }
            }
        }
        self.subscribers(&wanted)
    }

    fn replace(&mut self, wanted: &Wanted, found: &Found) {
        match (wanted, found) {
            (Wanted::Selection(selection), Found::Pods(response)) => {
                let results = RangeResults { error: None, latest: Some(response.clone()) };
                self.ranges.insert(selection.clone(), results);
            }
            (Wanted::Expression(expression), Found::Numbers(reply)) => {
                self.replies.insert(expression.clone(), reply.clone());
            }
            // A query asks for one of the two, and its answer has the same.
            (Wanted::Selection(_), Found::Numbers(_)) | (Wanted::Expression(_), Found::Pods(_)) => {
            }
        }
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

#[cfg(test)]
mod tests;
