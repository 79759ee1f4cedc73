//! Feeds: the pages and servers that one task samples for all of their subscribers.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle};

use crate::lock::lock;

/// A subscriber of feeds: one source of one autoscaler. An older one is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriberId(u64);

/// A page or a server, and the state that its task shares with the subscribers.
pub(crate) struct Feed<K, S> {
    /// The page or the server.
    pub(crate) key: Arc<K>,
    state: Mutex<S>,
    /// Notified when a subscription begins or changes, so that a shorter interval counts at once.
    pub(crate) changed: Notify,
}

/// The state of a feed. It contains the subscriptions.
pub(crate) trait FeedState: Default {
    /// The demand of one subscriber.
    type Subscription;

    /// Begins a subscription, or replaces the subscriber's former one.
    fn subscribe(&mut self, subscriber: SubscriberId, subscription: Self::Subscription);

    /// Ends a subscription.
    fn unsubscribe(&mut self, subscriber: SubscriberId);

    /// Returns true if a subscription is left.
    fn has_subscribers(&self) -> bool;
}

/// The feeds that have subscribers. The first subscription starts a feed's task, and the end of the
/// last one ends it.
pub(crate) struct FeedRegistry<K, S> {
    feeds: Mutex<Feeds<K, S>>,
    next_subscriber: AtomicU64,
}

/// The feeds, by the keys that they have themselves.
type Feeds<K, S> = HashMap<Arc<K>, RunningFeed<K, S>>;

struct RunningFeed<K, S> {
    feed: Arc<Feed<K, S>>,
    task: AbortHandle,
}

impl<K: Hash, S> Feed<K, S> {
    /// Locks the state.
    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        lock(&self.state)
    }

    /// Returns the feed's own fraction of an interval, so that feeds are not all sampled at the
    /// same moment. It is a hash of the key, and thus always the same.
    pub(crate) fn phase(&self, interval: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        interval.mul_f64((hasher.finish() % 4096) as f64 / 4096.0)
    }
}

impl<K, S> Default for FeedRegistry<K, S> {
    fn default() -> Self {
        Self { feeds: Mutex::default(), next_subscriber: AtomicU64::new(0) }
    }
}

impl<K: Clone + Eq + Hash, S: FeedState> FeedRegistry<K, S> {
    /// Returns the ID of a new subscriber.
    pub(crate) fn new_subscriber(&self) -> SubscriberId {
        SubscriberId(self.next_subscriber.fetch_add(1, Ordering::Relaxed))
    }

    /// Subscribes to a feed, or changes the subscription. A new feed is sampled by the task that
    /// `run` returns.
    pub(crate) fn subscribe<F>(
        &self,
        subscriber: SubscriberId,
        key: &K,
        subscription: S::Subscription,
        run: impl FnOnce(Arc<Feed<K, S>>) -> F,
    ) -> Arc<Feed<K, S>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        subscribe(&mut lock(&self.feeds), subscriber, key, subscription, run)
    }

    /// Like [`Self::subscribe`], if the feed runs already or `has_room` is true of the feeds that
    /// do; else `None`.
    pub(crate) fn subscribe_if<F>(
        &self,
        subscriber: SubscriberId,
        key: &K,
        subscription: S::Subscription,
        has_room: impl FnOnce(&mut dyn Iterator<Item = &K>) -> bool,
        run: impl FnOnce(Arc<Feed<K, S>>) -> F,
    ) -> Option<Arc<Feed<K, S>>>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut feeds = lock(&self.feeds);
        let may_run = feeds.contains_key(key) || has_room(&mut feeds.keys().map(Arc::as_ref));
        may_run.then(|| subscribe(&mut feeds, subscriber, key, subscription, run))
    }

    /// Returns the number of feeds that have subscribers.
    pub(crate) fn count(&self) -> usize {
        lock(&self.feeds).len()
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&self, subscriber: SubscriberId, key: &K) {
        let mut feeds = lock(&self.feeds);
        let Some(RunningFeed { feed, task }) = feeds.get(key) else { return };
        let is_used = {
            let mut state = feed.state();
            state.unsubscribe(subscriber);
            state.has_subscribers()
        };
        if !is_used {
            task.abort();
            feeds.remove(key);
        }
    }
}

fn subscribe<K, S, F>(
    feeds: &mut Feeds<K, S>,
    subscriber: SubscriberId,
    key: &K,
    subscription: S::Subscription,
    run: impl FnOnce(Arc<Feed<K, S>>) -> F,
) -> Arc<Feed<K, S>>
where
    K: Clone + Eq + Hash,
    S: FeedState,
    F: Future<Output = ()> + Send + 'static,
{
    let feed = if let Some(running) = feeds.get(key) {
        running.feed.clone()
    } else {
        let (key, changed) = (Arc::new(key.clone()), Notify::new());
        Arc::new(Feed { key, state: Mutex::default(), changed })
    };
    feed.state().subscribe(subscriber, subscription);
    if !feeds.contains_key(key) {
        let task = tokio::spawn(run(feed.clone())).abort_handle();
        feeds.insert(feed.key.clone(), RunningFeed { feed: feed.clone(), task });
    }
    feed.changed.notify_one();
    feed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Numbers(HashMap<SubscriberId, u32>);

    impl FeedState for Numbers {
        type Subscription = u32;

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

    #[tokio::test]
    async fn a_feed_runs_from_its_first_subscription_to_the_end_of_its_last() {
        let registry = FeedRegistry::<&str, Numbers>::default();
        let (first, second) = (registry.new_subscriber(), registry.new_subscriber());
        // Each task holds a sender; a closed channel proves the end of all tasks.
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        let subscribe = |subscriber, number| {
            let sender = sender.clone();
            registry.subscribe(subscriber, &"page", number, |_| async move {
                let _sender = sender;
                std::future::pending::<()>().await;
            })
        };
        let feed = subscribe(first, 1);
        assert!(Arc::ptr_eq(&feed, &subscribe(second, 2)), "one feed for both");
        subscribe(second, 3);
        assert_eq!(feed.state().0, HashMap::from([(first, 1), (second, 3)]));
        registry.unsubscribe(first, &"page");
        registry.unsubscribe(first, &"another page");
        tokio::task::yield_now().await;
        assert_eq!(registry.count(), 1);
        registry.unsubscribe(second, &"page");
        assert_eq!(registry.count(), 0);
        let again = subscribe(first, 1);
        assert!(!Arc::ptr_eq(&feed, &again), "a new feed has no past");
        registry.unsubscribe(first, &"page");
        drop(sender);
        assert_eq!(receiver.recv().await, None, "every task has ended");
    }
}
