//! The limit for reads of single objects: those of targets and of PodMonitors.
//!
//! Without it ten thousand autoscalers that begin together would send all of their first reads at
//! once, and each read that waits takes a connection of its own, with its handshake and its
//! buffers. The API server would answer none of them sooner: it serves few at a time, and refuses
//! those that are too many.

use crate::{
    kube_api::{CallError, DEADLINE, within},
    lanes::{FairLimit, FairPermit},
};

/// The number of reads that may be in flight at once. An API server that answers within 5 ms
/// answers 6,000 of these a second; the smallest of its default levels that the operator may be
/// given has more seats than this.
const IN_FLIGHT: usize = 32;
/// The number of them in one namespace, so that slow reads of a few namespaces leave room for
/// others.
const IN_FLIGHT_OF_NAMESPACE: usize = 8;

/// Limits the reads of single objects. Clones share one limit.
#[derive(Clone, Debug)]
pub(crate) struct Reads(FairLimit);

impl Default for Reads {
    fn default() -> Self {
        Self(FairLimit::new(IN_FLIGHT, IN_FLIGHT_OF_NAMESPACE))
    }
}

impl Reads {
    /// Waits until a read of this namespace may begin, and runs it for at most the usual deadline.
    ///
    /// # Errors
    /// See [`CallError`].
    pub(crate) async fn run<T>(
        &self,
        namespace: &str,
        read: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let _permit = self.enter(namespace).await;
        within(DEADLINE, read).await
    }

    /// Waits until a read of this namespace may begin. It is in flight until the permit is dropped.
    pub(crate) async fn enter(&self, namespace: &str) -> FairPermit {
        self.0.enter(namespace).await
    }

    /// Returns whether as many reads are in flight as may be, so that others wait.
    pub(crate) fn are_full(&self) -> bool {
        self.0.is_full()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use futures::{FutureExt, future};

    use super::*;

    /// The herd of a start: a thousand autoscalers of fifty namespaces read their targets at once.
    #[tokio::test]
    async fn few_reads_are_in_flight_at_once_and_each_is_made() {
        let (reads, under_way, most) = (Reads::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let read = || async {
            most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::task::yield_now().await;
            under_way.fetch_sub(1, SeqCst);
            Ok(())
        };
        let namespaces: Vec<_> = (0..50).map(|number| format!("ns-{number}")).collect();
        let all = (0..1000).map(|number| reads.run(&namespaces[number % 50], read()));
        let made = future::join_all(all).await;
        assert!(made.iter().all(Result::is_ok));
        assert_eq!(most.into_inner(), IN_FLIGHT);
    }

    #[tokio::test]
    async fn reads_that_get_no_answer_delay_those_of_their_own_namespace_only() {
        let reads = Reads::default();
        let read = |namespace, is_silent| {
            let answer = async move { if is_silent { future::pending().await } else { Ok(()) } };
            Box::pin(reads.run(namespace, answer))
        };
        let mut silent: Vec<_> = (0..IN_FLIGHT).map(|_| read("silent", true)).collect();
        assert!(silent.iter_mut().all(|read| read.now_or_never().is_none()));
        assert!(read("silent", false).now_or_never().is_none());
        assert!(read("other", false).now_or_never().is_some_and(|read| read.is_ok()));
    }
}
