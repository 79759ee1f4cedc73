//! Feeds: the pages and servers that are sampled once for all of their subscribers.

use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{lock::lock, sampling::phase::PhaseHash};

/// A subscriber of feeds: one source of one autoscaler. An older one is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriberId(u64);

impl SubscriberId {
    /// Returns the number of subscribers that there were before this one.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// A page or a server, and the state that its sampling shares with the subscribers.
pub(crate) struct Feed<K, S: FeedState> {
    /// The page or the server.
    pub(crate) key: K,
    /// The hash of its key, by which it has its phase.
    pub(crate) phase_hash: PhaseHash,
    state: Mutex<S>,
    /// What samples it.
    pub(crate) sampler: S::Sampler,
}

/// The state of a feed. It contains the subscriptions.
pub(crate) trait FeedState: Default {
    /// The demand of one subscriber.
    type Subscription;
    /// What samples a feed, and what it keeps from one sample to the next.
    type Sampler: Default;

    /// Begins a subscription, or replaces the subscriber's former one.
    fn subscribe(&mut self, subscriber: SubscriberId, subscription: Self::Subscription);

    /// Ends a subscription.
    fn unsubscribe(&mut self, subscriber: SubscriberId);

    /// Returns true if a subscription is left.
    fn has_subscribers(&self) -> bool;
}

/// The feeds that have subscribers. A feed is sampled from its first subscription to the end of its
/// last one.
pub(crate) struct FeedRegistry<K, S: FeedState> {
    feeds: Mutex<HashSet<ByKey<K, S>>>,
    next_subscriber: AtomicU64,
}

/// A change of a feed's subscriptions that its sampler is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The first subscription has begun.
    Begun,
    /// Another one has begun, or one has changed, so that a shorter interval counts at once.
    Changed,
}

/// A feed that is found by its key.
struct ByKey<K, S: FeedState>(Arc<Feed<K, S>>);

impl<K, S: FeedState> Borrow<K> for ByKey<K, S> {
    fn borrow(&self) -> &K {
        &self.0.key
    }
}

impl<K: Hash, S: FeedState> Hash for ByKey<K, S> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.key.hash(hasher);
    }
}

impl<K: PartialEq, S: FeedState> PartialEq for ByKey<K, S> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl<K: Eq, S: FeedState> Eq for ByKey<K, S> {}

impl<K, S: FeedState> Feed<K, S> {
    /// Locks the state.
    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        lock(&self.state)
    }
}

impl<K, S: FeedState> Default for FeedRegistry<K, S> {
    fn default() -> Self {
        Self { feeds: Mutex::default(), next_subscriber: AtomicU64::new(0) }
    }
}

impl<K: Clone + Eq + Hash, S: FeedState> FeedRegistry<K, S> {
    /// Returns the ID of a new subscriber.
    pub(crate) fn new_subscriber(&self) -> SubscriberId {
        SubscriberId(self.next_subscriber.fetch_add(1, Ordering::Relaxed))
    }

    /// Subscribes to a feed, or changes the subscription. `tell` tells the feed's sampler.
    pub(crate) fn subscribe(
        &self,
        subscriber: SubscriberId,
        key: &K,
        subscription: S::Subscription,
        tell: impl FnOnce(&Arc<Feed<K, S>>, Change),
    ) -> Arc<Feed<K, S>> {
        subscribe(&mut lock(&self.feeds), subscriber, key, subscription, tell)
    }

    /// Like [`Self::subscribe`], if the feed is sampled already or `has_room` is true of the feeds
    /// that are; else `None`.
    pub(crate) fn subscribe_if(
        &self,
        subscriber: SubscriberId,
        key: &K,
        subscription: S::Subscription,
        has_room: impl FnOnce(&mut dyn Iterator<Item = &K>) -> bool,
        tell: impl FnOnce(&Arc<Feed<K, S>>, Change),
    ) -> Option<Arc<Feed<K, S>>> {
        let mut feeds = lock(&self.feeds);
        let may_begin = feeds.contains(key) || has_room(&mut feeds.iter().map(|feed| &feed.0.key));
        may_begin.then(|| subscribe(&mut feeds, subscriber, key, subscription, tell))
    }

