//! The one way of a write to the API server.
//!
//! A write needs the permit of its namespace. The permit is looked at before *each* poll of the
//! call, and not after it: a process that was paused between the check and the send, for longer
//! than its Lease lasts, must not send when it goes on. A write that has been sent is given up with
//! the permit that it began with, even if the permit was renewed or won again meanwhile. What has
//! left the process by then is stopped by the version that it names. The permit counts its writes,
//! so that a Lease is given away only when none is on its way.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use llm_autoscaler_core::Monotonic;
use tracing::Instrument;

use crate::{
    clock::Clock,
    kube_api::{CallError, DEADLINE, WritePermit},
    spans,
    telemetry::{Telemetry, WriteKind},
};

/// The time between two looks at whether writes are still under way.
const POLL: Duration = Duration::from_millis(5);

/// Sends writes. Clones share one state; a process has one.
#[derive(Clone, Debug)]
pub(crate) struct Writes {
    clock: Clock,
    telemetry: Telemetry,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    is_closed: AtomicBool,
    under_way: AtomicUsize,
}

/// A write that is under way, until dropped.
struct UnderWay<'a>(&'a State);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Writes {
    /// Begins with no writes.
    pub(crate) fn new(clock: Clock, telemetry: Telemetry) -> Self {
        Self { clock, telemetry, state: Arc::default() }
    }

    /// Returns the time by which permits are judged.
    pub(crate) fn now(&self) -> Monotonic {
        self.clock.monotonic()
    }

    /// Sends a write, if the permit is valid, and waits for the answer for no longer than that. It
    /// is counted by its kind and its result.
    ///
    /// # Errors
    /// [`CallError::NoPermit`] if nothing was sent; otherwise see [`CallError`].
    pub(crate) async fn send<T>(
        &self,
        kind: WriteKind,
        permit: &WritePermit,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let (span, began) = (spans::write(kind.name()), self.now());
        let result = self.send_permitted(permit, call).instrument(span.clone()).await;
        let label = result.as_ref().map_or_else(CallError::label, |_| "ok");
        spans::record_result(&span, label);
        self.telemetry.record_write(kind, label, self.now().since(began));
        result
    }

    async fn send_permitted<T>(
        &self,
        permit: &WritePermit,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        // Counted before the check, so that nothing begins after `close` has looked.
        self.state.under_way.fetch_add(1, Ordering::SeqCst);
        let _under_way = UnderWay(&self.state);
        let mut write = permit.begin(self.clock);
        let began = self.now();
        let is_closed = || self.state.is_closed.load(Ordering::SeqCst);
        let Some(deadline) = permit.deadline(began).filter(|_| !is_closed()) else {
            return Err(CallError::NoPermit);
        };
        let mut call = pin!(call);
        let checked = poll_fn(|context| {
            let now = self.now();
            if now.since(began) >= deadline || !permit.is_valid(now) {
                let ended = permit_error(write.may_arrive(), deadline);
                return Poll::Ready(Err(ended));
            }
            write.record_send();
            call.as_mut().poll(context).map_err(CallError::Api)
        });
        let result = match tokio::time::timeout(deadline, checked).await {
            Ok(result) => result,
            Err(_) => Err(permit_error(true, deadline)),
        };
        if result.as_ref().err().is_none_or(|error| !error.is_ambiguous()) {
            write.record_answer();
        }
        result
    }

    /// Lets no further write begin. Those that are under way go on.
    pub(crate) fn close(&self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
    }

    /// Waits until no write is under way, for at most this time. Returns whether that is so.
    pub(crate) async fn idle(&self, at_most: Duration) -> bool {
        let idle = async {
            while self.state.under_way.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(at_most, idle).await.is_ok()
    }
}

/// Returns the error of a write that was given up.
fn permit_error(is_sent: bool, deadline: Duration) -> CallError {
    match is_sent {
        false => CallError::NoPermit,
        true if deadline < DEADLINE => CallError::PermitEnded,
        true => CallError::Timeout(deadline),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::AtomicU32,
    };

    use futures::FutureExt;

    use super::*;

    fn writes() -> Writes {
        Writes::new(Clock::start(), Telemetry::default())
    }

    /// A call that is sent at its second poll, as one that waits for a connection.
    fn sent_late(sends: &AtomicU32) -> impl Future<Output = kube::Result<()>> {
        let mut polls = 0;
        poll_fn(move |context| {
            polls += 1;
            if polls == 1 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            sends.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Ok(()))
        })
    }

