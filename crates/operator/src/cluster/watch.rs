//! A watch of one kind: it is listed, and then followed, for the life of the process.
//!
//! Every request has a deadline, and every watch a time at which the API server is to end it, so
//! that a connection that is dead without a word is noticed. Failures are tried again with
//! back-off, which only a watch that works ends: an API server in trouble is not asked for all of
//! its pods every second.

use std::{fmt::Debug, time::Duration};

use futures::{Stream, StreamExt};
use kube::{
    Api, Resource, ResourceExt,
    api::WatchParams,
    core::{Request, WatchEvent},
    runtime::watcher::Event,
};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::{
    backoff::Backoff,
    clock::Clock,
    cluster::watch_health::WatchHealth,
    kube_api::{
        CallError,
        pages::{Pages, Part},
        within,
    },
    supervise::Supervisor,
};

/// The task's name in the operator's metrics.
pub(crate) const NAME: &str = "watch";
/// The time in seconds after which the API server is asked to end a watch, and to be asked again.
const WATCH_SECONDS: u32 = 20;
const LIMITS: Limits = Limits {
    page: Duration::from_mins(1),
    begin: Duration::from_secs(15),
    silence: Duration::from_secs(WATCH_SECONDS as u64 + 5),
    shortest: Duration::from_secs(1),
};
/// The waits before a listing or a watch is tried again.
const WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// The limits of a watch.
#[derive(Clone, Copy)]
struct Limits {
    /// For one page of a listing; an API server itself gives up after a minute.
    page: Duration,
    /// For the beginning of a watch.
    begin: Duration,
    /// The longest time without a word of a watch.
    silence: Duration,
    /// A watch that ends sooner than this without a word has failed.
    shortest: Duration,
}

/// A watch of one kind.
pub(crate) struct Watch<K> {
    api: Api<K>,
    part: Part,
    health: WatchHealth,
    clock: Clock,
    supervisor: Supervisor,
    limits: Limits,
    /// The version to follow from; `None` if the objects have to be listed.
    version: Option<String>,
    backoff: Backoff,
}

/// A listing or a watch that failed.
struct Failed {
    error: String,
    /// The version to follow from is too old.
    is_expired: bool,
    /// The time that the API server asks to wait for.
    retry_after: Option<Duration>,
}

impl Failed {
    fn new(error: impl Into<String>) -> Self {
        Self { error: error.into(), is_expired: false, retry_after: None }
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        let is_expired = error.status() == Some(410);
        Self { error: error.to_string(), is_expired, retry_after: error.retry_after() }
    }
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// Begins with a listing. `health` is told how the watch fares.
    pub(crate) fn new(
        api: Api<K>,
        health: WatchHealth,
        clock: Clock,
        supervisor: Supervisor,
    ) -> Self {
        let (part, limits, version, backoff) = (Part::Whole, LIMITS, None, WAITS);
        Self { api, part, health, clock, supervisor, limits, version, backoff }
    }

    /// Asks for the objects' metadata alone.
    pub(crate) fn of_metadata(self) -> Self {
        Self { part: Part::Metadata, ..self }
    }

    /// Lists the objects and follows their changes, and passes all of them to `take`. Where it
    /// panics at an object, that one is left out: the objects of others are not to suffer by it.
    pub(crate) async fn follow(mut self, mut take: impl FnMut(Event<K>)) {
        let supervisor = self.supervisor.clone();
        let mut take = |event| {
            let _ = supervisor.call(NAME, || take(event));
        };
        loop {
            let result = match self.version.clone() {
                None => self.list(&mut take).await,
                Some(version) => self.watch(&version, &mut take).await,
            };
            let Err(Failed { error, is_expired, retry_after }) = result else { continue };
            warn!(url = self.api.resource_url(), error, "a watch failed; trying again");
            self.health.record_failure(error);
            if is_expired {
                self.version = None;
            }
            tokio::time::sleep(self.backoff.next_after(retry_after)).await;
        }
    }

    /// Lists all objects, page by page.
    async fn list(&mut self, take: &mut impl FnMut(Event<K>)) -> Result<(), Failed> {
        take(Event::Init);
        let mut pages = Pages::of_part(self.api.clone(), self.part, self.limits.page);
        let mut version = None;
        self.health.record_request();
        while let Some(page) = pages.next().await? {
            self.health.record_answer();
            page.items.into_iter().for_each(|object| take(Event::InitApply(object)));
            version = page.metadata.resource_version.filter(|version| !version.is_empty());
            self.health.record_request();
        }
        if version.is_none() {
            return Err(Failed::new("the listing has no resourceVersion"));
        }
        self.version = version;
        take(Event::InitDone);
        self.health.record_listing();
        Ok(())
    }

    /// Follows the changes since a version until the API server ends the watch.
    async fn watch(
        &mut self,
        version: &str,
        take: &mut impl FnMut(Event<K>),
    ) -> Result<(), Failed> {
        let params = WatchParams { timeout: Some(WATCH_SECONDS), ..WatchParams::default() };
        self.health.record_request();
        let began = self.clock.monotonic();
        let changes = within(self.limits.begin, self.request(&params, version)).await?;
        self.health.record_answer();
        let mut changes = std::pin::pin!(changes);
        let mut failed = None;
        loop {
            let next = tokio::time::timeout(self.limits.silence, changes.next()).await;
            match next.map_err(|_| Failed::new("the API server has fallen silent"))? {
                Some(Ok(change)) => self.record_change(change, take)?,
                // Of an object that cannot be read only this is known, and the next ones can be.
                Some(Err(error)) => failed = Some(Failed::from(CallError::Api(error))),
                None => break,
            }
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        if self.clock.monotonic().since(began) < self.limits.shortest {
            return Err(Failed::new("the API server ends the watch at once"));
        }
        self.record_word();
        Ok(())
    }

    async fn request(
        &self,
        params: &WatchParams,
        version: &str,
    ) -> kube::Result<impl Stream<Item = kube::Result<WatchEvent<K>>> + use<K>> {
        let request = Request::new(self.api.resource_url());
        let request = match self.part {
            Part::Whole => request.watch(params, version),
            Part::Metadata => request.watch_metadata(params, version),
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        self.api.clone().into_client().request_events(request).await
    }

    fn record_change(
        &mut self,
        change: WatchEvent<K>,
        take: &mut impl FnMut(Event<K>),
    ) -> Result<(), Failed> {
        let version = match &change {
            WatchEvent::Added(object)
            | WatchEvent::Modified(object)
            | WatchEvent::Deleted(object) => object.resource_version(),
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version.clone()),
            WatchEvent::Error(_) => None,
        };
        match change {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => take(Event::Apply(object)),
            WatchEvent::Deleted(object) => take(Event::Delete(object)),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => {
                return Err(CallError::Api(kube::Error::Api(status)).into());
            }
        }
        self.version = version.filter(|version| !version.is_empty()).or(self.version.take());
        self.record_word();
        Ok(())
    }

    fn record_word(&mut self) {
        self.health.record_word();
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests;
