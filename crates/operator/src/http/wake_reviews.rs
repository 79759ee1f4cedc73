//! The limits of wake calls: strangers cannot make the operator ask the API server without end.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};

use llm_autoscaler_core::Monotonic;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    http::{listener::Peer, wake::AutoscalerKey},
    lanes::Lanes,
    lock::lock,
};

/// The number of calls that may be reviewed at once.
const IN_FLIGHT: usize = 8;
/// The number of them from one address, so that a flood from one pod leaves the most to others.
const IN_FLIGHT_OF_PEER: usize = 2;
/// The time for which a refusal is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
/// The number of refusals that are remembered.
const REFUSALS: usize = 1024;

/// The reviews that are under way, and the latest refusals.
pub(super) struct Reviews {
    permits: Arc<Semaphore>,
    peers: Lanes,
    refusals: Mutex<HashMap<u64, Monotonic>>,
    /// Has a random key, so that no token can be made to look like another.
    hasher: RandomState,
}

/// A caller's token, and the autoscaler where the refusal was for this one.
#[derive(Clone, Copy, Hash)]
pub(super) struct Refused<'a> {
    /// The token.
    pub token: &'a str,
    /// The autoscaler; `None` if the token is not known at all.
    pub key: Option<&'a AutoscalerKey>,
}

impl Reviews {
    /// Begins without any.
    pub(super) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            peers: Lanes::new(IN_FLIGHT_OF_PEER),
            refusals: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Begins a review, which counts until the permits are dropped; `None` if there are too many,
    /// of all or of this client.
    pub(super) fn begin(&self, Peer(peer): Peer) -> Option<[OwnedSemaphorePermit; 2]> {
        let of_peer = self.peers.try_enter(&peer.to_string())?;
        Some([self.permits.clone().try_acquire_owned().ok()?, of_peer])
    }

    /// Remembers a refusal for a while.
    pub(super) fn record_refusal(&self, refused: Refused<'_>, now: Monotonic) {
        let mut refusals = lock(&self.refusals);
        if refusals.len() >= REFUSALS {
            refusals.retain(|_, at| now.since(*at) < REMEMBERED);
        }
        if refusals.len() < REFUSALS {
            refusals.insert(self.hasher.hash_one(refused), now);
        }
    }

    /// Returns true if this was refused a moment ago.
    pub(super) fn is_refused(&self, refused: Refused<'_>, now: Monotonic) -> bool {
        let hash = self.hasher.hash_one(refused);
        lock(&self.refusals).get(&hash).is_some_and(|at| now.since(*at) < REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn at_most_eight_calls_are_reviewed_at_once_and_two_of_one_client() {
        let reviews = Reviews::new();
        let begin = |number| reviews.begin(Peer([10, 0, 0, number].into()));
        let mut permits: Vec<_> =
            [1, 1, 2, 2].into_iter().map(|number| begin(number).unwrap()).collect();
        assert!(begin(1).is_none() && begin(2).is_none());
        permits.extend([3, 4, 5, 6].into_iter().map(|number| begin(number).unwrap()));
        assert!(begin(7).is_none());
        drop(permits.remove(0));
        assert!(begin(1).is_some());
    }

    #[test]
    fn a_refusal_is_remembered_for_ten_seconds_by_what_was_refused() {
        let reviews = Reviews::new();
        let key = AutoscalerKey { namespace: "ns".to_owned(), name: "a".to_owned() };
        let other = AutoscalerKey { namespace: "ns".to_owned(), name: "b".to_owned() };
        let refused = |token, key| Refused { token, key };
        reviews.record_refusal(refused("junk", None), at(100));
        reviews.record_refusal(refused("stranger", Some(&key)), at(100));
        // token, autoscaler, second, whether it is known to be refused
        let table = [
            ("junk", None, 109, true),
            ("junk", None, 110, false),
            ("other", None, 100, false),
            ("stranger", None, 100, false),
            ("stranger", Some(&key), 109, true),
            ("stranger", Some(&other), 100, false),
        ];
        for (token, key, second, expected) in table {
            let found = reviews.is_refused(refused(token, key), at(second));
            assert_eq!(found, expected, "{token} {key:?} at {second}");
        }
    }

    #[test]
    fn a_flood_of_tokens_takes_no_memory() {
        let reviews = Reviews::new();
        for number in 0..10 * REFUSALS as u64 {
            let token = number.to_string();
            let refused = Refused { token: &token, key: None };
            reviews.record_refusal(refused, Monotonic(Duration::from_millis(number)));
        }
        assert!(lock(&reviews.refusals).len() <= REFUSALS);
    }
}
