//! The watch on the autoscalers, into the store.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams},
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use llm_autoscaler_api::LLMAutoscaler;

use super::store::Store;
use crate::cluster::not_listed;

/// The wait after a watch has failed for good, which it does not while it backs off.
const AGAIN: Duration = Duration::from_secs(5);

/// The namespaces that are shown.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    /// Objects are read without their type, so that one that this version cannot parse is shown as
    /// such and hides no other.
    fn api(&self, client: Client) -> Api<DynamicObject> {
        let kind = ApiResource::erase::<LLMAutoscaler>(&());
        match self {
            Self::All => Api::all_with(client, &kind),
            Self::Namespace(name) => Api::namespaced_with(client, name, &kind),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

/// Tries to list one object, so that a missing permission is told before a page is opened.
///
/// # Errors
/// The API server cannot be reached, refuses, or does not have the kind.
pub(super) async fn try_list(client: &Client, scope: &Scope) -> anyhow::Result<()> {
    let listed = scope.api(client.clone()).list(&ListParams::default().limit(1)).await;
    listed.map(|_| ()).map_err(|error| not_listed(error, &scope.to_string()))
}

/// Keeps the store as the API server has the objects, for the life of the process.
pub(super) async fn watch(client: Client, scope: Scope, store: Arc<Store>) {
    let api = scope.api(client);
    loop {
        let mut events = pin!(watcher(api.clone(), watcher::Config::default()).default_backoff());
        loop {
            match events.try_next().await {
                Ok(Some(event)) => take(&store, event),
                Ok(None) => break,
                Err(error) => store.fail(format!("the watch of {scope} failed: {error}"), now()),
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn take(store: &Store, event: Event<DynamicObject>) {
    match event {
        Event::Init => store.begin(),
        Event::InitApply(object) | Event::Apply(object) => store.apply(object, now()),
        Event::InitDone => store.end(),
        Event::Delete(object) => store.delete(&object),
    }
}

/// Returns the present time.
pub(super) fn now() -> DateTime<Utc> {
    #[expect(clippy::disallowed_methods, reason = "what is next is told from now on")]
    Utc::now()
}
