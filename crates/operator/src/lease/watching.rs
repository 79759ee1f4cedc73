//! The watch of one Lease. It only wakes the election, which then reads the Lease by itself: so a
//! watch that tells of the past, or nothing, costs time and never safety. Without a watch the
//! election looks at the Lease twice a second.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::WatchParams, core::WatchEvent};
use tokio::sync::Notify;
use tracing::debug;

use crate::{
    backoff::Backoff,
    clock::Clock,
    kube_api::{CallError, DEADLINE, within},
    lock::lock,
};

/// The time in seconds after which the API server is asked to end a watch, and to be asked again.
const WATCH_SECONDS: u32 = 20;
/// The longest time without a word.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 5);
/// The waits between two watches.
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// The watch of one Lease.
#[derive(Debug, Default)]
pub(super) struct Watching {
    /// Something may have changed.
    nudge: Notify,
    /// The watch has told something since it began, and was not found to be behind.
    works: AtomicBool,
    /// The version of the Lease that it has told last; `None` if the election is to look anyway.
    version: Mutex<Option<String>>,
}

impl Watching {
    /// Waits for a change to another version than the one that is known. What this copy has
    /// written itself is none.
    pub(super) async fn changed(&self, known: Option<&str>) {
        loop {
            self.nudge.notified().await;
            if known.is_none() || lock(&self.version).as_deref() != known {
                return;
            }
        }
    }

    /// Wakes the election.
    pub(super) fn wake(&self) {
        self.wake_for(None);
    }

    fn wake_for(&self, version: Option<String>) {
        *lock(&self.version) = version;
        self.nudge.notify_one();
    }

    /// Returns true if the watch tells of changes.
    pub(super) fn works(&self) -> bool {
        self.works.load(Relaxed)
    }

    /// Records that a look has found a change that the watch has not told of.
    pub(super) fn record_behind(&self) {
        self.works.store(false, Relaxed);
    }

    /// Follows the changes of a Lease, for the life of the process.
    pub(super) async fn follow(&self, api: &Api<Lease>, name: &str, clock: Clock) {
        let mut backoff = WAITS;
        loop {
            let began = clock.monotonic();
            let result = self.watch(api, name).await;
            let has_worked = self.works.swap(false, Relaxed);
            if let Err(error) = result {
                debug!(lease = name, %error, "the watch of the Lease failed; it is polled");
            }
            if has_worked && clock.monotonic().since(began) >= Duration::from_secs(1) {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    async fn watch(&self, api: &Api<Lease>, name: &str) -> Result<(), CallError> {
        // A permission for single names requires that the selector names one.
        let field_selector = Some(format!("metadata.name={name}"));
        let params =
            WatchParams { field_selector, timeout: Some(WATCH_SECONDS), ..WatchParams::default() };
        let changes = within(DEADLINE, api.watch(&params, "0")).await?;
        let mut changes = std::pin::pin!(changes);
        loop {
            let next = tokio::time::timeout(SILENCE, changes.next()).await;
            let Some(change) = next.map_err(|_| CallError::Timeout(SILENCE))? else {
                return Ok(());
            };
            match change? {
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => {
                    return Err(CallError::Api(kube::Error::Api(status)));
                }
                WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
                    self.works.store(true, Relaxed);
                    self.wake_for(lease.metadata.resource_version);
                }
                WatchEvent::Deleted(_) => {
                    self.works.store(true, Relaxed);
                    self.wake();
                }
            }
        }
    }
}
