//! The health of a watch: whether what is known by it can be relied on.
//!
//! A watch works if it has told something: a complete listing, a change, a bookmark, or its end at
//! the time that was asked for. That a listing has begun tells nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use llm_autoscaler_core::Monotonic;
use tokio::sync::watch;

use crate::{clock::Clock, lock::lock};

/// The time for which failures and silence of the API server are tolerated.
const TOLERATED: Duration = Duration::from_secs(30);

/// A watch that works tells something more often than this, even where nothing changes. One that
/// does not is stuck in this process.
const SILENT: Duration = Duration::from_mins(1);

/// The health of a watch. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WatchHealth {
    /// The objects that are watched, such as "pods".
    objects: &'static str,
    clock: Clock,
    state: Arc<Mutex<State>>,
    first_listing: watch::Sender<FirstListing>,
}

/// How far the first listing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstListing {
    /// It is under way.
    Running,
    /// It has failed, and is tried again.
    Failed,
    /// It is complete.
    Complete,
}

#[derive(Debug, Default)]
struct State {
    /// True once the first listing is complete.
    is_synced: bool,
    /// The time of the latest word of the watch.
    told: Monotonic,
    /// The time of a request that has not been answered yet.
    asked: Option<Monotonic>,
    /// The time of the latest page of a listing, or of the beginning.
    listed: Monotonic,
    /// The failures since the latest word.
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Monotonic,
    error: String,
}

impl WatchHealth {
    /// Begins with a watch that has told nothing.
    pub(crate) fn new(objects: &'static str, clock: Clock) -> Self {
        let now = clock.monotonic();
        let state = State { told: now, listed: now, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let first_listing = watch::Sender::new(FirstListing::Running);
        Self { objects, clock, state, first_listing }
    }

    /// Records a request for a page of a listing, or for a watch.
    pub(super) fn record_request(&self) {
        let now = self.clock.monotonic();
        lock(&self.state).asked.get_or_insert(now);
    }

    /// Records the answer to a request. It does not end a series of failures: a listing may fail at
    /// its second page again and again.
    pub(super) fn record_answer(&self) {
        let now = self.clock.monotonic();
        let mut state = lock(&self.state);
        (state.asked, state.listed) = (None, now);
    }

    /// Records that a listing is complete.
    pub(crate) fn record_listing(&self) {
        lock(&self.state).is_synced = true;
        self.record_word();
        self.first_listing.send_replace(FirstListing::Complete);
    }

    /// Waits until the first listing is complete.
    pub(crate) async fn listed(&self) {
        let is_complete = |first: &FirstListing| *first == FirstListing::Complete;
        let _ = self.first_listing.subscribe().wait_for(is_complete).await;
    }

    /// Waits until the first listing is complete, or has failed, or no page of it has come for this
    /// long. A large one may take minutes.
    pub(crate) async fn begun(&self, patience: Duration) {
        let is_over = |first: &FirstListing| *first != FirstListing::Running;
        let mut first = self.first_listing.subscribe();
        let mut left = self.patience_left_at(self.clock.monotonic(), patience);
        while let Some(wait) = left {
            if tokio::time::timeout(wait, first.wait_for(is_over)).await.is_ok() {
                return;
            }
            left = self.patience_left_at(self.clock.monotonic(), patience);
        }
    }

    /// Returns the time until no page of a listing has come for this long; `None` if it is over.
    fn patience_left_at(&self, now: Monotonic, patience: Duration) -> Option<Duration> {
        let silent = now.since(lock(&self.state).listed);
        Some(patience.saturating_sub(silent)).filter(|left| !left.is_zero())
    }

    /// Records a change, a bookmark, or the end of a watch at its time.
    pub(super) fn record_word(&self) {
        self.record_word_at(self.clock.monotonic());
    }

    fn record_word_at(&self, now: Monotonic) {
        let mut state = lock(&self.state);
        (state.told, state.asked, state.failing) = (now, None, None);
    }

    /// Records a failure.
    pub(crate) fn record_failure(&self, error: String) {
        self.record_failure_at(error, self.clock.monotonic());
    }

    fn record_failure_at(&self, error: String, now: Monotonic) {
        let mut state = lock(&self.state);
        let since = state.asked.take().unwrap_or(now);
        let since = state.failing.as_ref().map_or(since, |failing| failing.since);
        state.failing = Some(Failing { since, error });
        drop(state);
        self.first_listing.send_if_modified(|first| {
            let is_running = *first == FirstListing::Running;
            if is_running {
                *first = FirstListing::Failed;
            }
            is_running
        });
    }

    /// Returns the time since the latest word.
    pub(crate) fn age(&self) -> Duration {
        self.clock.monotonic().since(lock(&self.state).told)
    }

    /// Returns whether the watch has told everything so far: its first listing is complete, and
    /// nothing has failed since its latest word.
    pub(crate) fn is_working(&self) -> bool {
        self.is_working_at(self.clock.monotonic())
    }

    fn is_working_at(&self, now: Monotonic) -> bool {
        lock(&self.state).failing.is_none() && self.problem_at(now).is_none()
    }

    /// Returns why the watch cannot be relied on: the first listing is not complete, or the API
    /// server has refused it, or not answered, for a while.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem_at(self.clock.monotonic())
    }

