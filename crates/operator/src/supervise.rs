//! Tasks that a panic does not end: it is counted, logged, and the task is started again.
//!
//! A panic is a fault of this program. Tokio ends the task that it happens in and tells only those
//! that wait for it; without supervision one autoscaler, or one page, would be gone for good, with
//! `/readyz` at 200 and the last status in place. Therefore no task of the operator is spawned but
//! here, which clippy's `disallowed-methods` enforces.

use std::{
    any::Any,
    borrow::Borrow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures::FutureExt;
use llm_autoscaler_core::Monotonic;
use tokio::task::AbortHandle;
use tracing::{error, warn};

use crate::{backoff::Backoff, clock::Clock, kube_api::printable, telemetry::Telemetry};

/// The wait before the first restart.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a restart.
const LONGEST: Duration = Duration::from_mins(5);
/// A task that has run for this long before it panics is started again as after its first panic.
const CALM: Duration = Duration::from_mins(10);
/// The longest text of a panic that is shown, in bytes.
const TEXT_LIMIT: usize = 200;

/// A panic that was caught, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panic(String);

impl fmt::Display for Panic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the operator's own code has failed: {}", self.0)
    }
}

/// Catches the panics of tasks. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Supervisor {
    telemetry: Telemetry,
    clock: Clock,
    backoff: Backoff,
}

/// The restarts of one task.
pub(crate) struct Restarts {
    clock: Clock,
    backoff: Backoff,
    started: Monotonic,
}

impl Restarts {
    /// Records a start.
    pub(crate) fn record_start(&mut self) {
        self.started = self.clock.monotonic();
    }

    /// Returns the wait before the next start, after a panic.
    pub(crate) fn wait(&mut self) -> Duration {
        if self.clock.monotonic().since(self.started) >= CALM {
            self.backoff.reset();
        }
        self.backoff.next()
    }
}

impl Supervisor {
    /// Counts panics in these metrics.
    pub(crate) fn new(telemetry: Telemetry, clock: Clock) -> Self {
        Self { telemetry, clock, backoff: Backoff::new(FIRST, LONGEST) }
    }

    /// Returns a supervisor for tests, which starts a task again at once.
    #[cfg(test)]
    pub(crate) fn impatient() -> Self {
        Self::waiting(Duration::ZERO)
    }

    /// Returns a supervisor for tests, which starts a task again after this time.
    #[cfg(test)]
    pub(crate) fn waiting(time: Duration) -> Self {
        let backoff = Backoff::new(time, time);
        Self { backoff, ..Self::new(Telemetry::default(), Clock::start()) }
    }

    /// Begins to count the restarts of a task.
    pub(crate) fn restarts(&self) -> Restarts {
        let (clock, backoff) = (self.clock, self.backoff.clone());
        Restarts { clock, backoff, started: clock.monotonic() }
    }

    /// Calls a function.
    ///
    /// # Errors
    /// It panicked.
    pub(crate) fn call<T>(&self, task: &'static str, work: impl FnOnce() -> T) -> Result<T, Panic> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|payload| self.record(task, &*payload))
    }

    /// Runs a future to its end.
    ///
    /// # Errors
    /// It panicked.
    pub(crate) fn attempt<T>(
        &self,
        task: &'static str,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Panic>> {
        caught(self, task, work)
    }

    /// Runs what `start` begins until it ends by itself. After a panic `failed` is told, and it is
    /// begun again with back-off.
    pub(crate) async fn repeat<F: Future<Output = ()>>(
        &self,
        task: &'static str,
        mut start: impl FnMut() -> F,
        mut failed: impl FnMut(&Panic),
    ) {
        let mut restarts = self.restarts();
        loop {
            restarts.record_start();
            // In a box, so that the supervision costs a task no memory of the size of its own.
            let result = match self.call(task, || Box::pin(start())) {
                Ok(work) => self.attempt(task, work).await,
                Err(panic) => Err(panic),
            };
            let Err(panic) = result else { return };
            // A second panic is counted by `call`, and changes nothing.
            let _ = self.call(task, || failed(&panic));
            let wait = restarts.wait();
            warn!(task, seconds = wait.as_secs(), "the task is started again after a wait");
            // In a box too, because most tasks never wait.
            Box::pin(tokio::time::sleep(wait)).await;
        }
    }

    /// Runs a future in the background. A panic ends it, and is counted.
    #[expect(clippy::disallowed_methods, reason = "this is the supervision")]
    pub(crate) fn spawn(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let work = caught(self.clone(), task, work);
        // In a box, since Tokio adds memory in proportion to what it is given.
        tokio::spawn(Box::pin(work.map(drop))).abort_handle()
    }

    fn record(&self, task: &'static str, payload: &(dyn Any + Send)) -> Panic {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let mut text = printable(text.unwrap_or("no text"));
        text.truncate(text.floor_char_boundary(TEXT_LIMIT));
        self.telemetry.record_panic(task);
        error!(task, panic = text, "a task has panicked; please report this");
        Panic(text)
    }
}

/// Returns the result of a future, or the panic that ended it, which the supervisor has counted.
fn caught<T>(
    supervisor: impl Borrow<Supervisor>,
    task: &'static str,
    work: impl Future<Output = T>,
) -> impl Future<Output = Result<T, Panic>> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .map(move |result| result.map_err(|payload| supervisor.borrow().record(task, &*payload)))
}

/// Logs the place of each panic of the process, in one line and in the format of the log.
pub(crate) fn log_places() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn counted(supervisor: &Supervisor, task: &str) -> Option<String> {
        let series = format!("llm_autoscaler_panics_total{{task=\"{task}\"}} ");
        let page = supervisor.telemetry.open_metrics();
        page.lines().find_map(|line| line.strip_prefix(&series)).map(str::to_owned)
    }

    #[tokio::test]
    async fn a_task_that_panics_is_counted_and_started_again() {
        let supervisor = Supervisor::impatient();
        let (starts, told) = (AtomicU32::new(0), AtomicU32::new(0));
        let run = || async {
            let start = starts.fetch_add(1, Ordering::Relaxed);
            assert!(start >= 3, "start {start}\nfails");
        };
        let failed = |panic: &Panic| {
            told.fetch_add(1, Ordering::Relaxed);
            assert!(panic.to_string().ends_with("fails"), "{panic}");
            assert!(!panic.to_string().contains('\n'), "{panic}");
            panic!("the callback may fail too");
        };
        supervisor.repeat("page", run, failed).await;
        assert_eq!(starts.load(Ordering::Relaxed), 4);
        assert_eq!(told.load(Ordering::Relaxed), 3);
        assert_eq!(counted(&supervisor, "page").as_deref(), Some("6"));
    }

    #[tokio::test]
    async fn a_task_that_cannot_even_begin_is_started_again() {
        let supervisor = Supervisor::impatient();
        let mut starts = 0;
        let start = || {
            starts += 1;
            assert!(starts > 1, "it cannot begin");
            std::future::ready(())
        };
        supervisor.repeat("watch", start, |_| {}).await;
        assert_eq!(starts, 2);
        assert_eq!(counted(&supervisor, "watch").as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn a_panic_in_the_background_is_counted() {
        let supervisor = Supervisor::impatient();
        let task = supervisor.spawn("event", async { panic!("no event") });
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(counted(&supervisor, "event").as_deref(), Some("1"));
        assert_eq!(counted(&supervisor, "page").as_deref(), Some("0"));
    }
}
