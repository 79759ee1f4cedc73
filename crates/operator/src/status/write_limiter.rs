//! The limit for writes that only report: status and events. Few of them are in flight at once, so
//! that the sizes are written first when hundreds of targets are scaled at once.
//!
//! A namespace has half of them at most, and the other half is taken in turns: where its writes are
//! slow, because of a webhook of its own, those of other namespaces are not.
//!
//! Reports give way to reads: while as many reads of targets are in flight as may be, which is when
//! thousands of autoscalers begin, a size is decided sooner by a read than it is told by a write.

use std::{sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time};

use crate::{
    kube_api::reads::Reads,
    lanes::{FairLimit, FairPermit, Lanes},
};

/// The number of such writes that may be in flight at once.
const IN_FLIGHT: usize = 8;
/// The number of them in one namespace. No more than these wait for one of all.
const IN_FLIGHT_OF_NAMESPACE: usize = 4;
/// The longest time for which a write that has its turn gives way to reads, so that a few reports a
/// second are written however long the reads take.
const GIVES_WAY: Duration = Duration::from_secs(1);
/// The time between two looks whether reads leave room.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The number of events of a namespace that may wait. Later ones are dropped.
const EVENTS: usize = 100;

/// Limits the writes that only report. Clones share one limit.
#[derive(Clone, Debug)]
pub(crate) struct WriteLimiter(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    writes: FairLimit,
    events: Lanes,
    /// The reads that writes give way to.
    reads: Reads,
}

impl WriteLimiter {
    /// Begins with nothing in flight.
    pub(crate) fn new(reads: Reads) -> Self {
        let writes = FairLimit::new(IN_FLIGHT, IN_FLIGHT_OF_NAMESPACE);
        Self(Arc::new(Limits { writes, events: Lanes::new(EVENTS), reads }))
    }

    /// Waits until a write of this namespace may begin. It counts as in flight until the permit is
    /// dropped.
    pub(crate) async fn enter(&self, namespace: &str) -> FairPermit {
        let permit = self.0.writes.enter(namespace).await;
        let mut looks = GIVES_WAY.div_duration_f64(LOOK_EVERY) as u32;
        while looks > 0 && self.0.reads.are_full() {
            time::sleep(LOOK_EVERY).await;
            looks -= 1;
        }
        permit
    }

    /// Lets an event wait until its permit is dropped; `None` if too many of the namespace wait.
    pub(super) fn queue_event(&self, namespace: &str) -> Option<OwnedSemaphorePermit> {
        self.0.events.try_enter(namespace)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn limiter() -> WriteLimiter {
        WriteLimiter::new(Reads::default())
    }

    /// Ten thousand autoscalers that begin used to share the API server with their own reports.
    #[tokio::test]
    async fn reports_give_way_to_reads_for_a_while() {
        let reads = Reads::default();
        let limiter = WriteLimiter::new(reads.clone());
        let namespaces: Vec<_> = (0..8).map(|number| format!("ns-{number}")).collect();
        let each = namespaces.iter().flat_map(|namespace| [namespace; 8]);
        let mut full: Vec<_> = each.filter_map(|it| reads.enter(it).now_or_never()).collect();
        assert!(reads.are_full());
        assert!(time::timeout(GIVES_WAY / 2, limiter.enter("a")).await.is_err());
        assert!(time::timeout(GIVES_WAY * 2, limiter.enter("a")).await.is_ok(), "not for ever");
        full.pop();
        assert!(limiter.enter("a").now_or_never().is_some(), "there is room for a read");
    }

    #[test]
    fn slow_writes_of_one_namespace_leave_room_for_others() {
        let limiter = limiter();
        let enter = |namespace| limiter.enter(namespace).now_or_never();
        let slow: Vec<_> = (0..IN_FLIGHT_OF_NAMESPACE).map(|_| enter("a").unwrap()).collect();
        assert!(enter("a").is_none(), "the rest of its writes wait");
        let others: Vec<_> = (0..IN_FLIGHT_OF_NAMESPACE).map(|_| enter("b").unwrap()).collect();
        assert!(enter("c").is_none(), "there are no more than {IN_FLIGHT} of all");
        drop(others);
        assert!(enter("c").is_some());
        drop(slow);
    }

    /// Two namespaces have all permits, and each has many writes that wait. A third one is next
    /// after the few that each may have in the common line.
    #[test]
    fn namespaces_take_turns() {
        let limiter = limiter();
        let enter = |namespace: &'static str| Box::pin(limiter.enter(namespace));
        let all = ["a", "a", "a", "a", "b", "b", "b", "b"];
        let mut running: Vec<_> = all.map(|own| enter(own).now_or_never().unwrap()).into();
        let mut waiting: Vec<_> = (0..50).flat_map(|_| [enter("a"), enter("b")]).collect();
        for write in &mut waiting {
            assert!(write.now_or_never().is_none());
        }
        let mut third = enter("c");
        assert!((&mut third).now_or_never().is_none());
        // One write ends, and its permit goes to the longest in the line: only "c" is in it, since
        // those of "a" and "b" wait for their own namespace.
        running.pop();
        assert!((&mut third).now_or_never().is_some());
    }

    #[test]
    fn a_hundred_events_of_a_namespace_wait() {
        let limiter = limiter();
        let queued: Vec<_> = (0..EVENTS).map(|_| limiter.queue_event("a").unwrap()).collect();
        assert!(limiter.queue_event("a").is_none());
        assert!(limiter.queue_event("b").is_some());
        drop(queued);
        assert!(limiter.queue_event("a").is_some());
    }
}
