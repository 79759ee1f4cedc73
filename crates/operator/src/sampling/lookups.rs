//! Look-ups of names of servers.
//!
//! The system's resolver blocks a thread until it has an answer, or gives up after many seconds;
//! nothing ends it sooner. So each namespace has a few threads for it, names that never resolve
//! delay their own namespace only, and a look-up counts until its thread is free again. Callers of
//! a namespace that want the same name at the same time share one.

use std::{
    collections::HashMap,
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use crate::{lanes::Lanes, lock::lock};

/// The number of look-ups of one namespace at the same time.
const OF_NAMESPACE: usize = 8;
/// The number of all look-ups at the same time: half of the threads that the runtime has for work
/// that blocks.
const ALL: usize = 256;

/// Finds the addresses of a host.
type Resolver = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;
/// The result of a look-up, or the text of its error.
type Found = Result<Arc<[SocketAddr]>, Arc<str>>;

tokio::task_local! {
    /// The namespace that the task's look-ups count for.
    static NAMESPACE: String;
}

/// The look-ups that are under way.
pub(super) struct Lookups {
    resolver: Arc<Resolver>,
    namespaces: Lanes,
    all: Arc<Semaphore>,
    /// The look-ups by namespace and host.
    running: Mutex<HashMap<(String, String), Running>>,
}

#[derive(Clone)]
struct Running {
    has_ended: Arc<AtomicBool>,
    found: Shared<BoxFuture<'static, Found>>,
}

/// The permits of a namespace, and of all.
type Permits = (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>);

/// The thread of a look-up is busy until this is dropped.
struct BusyThread {
    has_ended: Arc<AtomicBool>,
    _permits: Permits,
}

impl Drop for BusyThread {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Release);
    }
}

/// Makes the look-ups of a future count for a namespace.
pub(super) async fn count_for<F: Future>(namespace: &str, work: F) -> F::Output {
    NAMESPACE.scope(namespace.to_owned(), work).await
}

/// Returns the namespace that look-ups of this task count for; empty if none was set.
pub(super) fn namespace() -> String {
    NAMESPACE.try_with(String::clone).unwrap_or_default()
}

impl fmt::Debug for Lookups {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lookups").finish_non_exhaustive()
    }
}

impl Default for Lookups {
    fn default() -> Self {
        Self::new(Arc::new(|host| Ok((host, 0).to_socket_addrs()?.collect())))
    }
}

impl Lookups {
    fn new(resolver: Arc<Resolver>) -> Self {
        let (namespaces, all) = (Lanes::new(OF_NAMESPACE), Arc::new(Semaphore::new(ALL)));
        Self { resolver, namespaces, all, running: Mutex::default() }
    }

    /// Returns the addresses of a host, for a namespace. It may take as long as the system's
    /// resolver; a look-up without a caller goes on, and the next caller joins it.
    ///
    /// # Errors
    /// The system's resolver knows no address.
    pub(super) async fn resolve(&self, namespace: &str, host: &str) -> io::Result<Vec<SocketAddr>> {
        let key = (namespace.to_owned(), host.to_owned());
        let running = if let Some(running) = self.running(&key) {
            running
        } else {
            // The semaphores are never closed.
            let permit = self.namespaces.enter(namespace).await;
            let permits = (permit, self.all.clone().acquire_owned().await.ok());
            self.start(key, permits)
        };
        let found = running.found.await;
        found.map(|found| found.to_vec()).map_err(|text| io::Error::other(&*text))
    }

    /// Returns the latest look-ups by namespace and host.
    #[cfg(test)]
    pub(super) fn latest(&self) -> Vec<(String, String)> {
        lock(&self.running).keys().cloned().collect()
    }

    /// Returns the look-up that is under way.
    fn running(&self, key: &(String, String)) -> Option<Running> {
        let mut running = lock(&self.running);
        running.retain(|_, lookup| !lookup.has_ended.load(Ordering::Acquire));
        running.get(key).cloned()
    }

