//! Replicas that are missing: requests that wait for them, and replicas that count for nothing.

use super::{
    Promise, Slo,
    observation::{ServingState, SloObservation},
    size::{Sized, Sizing},
};

/// The time in which a backlog is to be answered once replicas are ready, in seconds.
const DRAINED_IN: f64 = 60.0;
/// The time after a shortage of replicas and its backlog in which its requests end, in seconds.
const AFTER_SHORTAGE: f64 = 60.0;

impl Slo {
    /// Returns the smallest number for a rate of requests, and for what will still wait when a
    /// replica that is ordered now is ready, by what the replicas can do until then. A queue that
    /// takes no longer than the promise is none.
    pub(super) fn with_backlog(
        &self,
        sizing: &Sizing,
        rate: f64,
        lead: f64,
        queued: Option<f64>,
    ) -> Sized {
        let calm = sizing.smallest(rate);
        let serving = self.tracker.iter().filter(|it| it.state == ServingState::Serving);
        let waiting: f64 = serving.filter_map(|it| Some(it.latest?.waiting)).sum();
        let waiting = waiting + queued.unwrap_or(0.0);
        let (work, count) = (sizing.work(), f64::from(self.count(ServingState::Serving)));
        if waiting * work <= sizing.promise.time_to_first_token * count.max(1.0) {
            return calm;
        }
        // Those that start now serve for half of the time in the mean.
        let count = count + f64::from(self.count(ServingState::Starting)) / 2.0;
        let answered = count * sizing.margins.utilization / work;
        let backlog = (waiting + (rate - answered) * lead).max(0.0);
        let drained = sizing.smallest(rate + backlog / DRAINED_IN);
        let most = calm.replicas.saturating_mul(2);
        Sized { replicas: drained.replicas.min(most), binding: drained.binding }
    }

    /// Returns whether requests that end now may be late for want of replicas: fewer serve than are
    /// needed, or did while a backlog arose that is still there or has just ended.
    pub(super) fn is_short(
        &mut self,
        needed: u32,
        work: f64,
        promise: Promise,
        observation: &SloObservation,
    ) -> bool {
        let now = self.arrivals.end();
        let is_short = self.count(ServingState::Serving) < needed || now < self.short_until;
        let ttft = promise.time_to_first_token;
        if is_short && self.clogged(work, ttft, observation.queued) > 0 {
            self.short_until = now + AFTER_SHORTAGE;
        }
        is_short
    }

    /// Returns the number of serving replicas with queues that take longer than some time: they are
    /// lost for requests that arrive now. If the gateway's queue takes so long, all of them are.
    pub(super) fn clogged(&self, work: f64, time: f64, queued: Option<f64>) -> u32 {
        let serving = self.count(ServingState::Serving);
        if queued.unwrap_or(0.0) * work > time * f64::from(serving) / 2.0 {
            return serving;
        }
        let serving = self.tracker.iter().filter(|it| it.state == ServingState::Serving);
        let waiting = serving.filter_map(|replica| Some(replica.latest?.waiting));
        waiting.filter(|waiting| waiting * work > time).count() as u32
    }

    /// Returns the number of replicas that should have become ready long ago.
    pub(super) fn stuck(&self) -> u32 {
        let after = self.starts.stuck_after();
        let starting = self.tracker.iter().filter(|it| it.state == ServingState::Starting);
        starting.filter(|replica| replica.age > after).count() as u32
    }
}
