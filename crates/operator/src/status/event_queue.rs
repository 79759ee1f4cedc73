//! The events of one autoscaler on their way to the API server: three of a kind at once, then one
//! every 10 s, and the latest one of those that come meanwhile.
//!
//! A size that swings with its samples changes several times in 10 s. The first changes are told at
//! once, and the last one when the 10 s have passed; what was in between is in the status
//! (`decisions`) and in the log. So is one that still waits when the operator or the autoscaler
//! ends: nothing is waited for then.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{ResourceExt, runtime::events::Event};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_core::{Monotonic, Pace, TokenBucket};
use tracing::debug;

use super::{events::Events, write_limiter::WriteLimiter};
use crate::{clock::Clock, lock::lock};

/// The pace of events of one kind.
const PACE: Pace = Pace { every: Duration::from_secs(10), burst: 3 };

/// Publishes the events of one autoscaler; cheap to clone.
#[derive(Clone)]
pub(crate) struct EventQueue(Arc<Shared>);

struct Shared {
    events: Arc<Events>,
    limiter: WriteLimiter,
    clock: Clock,
    kinds: Mutex<Kinds<EventKind, Queued>>,
}

/// Events of one kind follow each other with a distance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EventKind {
    /// The role that they are about, if there are several.
    pub role: Option<String>,
    /// The reason.
    pub reason: String,
    /// The number among the events of a step with this role and reason.
    pub number: usize,
}

struct Queued {
    about: Arc<LLMAutoscaler>,
    event: Event,
}

impl EventQueue {
    /// Begins with nothing published.
    pub(crate) fn new(events: Arc<Events>, limiter: WriteLimiter, clock: Clock) -> Self {
        Self(Arc::new(Shared { events, limiter, clock, kinds: Mutex::default() }))
    }

    /// Publishes an event in the background, now or when its kind may have another one.
    pub(crate) fn publish(&self, about: &Arc<LLMAutoscaler>, role: Option<&str>, event: Event) {
        let (role, reason) = (role.map(str::to_owned), event.reason.clone());
        self.publish_kind(about, EventKind { role, reason, number: 0 }, event);
    }

    pub(super) fn publish_kind(&self, about: &Arc<LLMAutoscaler>, kind: EventKind, event: Event) {
        let queued = Queued { about: about.clone(), event };
        let now = self.0.clock.monotonic();
        match lock(&self.0.kinds).push(kind.clone(), queued, now) {
            Pushed::Now(queued) => self.0.send(queued),
            Pushed::In(wait) => self.send_later(kind, wait),
            Pushed::Replaced => {}
        }
    }

    /// Sends the latest event of a kind after a while, if the autoscaler is still there.
    fn send_later(&self, kind: EventKind, wait: Duration) {
        let queue = Arc::downgrade(&self.0);
        self.0.events.supervisor.spawn("event", async move {
            tokio::time::sleep(wait).await;
            let Some(shared) = queue.upgrade() else { return };
            let latest = lock(&shared.kinds).pop(&kind, shared.clock.monotonic());
            if let Some(latest) = latest {
                shared.send(latest);
            }
        });
    }
}

impl Shared {
    fn send(&self, Queued { about, event }: Queued) {
        let namespace = about.namespace().unwrap_or_default();
        let Some(queued) = self.limiter.queue_event(&namespace) else {
            let reason = event.reason;
            debug!(namespace, reason, "too many events of the namespace wait: one is left out");
            return;
        };
        let (events, limiter) = (self.events.clone(), self.limiter.clone());
        self.events.supervisor.spawn("event", async move {
            let _turn = limiter.enter(&namespace).await;
            drop(queued);
            // In a box, so that an event that waits has no memory of a call.
            Box::pin(events.publish(&about, event)).await;
        });
    }
}

/// The latest events of each kind.
struct Kinds<K, E>(HashMap<K, Latest<E>>);

struct Latest<E> {
    /// A token for each event that is published.
    bucket: TokenBucket,
    /// The event that waits.
    waiting: Option<E>,
}

/// The fate of an event.
#[derive(Debug, PartialEq, Eq)]
enum Pushed<E> {
    /// It is to be published now.
    Now(E),
    /// It waits for this time.
    In(Duration),
    /// It waits in the place of an earlier one.
    Replaced,
}

impl<K, E> Default for Kinds<K, E> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, E> Kinds<K, E> {
    fn push(&mut self, kind: K, event: E, now: Monotonic) -> Pushed<E> {
        self.0.retain(|_, latest| latest.waiting.is_some() || !latest.bucket.is_full(now));
        let none = Latest { bucket: TokenBucket::default(), waiting: None };
        let Latest { bucket, waiting } = self.0.entry(kind).or_insert(none);
        if waiting.is_some() {
            *waiting = Some(event);
            return Pushed::Replaced;
        }
        let Some(at) = bucket.next_token(PACE, now) else {
            bucket.take(PACE, 1, now);
            return Pushed::Now(event);
        };
        *waiting = Some(event);
        Pushed::In(at.since(now))
    }

    /// Takes the event that waits, to publish it.
    fn pop(&mut self, kind: &K, now: Monotonic) -> Option<E> {
        let latest = self.0.get_mut(kind)?;
        let event = latest.waiting.take()?;
        latest.bucket.take(PACE, 1, now);
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn three_events_of_a_kind_are_published_at_once_and_then_the_latest_every_ten_seconds() {
        let mut kinds = Kinds::default();
        for event in ["1 to 8", "8 to 0", "0 to 1"] {
            assert_eq!(kinds.push("size", event, at(100)), Pushed::Now(event));
        }
        assert_eq!(kinds.push("size", "1 to 2", at(102)), Pushed::In(Duration::from_secs(8)));
        assert_eq!(kinds.push("size", "2 to 8", at(104)), Pushed::Replaced);
        assert_eq!(kinds.push("drain", "late", at(104)), Pushed::Now("late"));
        // Nothing overtakes an event whose time has come.
        assert_eq!(kinds.push("size", "8 to 3", at(111)), Pushed::Replaced);
        assert_eq!(kinds.pop(&"size", at(111)), Some("8 to 3"));
        assert_eq!(kinds.push("size", "3 to 4", at(112)), Pushed::In(Duration::from_secs(8)));
        assert_eq!(kinds.pop(&"size", at(121)), Some("3 to 4"));
        assert_eq!(kinds.pop(&"size", at(131)), None);
        assert_eq!(kinds.push("size", "4 to 5", at(160)), Pushed::Now("4 to 5"));
        assert_eq!(kinds.0.len(), 1, "a kind without events leaves nothing behind");
    }
}