    /// Starts a look-up, unless another caller has while this one waited for its permits.
    fn start(&self, key: (String, String), permits: Permits) -> Running {
        let mut all = lock(&self.running);
        let known = all.get(&key).filter(|lookup| !lookup.has_ended.load(Ordering::Acquire));
        if let Some(known) = known {
            return known.clone();
        }
        let (resolver, host) = (self.resolver.clone(), key.1.clone());
        let has_ended = Arc::new(AtomicBool::new(false));
        let busy = BusyThread { has_ended: has_ended.clone(), _permits: permits };
        let thread = spawn_blocking(move || {
            let _held = busy;
            resolver(&host)
        });
        let found = thread.map(|joined| match joined {
            Ok(Ok(found)) => Ok(found.into()),
            Ok(Err(error)) => Err(error.to_string().into()),
            Err(error) => Err(error.to_string().into()),
        });
        let running = Running { has_ended, found: found.boxed().shared() };
        all.insert(key, running.clone());
        running
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    /// Returns look-ups in which hosts that begin with `dead` have no answer before the sender is
    /// dropped, and the hosts that were looked up.
    fn lookups() -> (Lookups, mpsc::Sender<()>, Arc<Mutex<Vec<String>>>) {
        let (sender, receiver) = mpsc::channel::<()>();
        let (receiver, asked) = (Mutex::new(receiver), Arc::new(Mutex::new(Vec::new())));
        let hosts = asked.clone();
        let resolver = move |host: &str| {
            lock(&hosts).push(host.to_owned());
            if host.starts_with("dead") {
                let _ = lock(&receiver).recv();
                return Err(io::Error::other("no such host"));
            }
            Ok(vec![SocketAddr::from(([192, 0, 2, 1], 0))])
        };
        (Lookups::new(Arc::new(resolver)), sender, asked)
    }

    #[tokio::test]
    async fn names_that_never_resolve_delay_their_own_namespace_only() {
        let (lookups, sender, asked) = lookups();
        for number in 0..OF_NAMESPACE {
            let host = format!("dead-{number}");
            assert!(timeout(MOMENT, lookups.resolve("a", &host)).await.is_err());
        }
        // The callers have given up; the threads are still busy.
        assert!(timeout(MOMENT, lookups.resolve("a", "alive")).await.is_err());
        let found = timeout(LONG, lookups.resolve("b", "alive")).await.unwrap();
        assert_eq!(found.unwrap().len(), 1);
        assert_eq!(lock(&asked).len(), OF_NAMESPACE + 1);
        drop(sender);
        let found = timeout(LONG, lookups.resolve("a", "alive")).await.unwrap();
        assert_eq!(found.unwrap().len(), 1, "the threads are free again");
    }

    #[tokio::test]
    async fn callers_of_a_namespace_share_the_look_up_of_a_name() {
        let (lookups, sender, asked) = lookups();
        for _ in 0..3 * OF_NAMESPACE {
            let wait = timeout(Duration::from_millis(1), lookups.resolve("a", "dead"));
            assert!(wait.await.is_err());
        }
        assert_eq!(*lock(&asked), ["dead"], "one thread");
        assert!(timeout(LONG, lookups.resolve("a", "alive")).await.unwrap().is_ok());
        drop(sender);
        let error = timeout(LONG, lookups.resolve("a", "dead")).await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "no such host");
        // An answer is not kept: the next caller has a new one.
        let before = lock(&asked).len();
        for _ in 0..3 {
            assert!(timeout(LONG, lookups.resolve("a", "alive")).await.unwrap().is_ok());
        }
        assert_eq!(lock(&asked).len(), before + 3);
    }

    #[tokio::test]
    async fn a_look_up_counts_for_the_namespace_of_its_task() {
        assert_eq!(namespace(), "");
        assert_eq!(count_for("a", async { namespace() }).await, "a");
    }
}
