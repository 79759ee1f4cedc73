//! Limits by namespace, so that a namespace with much to do, or with slow work, waits by itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::lock::lock;

/// A limit for each namespace.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// The number that may be under way in one namespace at once.
    width: usize,
    /// The namespaces in which something is under way or waits.
    lanes: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Lanes {
    /// Begins with nothing under way.
    pub(crate) fn new(width: usize) -> Self {
        Self { width, lanes: Mutex::default() }
    }

    /// Begins with nothing under way, and with room for half of the threads that tasks run on, and
    /// for at least one.
    pub(crate) fn of_half_the_threads() -> Self {
        Self::new(Handle::current().metrics().num_workers().div_ceil(2))
    }

    /// Waits for the namespace's turn. It counts until the permit is dropped.
    pub(crate) async fn enter(&self, namespace: &str) -> Option<OwnedSemaphorePermit> {
        // The semaphores are never closed.
        self.lane(namespace).acquire_owned().await.ok()
    }

    /// Returns a permit if there is one left.
    pub(crate) fn try_enter(&self, namespace: &str) -> Option<OwnedSemaphorePermit> {
        self.lane(namespace).try_acquire_owned().ok()
    }

    fn lane(&self, namespace: &str) -> Arc<Semaphore> {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(namespace).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Semaphore::new(self.width));
        lanes.insert(namespace.to_owned(), Arc::downgrade(&lane));
        lane
    }
}

/// A limit for all namespaces together, and a smaller one for each of them, so that the namespaces
/// take turns. Clones share one limit.
#[derive(Clone, Debug)]
pub(crate) struct FairLimit {
    all: Arc<Semaphore>,
    namespaces: Arc<Lanes>,
}

/// What entered a [`FairLimit`] counts until this is dropped.
#[derive(Debug)]
pub(crate) struct FairPermit {
    _all: Option<OwnedSemaphorePermit>,
    _namespace: Option<OwnedSemaphorePermit>,
}

impl FairLimit {
    /// Begins with nothing under way. `of_namespace` is the number that may be under way in one
    /// namespace at once; no more than these of it wait for one of all.
    pub(crate) fn new(all: usize, of_namespace: usize) -> Self {
        let namespaces = Arc::new(Lanes::new(of_namespace));
        Self { all: Arc::new(Semaphore::new(all)), namespaces }
    }

    /// Waits for the namespace's turn.
    pub(crate) async fn enter(&self, namespace: &str) -> FairPermit {
        let namespace = self.namespaces.enter(namespace).await;
        // The semaphore is never closed.
        let all = self.all.clone().acquire_owned().await.ok();
        FairPermit { _all: all, _namespace: namespace }
    }

    /// Returns whether as much is under way as may be.
    pub(crate) fn is_full(&self) -> bool {
        self.all.available_permits() == 0
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_full_lane_is_full_for_its_own_namespace_only() {
        let lanes = Lanes::new(2);
        let enter = |namespace| lanes.enter(namespace).now_or_never().flatten();
        let (first, second) = (enter("a"), enter("a"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("a").is_none() && lanes.try_enter("a").is_none());
        assert!(enter("b").is_some() && lanes.try_enter("b").is_some());
        drop(first);
        assert!(enter("a").is_some());
    }

    #[test]
    fn namespaces_in_which_nothing_happens_leave_nothing_behind() {
        let lanes = Lanes::new(2);
        let kept = lanes.try_enter("kept");
        for number in 0..1000 {
            drop(lanes.try_enter(&format!("ns-{number}")));
        }
        assert!(lock(&lanes.lanes).len() <= 2);
        drop(kept);
    }
}
