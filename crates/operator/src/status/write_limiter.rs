//! The limit for writes that only report: status and events. Few of them are in flight at once, so
//! that the sizes are written first when hundreds of targets are scaled at once.
//!
//! A namespace has half of them at most, and the other half is taken in turns: where its writes are
//! slow, because of a webhook of its own, those of other namespaces are not.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::lanes::{FairLimit, FairPermit, Lanes};

/// The number of such writes that may be in flight at once.
const IN_FLIGHT: usize = 8;
/// The number of them in one namespace. No more than these wait for one of all.
const IN_FLIGHT_OF_NAMESPACE: usize = 4;
/// The number of events of a namespace that may wait. Later ones are dropped.
const EVENTS: usize = 100;

/// Limits the writes that only report. Clones share one limit.
#[derive(Clone, Debug)]
pub(crate) struct WriteLimiter(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    writes: FairLimit,
    events: Lanes,
}

impl Default for WriteLimiter {
    fn default() -> Self {
        Self(Arc::new(Limits {
            writes: FairLimit::new(IN_FLIGHT, IN_FLIGHT_OF_NAMESPACE),
            events: Lanes::new(EVENTS),
        }))
    }
}

impl WriteLimiter {
    /// Waits until a write of this namespace may begin. It counts as in flight until the permit is
    /// dropped.
    pub(crate) async fn enter(&self, namespace: &str) -> FairPermit {
        self.0.writes.enter(namespace).await
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

    #[test]
    fn slow_writes_of_one_namespace_leave_room_for_others() {
        let limiter = WriteLimiter::default();
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
        let limiter = WriteLimiter::default();
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
        let limiter = WriteLimiter::default();
        let queued: Vec<_> = (0..EVENTS).map(|_| limiter.queue_event("a").unwrap()).collect();
        assert!(limiter.queue_event("a").is_none());
        assert!(limiter.queue_event("b").is_some());
        drop(queued);
        assert!(limiter.queue_event("a").is_some());
    }
}