    pub(super) fn problem_at(&self, now: Monotonic) -> Option<String> {
        let state = lock(&self.state);
        let objects = self.objects;
        if let Some(Failing { since, error }) = &state.failing
            && (!state.is_synced || now.since(*since) > TOLERATED)
        {
            return Some(format!("the {objects} of the cluster cannot be watched: {error}"));
        }
        let silent = state.asked.map(|asked| now.since(asked)).filter(|time| *time > TOLERATED);
        if let Some(silent) = silent {
            return Some(format!(
                "the {objects} of the cluster cannot be watched: the API server has not answered \
                 for {} s",
                silent.as_secs()
            ));
        }
        let told = now.since(state.told);
        if state.is_synced && state.asked.is_none() && told > SILENT {
            let seconds = told.as_secs();
            return Some(format!("the watch of the {objects} has told nothing for {seconds} s"));
        }
        (!state.is_synced).then(|| format!("the list of {objects} is not there yet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Event {
        Asks,
        Answered,
        Listed,
        Works,
        Fails,
    }

    type Row<'a> = (&'a [(u64, Event)], u64, Option<&'a str>);

    /// With a limit to the whole of it, the autoscalers of a large cluster used to report that the
    /// pods are not known, each for itself, and the API server had these writes to do besides.
    #[test]
    fn a_listing_is_waited_for_as_long_as_its_pages_come() {
        let patience = Duration::from_secs(15);
        // the second of the latest page, that of the question; the seconds that are left
        for (page, second, expected) in [(0, 14, Some(1)), (0, 15, None), (90, 100, Some(5))] {
            let at = |second| Monotonic(Duration::from_secs(second));
            let health = WatchHealth::new("pods", Clock::start());
            lock(&health.state).listed = at(page);
            let left = health.patience_left_at(at(second), patience);
            assert_eq!(left.map(|left| left.as_secs()), expected, "{page} {second}");
        }
    }

    #[tokio::test]
    async fn a_listing_that_is_silent_is_given_up() {
        let health = WatchHealth::new("pods", Clock::start());
        health.record_answer();
        health.begun(Duration::from_millis(20)).await;
        let age = health.clock.monotonic().since(lock(&health.state).listed);
        assert!(age >= Duration::from_millis(20), "{age:?}");
    }

    #[test]
    fn a_watch_is_a_problem_before_its_listing_and_after_half_a_minute_without_a_word() {
        use Event::{Answered, Asks, Fails, Listed, Works};
        let not_there = "the list of pods is not there yet";
        let forbidden = "the pods of the cluster cannot be watched: pods is forbidden";
        let silent = "the pods of the cluster cannot be watched: the API server has not answered \
                      for 31 s";
        // events by their second; the second of the question, the problem
        let table: &[Row] = &[
            (&[], 0, Some(not_there)),
            (&[(0, Asks), (1, Answered)], 40, Some(not_there)),
            (&[(0, Asks), (1, Fails)], 1, Some(forbidden)),
            (&[(0, Listed)], 0, None),
            (&[(0, Listed), (5, Fails)], 35, None),
            (&[(0, Listed), (5, Fails), (30, Fails)], 36, Some(forbidden)),
            (&[(0, Listed), (5, Fails), (30, Works)], 36, None),
            // That a listing begins, and even its first pages, tell nothing.
            (&[(0, Listed), (5, Fails), (30, Asks), (31, Answered)], 36, Some(forbidden)),
            (&[(0, Listed), (5, Fails), (30, Asks), (31, Answered), (34, Listed)], 36, None),
            // Failures are rare, and there was no word in between.
            (&[(0, Listed), (5, Fails), (90, Fails)], 91, Some(forbidden)),
            // A request that is never answered.
            (&[(0, Listed), (5, Asks)], 35, None),
            (&[(0, Listed), (5, Asks)], 36, Some(silent)),
            (&[(0, Asks)], 31, Some(silent)),
            (&[(0, Listed), (5, Asks), (20, Fails)], 36, Some(forbidden)),
            (&[(0, Listed), (5, Asks), (20, Works)], 80, None),
            (
                &[(0, Listed), (20, Works)],
                81,
                Some("the watch of the pods has told nothing for 61 s"),
            ),
        ];
        for (row, (events, second, expected)) in table.iter().enumerate() {
            let at = |second: &u64| Monotonic(Duration::from_secs(*second));
            let health = WatchHealth::new("pods", Clock::start());
            for (second, event) in *events {
                match event {
                    Asks => drop(lock(&health.state).asked.get_or_insert(at(second))),
                    Answered => health.record_answer(),
                    Listed => {
                        health.record_listing();
                        health.record_word_at(at(second));
                    }
                    Works => health.record_word_at(at(second)),
                    Fails => health.record_failure_at("pods is forbidden".to_owned(), at(second)),
                }
            }
            assert_eq!(health.problem_at(at(second)).as_deref(), *expected, "row {row}");
            let failing = matches!(events.last(), Some((_, Fails)));
            let works = expected.is_none() && !failing;
            assert_eq!(health.is_working_at(at(second)), works, "row {row}");
        }
    }
}