    /// Returns the number of feeds that have subscribers.
    pub(crate) fn count(&self) -> usize {
        lock(&self.feeds).len()
    }

    /// Ends a subscription. If it was the last one, `end` ends the sampling of the feed.
    pub(crate) fn unsubscribe(
        &self,
        subscriber: SubscriberId,
        key: &K,
        end: impl FnOnce(&Arc<Feed<K, S>>),
    ) {
        let mut feeds = lock(&self.feeds);
        let Some(ByKey(feed)) = feeds.get(key) else { return };
        let is_used = {
            let mut state = feed.state();
            state.unsubscribe(subscriber);
            state.has_subscribers()
        };
        if !is_used && let Some(ByKey(feed)) = feeds.take(key) {
            end(&feed);
        }
    }
}

#[expect(
    clippy::mutable_key_type,
    reason = "feeds are found by their keys, which stay as they are"
)]
fn subscribe<K: Clone + Eq + Hash, S: FeedState>(
    feeds: &mut HashSet<ByKey<K, S>>,
    subscriber: SubscriberId,
    key: &K,
    subscription: S::Subscription,
    tell: impl FnOnce(&Arc<Feed<K, S>>, Change),
) -> Arc<Feed<K, S>> {
    let known = feeds.get(key).map(|known| known.0.clone());
    let change = if known.is_some() { Change::Changed } else { Change::Begun };
    let feed = known.unwrap_or_else(|| {
        let (state, sampler) = (Mutex::default(), S::Sampler::default());
        let phase_hash = PhaseHash::of(key);
        let feed = Arc::new(Feed { key: key.clone(), phase_hash, state, sampler });
        feeds.insert(ByKey(feed.clone()));
        feed
    });
    feed.state().subscribe(subscriber, subscription);
    tell(&feed, change);
    feed
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[derive(Default)]
    struct Numbers(HashMap<SubscriberId, u32>);

    impl FeedState for Numbers {
        type Subscription = u32;
        type Sampler = Mutex<Vec<&'static str>>;

        fn subscribe(&mut self, subscriber: SubscriberId, subscription: u32) {
            self.0.insert(subscriber, subscription);
        }

        fn unsubscribe(&mut self, subscriber: SubscriberId) {
            self.0.remove(&subscriber);
        }

        fn has_subscribers(&self) -> bool {
            !self.0.is_empty()
        }
    }

    #[test]
    fn a_feed_is_sampled_from_its_first_subscription_to_the_end_of_its_last() {
        let registry = FeedRegistry::<&str, Numbers>::default();
        let (first, second) = (registry.new_subscriber(), registry.new_subscriber());
        let told = |feed: &Feed<&str, Numbers>| lock(&feed.sampler).clone();
        let tell = |feed: &Arc<Feed<&str, Numbers>>, change| {
            // The subscription is there by then.
            assert!(feed.state().has_subscribers());
            lock(&feed.sampler).push(if change == Change::Begun { "begun" } else { "changed" });
        };
        let end = |feed: &Arc<Feed<&str, Numbers>>| lock(&feed.sampler).push("ended");
        let subscribe = |subscriber, number| registry.subscribe(subscriber, &"page", number, tell);
        let feed = subscribe(first, 1);
        assert!(Arc::ptr_eq(&feed, &subscribe(second, 2)), "one feed for both");
        subscribe(second, 3);
        assert_eq!(feed.state().0, HashMap::from([(first, 1), (second, 3)]));
        registry.unsubscribe(first, &"page", end);
        registry.unsubscribe(first, &"another page", end);
        assert_eq!((registry.count(), told(&feed)), (1, vec!["begun", "changed", "changed"]));
        registry.unsubscribe(second, &"page", end);
        assert_eq!(registry.count(), 0);
        assert_eq!(told(&feed), ["begun", "changed", "changed", "ended"]);
        let again = subscribe(first, 1);
        assert!(!Arc::ptr_eq(&feed, &again), "a new feed has no past");
        assert_eq!(told(&again), ["begun"]);
    }
}
