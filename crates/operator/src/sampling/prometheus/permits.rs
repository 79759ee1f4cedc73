//! The limits of queries beyond one server's: those of a namespace over all of its servers, and
//! those for targets at zero, which share the server over all namespaces.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    lanes::Lanes,
    lock::lock,
    sampling::prometheus::{demand::ServerKey, scheduler::Lane},
};

/// The number of concurrent queries of one namespace in each lane, over all of its servers.
const OF_NAMESPACE: usize = 16;

/// The queries that may be in flight.
#[derive(Debug)]
pub(super) struct QueryPermits {
    ranges: Lanes,
    expressions: Lanes,
}

impl Default for QueryPermits {
    fn default() -> Self {
        Self { ranges: Lanes::new(OF_NAMESPACE), expressions: Lanes::new(OF_NAMESPACE) }
    }
}

impl QueryPermits {
    /// Waits until a query of this namespace may begin. It counts until the permit is dropped.
    pub(super) async fn enter(&self, namespace: &str, lane: Lane) -> Option<OwnedSemaphorePermit> {
        let lanes = match lane {
            Lane::Ranges => &self.ranges,
            Lane::Expressions => &self.expressions,
        };
        lanes.enter(namespace).await
    }
}

/// The tasks that query a server for targets at zero, by the server's URL and the namespace.
/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct ZeroQueries(Arc<Mutex<HashMap<String, HashMap<String, usize>>>>);

/// A task that queries a server for targets at zero, until this is dropped.
pub(super) struct ZeroShare {
    all: ZeroQueries,
    url: String,
    namespace: String,
}

impl ZeroQueries {
    /// Counts a task.
    pub(super) fn enter(&self, ServerKey { url, namespace, .. }: &ServerKey) -> ZeroShare {
        let mut servers = lock(&self.0);
        let namespaces = servers.entry(url.clone()).or_default();
        *namespaces.entry(namespace.clone()).or_default() += 1;
        ZeroShare { all: self.clone(), url: url.clone(), namespace: namespace.clone() }
    }
}

impl ZeroShare {
    /// Returns the number of queries that share the server's limit, if each task of the namespace
    /// has this many, and each namespace as many as this one. So the namespaces have equal shares,
    /// however many queries each has.
    pub(super) fn crowd(&self, queries: usize) -> usize {
        let servers = lock(&self.all.0);
        let Some(namespaces) = servers.get(&self.url) else { return queries };
        let own = namespaces.get(&self.namespace).copied().unwrap_or(1);
        queries * own * namespaces.len()
    }
}

impl Drop for ZeroShare {
    fn drop(&mut self) {
        let mut servers = lock(&self.all.0);
        let Some(namespaces) = servers.get_mut(&self.url) else { return };
        if let Some(count) = namespaces.get_mut(&self.namespace) {
            *count -= 1;
            if *count == 0 {
                namespaces.remove(&self.namespace);
            }
        }
        if namespaces.is_empty() {
            servers.remove(&self.url);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::sampling::prometheus::demand::QueryPace;

    #[test]
    fn expressions_take_no_permits_of_ranges_and_none_of_other_namespaces() {
        let permits = QueryPermits::default();
        let enter = |namespace, lane| permits.enter(namespace, lane).now_or_never().flatten();
        let held: Vec<_> = (0..OF_NAMESPACE).map(|_| enter("a", Lane::Expressions)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(enter("a", Lane::Expressions).is_none());
        assert!(enter("a", Lane::Ranges).is_some());
        assert!(enter("b", Lane::Expressions).is_some());
    }

    #[test]
    fn namespaces_at_zero_share_a_server_equally() {
        let key = |url: &str, namespace: &str| ServerKey {
            namespace: namespace.to_owned(),
            pace: QueryPace::AtZero,
            ..ServerKey::of_tests(url)
        };
        let all = ZeroQueries::default();
        let first = all.enter(&key("http://one", "a"));
        assert_eq!(first.crowd(10), 10);
        let other = all.enter(&key("http://other", "b"));
        assert_eq!(first.crowd(10), 10, "another server");
        let second = all.enter(&key("http://one", "a"));
        assert_eq!(first.crowd(10), 20, "another task of the namespace");
        let neighbour = all.enter(&key("http://one", "b"));
        assert_eq!((first.crowd(10), neighbour.crowd(1)), (40, 2));
        drop((second, neighbour));
        assert_eq!(first.crowd(10), 10);
        drop((first, other));
        assert!(lock(&all.0).is_empty());
    }
}
