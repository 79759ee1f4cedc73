//! The latest value of something that changes, for those that wait for its changes.
//!
//! It is a `tokio::sync::watch` with one sender and one notifier. That one has eight, so that many
//! threads that wait for one value do not contend; here each autoscaler has a few of its own, and
//! one or two tasks wait for each.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::lock::lock;

/// Holds the latest value, and changes it. When it is dropped, receivers stop waiting.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// Sees the latest value, and waits for the next one. Values that are replaced before it looks are
/// not seen.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that was seen last.
    seen: u64,
}

/// The sender is gone, and its last value was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    /// The number of changes.
    version: u64,
    /// True once the sender is gone.
    is_closed: bool,
}

/// Begins with a value, which counts as seen.
pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State { value, version: 0, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() });
    let receiver = Receiver { shared: shared.clone(), seen: 0 };
    (Sender(shared), receiver)
}

impl<T> Sender<T> {
    /// Replaces the value, whether or not there are receivers, and returns the one before.
    pub(crate) fn send_replace(&self, value: T) -> T {
        let mut before = value;
        self.send_modify(|value| std::mem::swap(value, &mut before));
        before
    }

    /// Changes the value.
    pub(crate) fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Changes the value. Receivers are told if `change` returns true. It must not use this sender
    /// or its receivers.
    pub(crate) fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) {
        let mut state = lock(&self.0.state);
        if change(&mut state.value) {
            state.version += 1;
            drop(state);
            self.0.changed.notify_waiters();
        }
    }

    /// Adds a receiver, to which the value as it is now counts as seen.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        let seen = lock(&self.0.state).version;
        Receiver { shared: self.0.clone(), seen }
    }
}

impl<T: Clone> Sender<T> {
    /// Returns the value as it is now.
    pub(crate) fn get(&self) -> T {
        lock(&self.0.state).value.clone()
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        lock(&self.0.state).is_closed = true;
        self.0.changed.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// Returns once there is a value that was not seen, which counts as seen then; at once if there
    /// is one already. When it is dropped before it returns, nothing has been seen.
    pub(crate) async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // From here on it is told of changes, before it is awaited too, so that none between
            // the look at the version and the wait is missed.
            let changed = self.shared.changed.notified();
            let (version, is_closed) = {
                let state = lock(&self.shared.state);
                (state.version, state.is_closed)
            };
            if self.seen != version {
                self.seen = version;
                return Ok(());
            }
            if is_closed {
                return Err(Closed);
            }
            changed.await;
        }
    }
}

impl<T: Clone> Receiver<T> {
    /// Returns the value as it is now. It does not count as seen.
    pub(crate) fn get(&self) -> T {
        lock(&self.shared.state).value.clone()
    }

    /// Returns the value as it is now, which counts as seen.
    pub(crate) fn get_and_update(&mut self) -> T {
        let state = lock(&self.shared.state);
        self.seen = state.version;
        state.value.clone()
    }

    /// Returns once there is a value like this, which counts as seen, as do those before it. It is
    /// looked at first as it is now.
    pub(crate) async fn wait_for(
        &mut self,
        mut is_like_this: impl FnMut(&T) -> bool,
    ) -> Result<(), Closed> {
        while !is_like_this(&self.get_and_update()) {
            self.changed().await?;
        }
        Ok(())
    }
}

