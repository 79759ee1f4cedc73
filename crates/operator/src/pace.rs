//! The pace of writes by namespace: a token bucket for each, so that the writes of one tenant never
//! take the time of the API server that those of others need.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use llm_autoscaler_core::{Monotonic, Pace, TokenBucket};

use crate::lock::lock;

/// The pace of the size changes of one namespace: 20 a second on average, which is what 40 targets
/// reach that change as often as a target may. A load that rises everywhere at once must not wait,
/// so 600 come at once: so many are measured in docs/performance.md.
pub(crate) const SIZES: Pace = Pace { every: Duration::from_millis(50), burst: 600 };
/// The pace at which the pods of one namespace are taken out of service. A pod that returns to
/// service, which needs no token, was taken out before or is new; so this limits both.
pub(crate) const CLOSED_GATES: Pace = Pace { every: Duration::from_millis(50), burst: 600 };
/// The pace at which Secrets and `ConfigMap`s are read for the sources of one namespace: 500
/// autoscalers with credentials of their own, which are read again every 30 s, need 17 a second.
pub(crate) const CREDENTIALS: Pace = Pace { every: Duration::from_millis(20), burst: 600 };

/// A token bucket for each namespace.
#[derive(Debug)]
pub(crate) struct NamespacePace {
    pace: Pace,
    /// The buckets that are not full.
    buckets: Mutex<HashMap<String, TokenBucket>>,
}

impl NamespacePace {
    /// Begins with full buckets.
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, buckets: Mutex::default() }
    }

    /// Takes a token if one is there.
    pub(crate) fn try_take(&self, namespace: &str, now: Monotonic) -> bool {
        let mut buckets = self.lock();
        let bucket = bucket(&mut buckets, namespace, now);
        let is_there = bucket.next_token(self.pace, now).is_none();
        if is_there {
            bucket.take(self.pace, 1, now);
        }
        is_there
    }

    /// Takes tokens, in advance if they are not there. Returns the moment at which they are.
    fn take(&self, namespace: &str, tokens: u32, now: Monotonic) -> Monotonic {
        bucket(&mut self.lock(), namespace, now).take(self.pace, tokens, now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, TokenBucket>> {
        lock(&self.buckets)
    }
}

/// Returns the bucket of a namespace. A full one is as good as none, and is forgotten.
fn bucket<'b>(
    buckets: &'b mut HashMap<String, TokenBucket>,
    namespace: &str,
    now: Monotonic,
) -> &'b mut TokenBucket {
    if !buckets.contains_key(namespace) {
        buckets.retain(|_, bucket| !bucket.is_full(now));
    }
    buckets.entry(namespace.to_owned()).or_default()
}

/// The place of one autoscaler in the line of its namespace. It takes its tokens in advance, so
/// that autoscalers that wait are served in the order in which they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The number of tokens that it has taken.
    tokens: u32,
    /// The moment at which they are there.
    at: Monotonic,
    /// The time since which it waits.
    since: Option<Monotonic>,
}

impl Turn {
    /// Asks for this number of writes. Returns the moment at which they may be made; `None` if they
    /// may be made now, and the turn is over. A turn that nothing is written in is lost.
    pub(crate) fn next(
        &mut self,
        pace: &NamespacePace,
        namespace: &str,
        writes: u32,
        now: Monotonic,
    ) -> Option<Monotonic> {
        if let Some(missing) = writes.checked_sub(self.tokens).filter(|missing| *missing > 0) {
            self.at = self.at.max(pace.take(namespace, missing, now));
            self.tokens = writes;
        }
        if self.at <= now {
            *self = Self::default();
            return None;
        }
        self.since.get_or_insert(now);
        (writes > 0).then_some(self.at)
    }

    /// Returns how long it has waited.
    pub(crate) fn waits_for(&self, now: Monotonic) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { every: Duration::from_millis(100), burst: 5 };

    fn at(millis: u64) -> Monotonic {
        Monotonic(Duration::from_millis(millis))
    }

    #[test]
    fn a_namespace_without_tokens_waits_by_itself() {
        let pace = NamespacePace::new(PACE);
        let taken = (0..10).filter(|_| pace.try_take("a", at(1_000))).count();
        assert_eq!(taken, 5);
        assert!(pace.try_take("b", at(1_000)));
        assert!(!pace.try_take("a", at(1_099)) && pace.try_take("a", at(1_100)));
    }

    #[test]
    fn namespaces_with_full_buckets_leave_nothing_behind() {
        let pace = NamespacePace::new(PACE);
        for number in 0..1_000 {
            assert!(pace.try_take(&format!("ns-{number}"), at(1_000 * number)));
        }
        assert!(pace.lock().len() <= 2);
    }

    /// The writes of 300 autoscalers that want one with each sample of half a second.
    #[test]
    fn three_hundred_autoscalers_of_a_namespace_share_its_pace_and_wait_in_line() {
        let pace = NamespacePace::new(SIZES);
        let mut turns = vec![Turn::default(); 300];
        let mut writes = vec![Vec::new(); 300];
        for time in (10_000..130_000).step_by(50) {
            for (number, turn) in turns.iter_mut().enumerate() {
                let is_sampled = (time / 50 + number as u64).is_multiple_of(10);
                if is_sampled && turn.next(&pace, "a", 1, at(time)).is_none() {
                    writes[number].push(time);
                }
            }
            let mut other = Turn::default();
            assert_eq!(other.next(&pace, "b", 1, at(time)), None, "another namespace waits");
        }
        let all: usize = writes.iter().map(Vec::len).sum();
        assert!((2_700..=600 + 120 * 20).contains(&all), "{all} writes");
        let counts = || writes.iter().map(Vec::len);
        let (least, most) = (counts().min().unwrap(), counts().max().unwrap());
        assert!(most - least <= 1, "between {least} and {most} writes");
    }

    #[test]
    fn a_turn_is_for_all_writes_of_a_plan_or_none() {
        let (pace, mut turn) = (NamespacePace::new(PACE), Turn::default());
        assert_eq!(turn.next(&pace, "a", 4, at(1_000)), None);
        // A token is there, and two are needed.
        assert_eq!(turn.next(&pace, "a", 2, at(1_000)), Some(at(1_100)));
        // It asks again with the next sample, and keeps its place; a third write is later.
        assert_eq!(turn.next(&pace, "a", 2, at(1_050)), Some(at(1_100)));
        assert_eq!(turn.next(&pace, "a", 3, at(1_060)), Some(at(1_200)));
        assert_eq!(turn.waits_for(at(1_150)), Duration::from_millis(150));
        // Another one is behind it.
        assert_eq!(Turn::default().next(&pace, "a", 1, at(1_070)), Some(at(1_300)));
        assert_eq!(turn.next(&pace, "a", 0, at(1_199)), None, "nothing is wanted for now");
        assert_eq!(turn.next(&pace, "a", 1, at(1_200)), None);
        assert_eq!(turn, Turn::default());
        // Nothing is wanted when the turn comes, so it is lost.
        assert!(turn.next(&pace, "a", 1, at(1_200)).is_some());
        assert_eq!(turn.next(&pace, "a", 0, at(1_400)), None);
        assert_eq!(turn, Turn::default());
    }
}
