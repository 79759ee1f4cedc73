//! A credential that expires, fetched ahead of its end.
//!
//! One task at a time fetches it, for all queries that need it. A query waits only while there is
//! no credential that is still valid, and a failure is not repeated before its back-off.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{sync::watch, time::Instant};
use tracing::warn;

use crate::{backoff::Backoff, lock::lock, supervise::Supervisor};

/// The part of a credential's life after which the next one is fetched, spread by a tenth of it.
const REFRESHED_AFTER: f64 = 0.7;
/// The time before its end at which a credential is not used any more: a query takes some of it.
const UNUSED_BEFORE: Duration = Duration::from_secs(10);
/// The shortest life of a credential that is used.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// The longest time for which a credential is believed to be valid.
const LONGEST_LIFE: Duration = Duration::from_hours(12);
/// The wait after the first failure, and the longest one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The time that a fetch may take.
const FETCHED_WITHIN: Duration = Duration::from_secs(10);

/// A credential, and the time for which it is valid.
#[derive(Clone, Debug)]
pub(super) struct Fresh<T> {
    pub(super) value: T,
    pub(super) valid_for: Duration,
}

/// The reason why there is no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The text for the statuses of autoscalers, which names nothing of the owner's account.
    pub(super) told: String,
    /// The text for the operator's log.
    pub(super) logged: String,
}

/// A function that fetches a credential.
pub(super) type Fetch<T> =
    Box<dyn Fn() -> BoxFuture<'static, Result<Fresh<T>, Failure>> + Send + Sync>;

/// The latest credential of a provider. Cheap to clone.
pub(super) struct TokenCache<T>(Arc<Inner<T>>);

impl<T> Clone for TokenCache<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<T> {
    /// The provider's name, for the log.
    name: &'static str,
    fetch: Fetch<T>,
    /// The shortest time between two credentials that a server has rejected.
    rejected_every: Duration,
    supervisor: Supervisor,
    state: Mutex<State<T>>,
    /// Changes whenever a fetch has ended.
    ended: watch::Sender<u64>,
}

struct State<T> {
    token: Option<Token<T>>,
    failure: Option<Failure>,
    is_fetching: bool,
    /// The time before which nothing is fetched.
    not_before: Option<Instant>,
    rejected: Option<Instant>,
    backoff: Backoff,
}

struct Token<T> {
    value: T,
    refreshed_at: Instant,
    unused_at: Instant,
}

/// The answer to a request for a credential.
#[derive(Debug, PartialEq)]
enum Demand<T> {
    /// There is a valid one.
    Valid(T),
    /// One is being fetched.
    Wait,
    /// There is none, and none is fetched yet.
    Failed(Failure),
}

/// Marks the end of a fetch, even if it panics.
struct Fetching<T>(Arc<Inner<T>>);

impl<T> Drop for Fetching<T> {
    fn drop(&mut self) {
        lock(&self.0.state).is_fetching = false;
        self.0.ended.send_modify(|count| *count += 1);
    }
}

impl<T: Clone + Send + 'static> TokenCache<T> {
    pub(super) fn new(
        name: &'static str,
        rejected_every: Duration,
        supervisor: Supervisor,
        fetch: Fetch<T>,
    ) -> Self {
        let (state, ended) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Inner { name, fetch, rejected_every, supervisor, state, ended }))
    }

    /// Returns a credential that is valid.
    ///
    /// # Errors
    /// There is none, and the latest fetch has failed.
    pub(super) async fn get(&self) -> Result<T, Failure> {
        let mut ended = {
            let now = Instant::now();
            let mut state = lock(&self.0.state);
            if state.begin_fetch(now) {
                self.fetch_in_the_background();
            }
            match state.demand(now) {
                Demand::Valid(value) => return Ok(value),
                Demand::Failed(failure) => return Err(failure),
                Demand::Wait => self.0.ended.subscribe(),
            }
        };
        // The sender lives as long as this cache.
        let _ = ended.changed().await;
        match lock(&self.0.state).demand(Instant::now()) {
            Demand::Valid(value) => Ok(value),
            Demand::Failed(failure) => Err(failure),
            Demand::Wait => Err(Failure::ended()),
        }
    }

    /// Forgets the credential, because a server has rejected it.
    pub(super) fn reject(&self) {
        lock(&self.0.state).reject(Instant::now(), self.0.rejected_every);
    }

    fn fetch_in_the_background(&self) {
        let (inner, end) = (self.0.clone(), Fetching(self.0.clone()));
        self.0.supervisor.spawn("source credentials", async move {
            let fetched = tokio::time::timeout(FETCHED_WITHIN, (inner.fetch)()).await;
            let fetched = fetched.unwrap_or_else(|_| {
                let told = format!("there was no answer within {} s", FETCHED_WITHIN.as_secs());
                Err(Failure { logged: told.clone(), told })
            });
            if let Err(failure) = &fetched {
                let (provider, problem) = (inner.name, &failure.logged);
                warn!(provider, problem, "the operator's credentials for a source failed");
            }
            lock(&inner.state).record(fetched, Instant::now());
            drop(end);
        });
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let (token, failure, not_before, rejected) = (None, None, None, None);
        Self { token, failure, is_fetching: false, not_before, rejected, backoff }
    }
}

impl<T: Clone> State<T> {
    /// Returns true if a fetch is to begin now.
    fn begin_fetch(&mut self, now: Instant) -> bool {
        let is_due = self.token.as_ref().is_none_or(|token| token.refreshed_at <= now)
            && self.not_before.is_none_or(|at| at <= now)
            && !self.is_fetching;
        self.is_fetching |= is_due;
        is_due
    }