impl<T> Clone for Receiver<T> {
    /// Returns a receiver that has seen what this one has.
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, time::Duration};

    use futures::FutureExt;

    use super::*;

    /// Returns what a receiver is told without a wait; `None` if it has to wait.
    fn told<T>(receiver: &mut Receiver<T>) -> Option<Result<(), Closed>> {
        receiver.changed().now_or_never()
    }

    async fn soon<F: Future>(future: F) -> F::Output {
        tokio::time::timeout(Duration::from_secs(10), future).await.expect("it waits for ever")
    }

    #[test]
    fn the_first_value_counts_as_seen() {
        let (sender, mut first) = channel(1);
        let mut second = sender.subscribe();
        assert_eq!((sender.get(), first.get(), second.get()), (1, 1, 1));
        assert_eq!((told(&mut first), told(&mut second)), (None, None));
    }

    #[test]
    fn a_change_before_the_wait_is_seen_once_by_each_receiver() {
        let (sender, mut first) = channel(1);
        let mut second = sender.subscribe();
        assert_eq!(sender.send_replace(2), 1);
        sender.send_replace(3);
        let mut third = sender.subscribe();
        assert_eq!((told(&mut first), told(&mut second)), (Some(Ok(())), Some(Ok(()))));
        assert_eq!((first.get(), second.get(), third.get()), (3, 3, 3));
        assert_eq!((told(&mut first), told(&mut second), told(&mut third)), (None, None, None));
    }

    #[test]
    fn a_value_is_seen_by_one_of_the_looks_at_it_only() {
        let (sender, mut receiver) = channel(1);
        sender.send_replace(2);
        assert_eq!(receiver.get(), 2);
        let mut clone = receiver.clone();
        assert_eq!(told(&mut receiver), Some(Ok(())));
        sender.send_replace(3);
        assert_eq!(receiver.get_and_update(), 3);
        assert_eq!(told(&mut receiver), None);
        assert_eq!(told(&mut clone), Some(Ok(())), "a clone sees for itself");
    }

    #[test]
    fn only_a_value_that_was_modified_is_a_change() {
        let (sender, mut receiver) = channel(1);
        sender.send_if_modified(|_| false);
        assert_eq!(told(&mut receiver), None);
        sender.send_if_modified(|value| std::mem::replace(value, 2) == 1);
        assert_eq!((told(&mut receiver), receiver.get()), (Some(Ok(())), 2));
        sender.send_modify(|_| {});
        assert_eq!(told(&mut receiver), Some(Ok(())), "told of something beside the value");
    }

    #[test]
    fn the_last_value_is_seen_before_the_end() {
        let (sender, mut receiver) = channel(1);
        let mut waiting = receiver.clone();
        sender.send_replace(2);
        drop(sender);
        assert_eq!(told(&mut receiver), Some(Ok(())));
        assert_eq!(receiver.get(), 2);
        assert_eq!(told(&mut receiver), Some(Err(Closed)));
        assert_eq!(told(&mut receiver), Some(Err(Closed)));
        assert_eq!(waiting.wait_for(|value| *value == 2).now_or_never(), Some(Ok(())));
        assert_eq!(waiting.wait_for(|value| *value == 3).now_or_never(), Some(Err(Closed)));
    }

    #[test]
    fn waits_for_a_value_look_at_the_present_one_first() {
        let (sender, mut receiver) = channel(1);
        assert_eq!(receiver.wait_for(|value| *value == 1).now_or_never(), Some(Ok(())));
        let mut wait = Box::pin(receiver.wait_for(|value| *value > 2));
        for (value, expected) in [(1, None), (2, None), (3, Some(Ok(())))] {
            sender.send_replace(value);
            assert_eq!(wait.as_mut().now_or_never(), expected, "{value}");
        }
        drop(wait);
        assert_eq!(told(&mut receiver), None);
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_has_seen_nothing() {
        let (sender, mut receiver) = channel(1);
        let mut wait = Box::pin(receiver.changed());
        assert_eq!(wait.as_mut().now_or_never(), None);
        sender.send_replace(2);
        drop(wait);
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            _ = receiver.changed() => unreachable!(),
        }
        assert_eq!(told(&mut receiver), Some(Ok(())));
    }

    #[tokio::test]
    async fn tasks_that_wait_are_woken_by_changes_and_by_the_end() {
        let (sender, receiver) = channel(1);
        let wait = |mut receiver: Receiver<i32>| async move {
            (receiver.changed().await, receiver.get(), receiver.changed().await)
        };
        let tasks = async { tokio::join!(wait(receiver.clone()), wait(receiver.clone())) };
        let change = async {
            tokio::task::yield_now().await;
            sender.send_replace(2);
            tokio::task::yield_now().await;
            drop(sender);
        };
        let (told, ()) = soon(async { tokio::join!(tasks, change) }).await;
        let expected = || (Ok(()), 2, Err(Closed));
        assert_eq!(told, (expected(), expected()));
    }

    /// A wake-up that is lost would leave a receiver behind the last value, or without its end.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    #[expect(clippy::disallowed_methods, reason = "a panic fails the test")]
    async fn receivers_of_other_threads_see_the_last_value_in_the_end() {
        const LAST: u32 = 20_000;
        let (sender, receiver) = channel(0);
        let follow = |mut receiver: Receiver<u32>| async move {
            let (mut seen, mut waits) = (0, 0);
            while receiver.changed().await.is_ok() {
                let value = receiver.get_and_update();
                assert!(value >= seen, "{value} after {seen}");
                (seen, waits) = (value, waits + 1);
            }
            (seen, waits <= LAST)
        };
        let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(follow(receiver.clone()))).collect();
        for value in 1..=LAST {
            sender.send_replace(value);
            if value % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(sender);
        for task in tasks {
            assert_eq!(soon(task).await.unwrap(), (LAST, true));
        }
    }

    /// Ten thousand autoscalers have two of them, and a `tokio::sync::watch` takes 344 bytes.
    #[test]
    fn one_takes_little_memory() {
        let counters = 2 * size_of::<usize>();
        let bytes = counters + size_of::<Shared<Arc<()>>>();
        assert!(bytes <= 80, "{bytes} bytes");
        assert_eq!(size_of::<Receiver<Arc<()>>>(), 16);
    }
}