    #[tokio::test]
    async fn a_process_that_was_paused_before_the_send_sends_nothing() {
        let (writes, sends) = (writes(), AtomicU32::new(0));
        let permit = WritePermit::none();
        let until = |millis| writes.now().after(Duration::from_millis(millis));
        permit.set_until(until(60));
        let mut paused = Box::pin(writes.send(WriteKind::Scale, &permit, sent_late(&sends)));
        assert!((&mut paused).now_or_never().is_none());
        // The whole process stands still, and its timers with it.
        std::thread::sleep(Duration::from_millis(80));
        let error = paused.await.unwrap_err();
        assert!(matches!(error, CallError::PermitEnded), "{error}");
        assert_eq!(sends.load(Ordering::Relaxed), 0);

        // It has the Lease again, and what it began before is still not sent.
        permit.set_until(until(60));
        let mut paused = Box::pin(writes.send(WriteKind::Scale, &permit, sent_late(&sends)));
        assert!((&mut paused).now_or_never().is_none());
        std::thread::sleep(Duration::from_millis(80));
        permit.set_until(until(60_000));
        assert!(paused.await.is_err());
        assert_eq!(sends.load(Ordering::Relaxed), 0);
        writes.send(WriteKind::Scale, &permit, sent_late(&sends)).await.unwrap();
        assert_eq!(sends.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_write_that_waits_is_given_up_when_its_permit_is_taken_away_or_ends() {
        let (writes, permit) = (writes(), WritePermit::none());
        let error = writes
            .send(WriteKind::Scale, &permit, pending::<kube::Result<()>>())
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::NoPermit) && !error.is_ambiguous(), "{error}");
        permit.set_until(writes.now().after(Duration::from_millis(20)));
        let error = writes
            .send(WriteKind::Scale, &permit, pending::<kube::Result<()>>())
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::PermitEnded) && error.is_ambiguous(), "{error}");
        permit.set_until(writes.now().after(Duration::from_mins(1)));
        let sends = AtomicU32::new(0);
        let mut taken = Box::pin(writes.send(WriteKind::Scale, &permit, sent_late(&sends)));
        assert!((&mut taken).now_or_never().is_none());
        permit.end();
        assert!(taken.await.is_err());
        assert_eq!(sends.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_write_is_counted_by_kind_and_result() {
        let telemetry = Telemetry::default();
        let writes = Writes::new(Clock::start(), telemetry.clone());
        let refused = |code| {
            let mut status = kube::core::Status::failure("no", "Test");
            status.code = code;
            Err::<(), _>(kube::Error::Api(status.boxed()))
        };
        // the answer, the result
        let table = [
            (Ok(()), "ok"),
            (refused(409), "conflict"),
            (refused(403), "refused"),
            (refused(422), "refused"),
            (refused(429), "refused"),
            (refused(500), "error"),
        ];
        let unlimited = WritePermit::unlimited();
        for (answer, result) in table {
            let before = count(&telemetry, result);
            let _ = writes.send(WriteKind::Event, &unlimited, ready(answer)).await;
            assert_eq!(count(&telemetry, result), before + 1, "{result}");
        }
        let none = WritePermit::none();
        let _ = writes.send(WriteKind::Event, &none, ready(Ok(()))).await;
        assert_eq!(count(&telemetry, "no_permit"), 1);
    }

    fn count(telemetry: &Telemetry, result: &str) -> u64 {
        let series = format!("writes_total{{kind=\"event\",result=\"{result}\"}} ");
        let page = telemetry.open_metrics();
        let value = page.lines().find_map(|line| line.split_once(&series));
        value.unwrap().1.parse().unwrap()
    }

    #[tokio::test]
    async fn after_the_close_no_write_begins_and_those_under_way_are_waited_for() {
        let (writes, permit) = (writes(), WritePermit::unlimited());
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let call = async {
            let _ = answered.await;
            Ok(())
        };
        let mut first = Box::pin(writes.send(WriteKind::Scale, &permit, call));
        assert!((&mut first).now_or_never().is_none());
        writes.close();
        let second = writes.send(WriteKind::Scale, &permit, ready(Ok(()))).await;
        assert!(matches!(second, Err(CallError::NoPermit)));
        let mut idle = Box::pin(writes.idle(Duration::from_secs(10)));
        assert!((&mut idle).now_or_never().is_none());
        answer.send(()).unwrap();
        first.await.unwrap();
        assert!(idle.await);
    }
}