    fn demand(&self, now: Instant) -> Demand<T> {
        match self.token.as_ref().filter(|token| now < token.unused_at) {
            Some(token) => Demand::Valid(token.value.clone()),
            None if self.is_fetching => Demand::Wait,
            None => Demand::Failed(self.failure.clone().unwrap_or_else(Failure::ended)),
        }
    }

    fn record(&mut self, fetched: Result<Fresh<T>, Failure>, now: Instant) {
        // One that has ended would be fetched again by each query.
        let usable = fetched.and_then(|fresh| match fresh.valid_for {
            life if life < SHORTEST_LIFE => Err(Failure::new("they have ended", "at once")),
            _ => Ok(fresh),
        });
        match usable {
            Ok(Fresh { value, valid_for }) => {
                let life = valid_for.min(LONGEST_LIFE);
                let part = REFRESHED_AFTER + fastrand::f64() / 10.0;
                self.token = Some(Token {
                    value,
                    refreshed_at: now + life.mul_f64(part),
                    unused_at: now + life.saturating_sub(UNUSED_BEFORE.min(life / 10)),
                });
                (self.failure, self.not_before) = (None, None);
                self.backoff.reset();
            }
            Err(failure) => {
                self.not_before = Some(now + self.backoff.next());
                self.failure = Some(failure);
            }
        }
    }

    fn reject(&mut self, now: Instant, every: Duration) {
        if self.rejected.is_none_or(|at| now >= at + every) {
            (self.rejected, self.token) = (Some(now), None);
        }
    }
}

impl Failure {
    /// Returns the failure of a fetch that left nothing behind, because it panicked.
    fn ended() -> Self {
        let told = "fetching them ended without a result".to_owned();
        Self { logged: told.clone(), told }
    }

    /// Returns a failure with a detail that only the log has.
    pub(super) fn new(told: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        let told = told.into();
        Self { logged: format!("{told}: {detail}"), told }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIFE: Duration = Duration::from_hours(1);

    fn fresh(value: usize) -> Fresh<usize> {
        Fresh { value, valid_for: LIFE }
    }

    #[test]
    fn the_next_one_is_fetched_ahead_of_the_end_and_the_former_one_used_meanwhile() {
        let (mut state, start) = (State::default(), Instant::now());
        assert!(state.begin_fetch(start));
        assert!(!state.begin_fetch(start), "one at a time");
        assert_eq!(state.demand(start), Demand::Wait);
        state.is_fetching = false;
        state.record(Ok(fresh(1)), start);
        let mut dues = Vec::new();
        for second in 0..3590 {
            let now = start + second * SECOND;
            assert_eq!(state.demand(now), Demand::Valid(1));
            if state.begin_fetch(now) {
                dues.push(second);
            }
        }
        assert!(matches!(dues[..], [due] if (2520..=2880).contains(&due)), "{dues:?}");
        assert_eq!(state.demand(start + 3591 * SECOND), Demand::Wait);
        state.is_fetching = false;
        state.record(Ok(fresh(2)), start + 3592 * SECOND);
        assert_eq!(state.demand(start + 3593 * SECOND), Demand::Valid(2));
    }

    #[test]
    fn a_failure_leaves_the_former_one_in_use_and_is_tried_again_with_back_off() {
        let (mut state, start) = (State::default(), Instant::now());
        state.record(Ok(fresh(1)), start);
        let (mut tries, failure) = (0, Failure::new("refused", "by a test"));
        for second in 0..3590 {
            let now = start + second * SECOND;
            if state.begin_fetch(now) {
                state.is_fetching = false;
                state.record(Err(failure.clone()), now);
                tries += 1;
            }
            assert_eq!(state.demand(now), Demand::Valid(1));
        }
        assert!((10..40).contains(&tries), "{tries} fetches in the last quarter of an hour");
        assert_eq!(state.demand(start + LIFE), Demand::Failed(failure));
    }

    #[test]
    fn one_that_has_ended_is_a_failure_and_not_fetched_by_each_query() {
        let (mut state, now) = (State::default(), Instant::now());
        state.record(Ok(Fresh { value: 1, valid_for: Duration::ZERO }), now);
        assert!(matches!(state.demand(now), Demand::Failed(_)));
        assert!(!state.begin_fetch(now));
    }

    #[test]
    fn a_rejected_one_is_forgotten_once_a_minute() {
        let (mut state, start) = (State::default(), Instant::now());
        let every = Duration::from_mins(1);
        let mut forgotten = Vec::new();
        for second in 0..150 {
            let now = start + second * SECOND;
            state.record(Ok(fresh(1)), now);
            state.reject(now, every);
            if state.token.is_none() {
                forgotten.push(second);
            }
        }
        assert_eq!(forgotten, [0, 60, 120]);
    }

    #[tokio::test]
    async fn one_fetch_serves_all_that_wait() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let fetch: Fetch<usize> = Box::new(move || {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(fresh(number))
            })
        });
        let cache = TokenCache::new("numbers", SECOND, Supervisor::impatient(), fetch);
        let all = futures::future::join_all((0..100).map(|_| cache.get())).await;
        assert!(all.into_iter().all(|found| found == Ok(1)));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_fetch_that_panics_is_a_failure_and_the_next_one_begins() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let fetch: Fetch<usize> = Box::new(move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                assert!(number > 0, "a panic that the test wants");
                Ok(fresh(number))
            })
        });
        let cache = TokenCache::new("numbers", SECOND, Supervisor::impatient(), fetch);
        assert_eq!(cache.get().await, Err(Failure::ended()));
        assert_eq!(cache.get().await, Ok(1));
    }
}
