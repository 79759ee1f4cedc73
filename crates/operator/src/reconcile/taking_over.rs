//! Takes over the autoscalers of another copy of the operator: each namespace is served as soon as
//! it is known that the API server has nothing newer of its autoscalers than this copy.
//!
//! What the former holder remembered is in the statuses, and the watch may be a moment behind its
//! last write. So the versions of all autoscalers are listed once more, without their specs and
//! statuses, page by page. The API server lists namespace by namespace, so that one is complete
//! when the listing has passed it. Nearly always the watch has told all versions, and nothing else
//! is read; otherwise the autoscalers of the page are listed whole.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Mutex,
    time::Duration,
};

use kube::{Client, core::DeserializeGuard};
use llm_autoscaler_api::LLMAutoscaler;
use tracing::warn;

use crate::{
    backoff::Backoff,
    kube_api::{
        self, CallError, DEADLINE,
        pages::{Pages, Part},
    },
    lock::lock,
    reconcile::{
        context::Context,
        listed_autoscaler::ListedAutoscaler,
        tasks::{Key, Tasks, key},
    },
};

/// The time between two looks at whether the tasks that were ended are gone.
const POLL: Duration = Duration::from_millis(5);
/// The waits before autoscalers are listed again that are to be taken over.
const WAITS: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// The LLMAutoscalers that this copy of the operator may have to serve, at the API server.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    /// The client, which does not try again by itself.
    pub client: &'a Client,
    /// The only namespace that the operator serves; all if absent.
    pub namespace: Option<&'a str>,
}

/// Serves buckets that another copy may have served before. It may be given up at any time, and
/// begun again: namespaces that are served by then go on.
pub(super) async fn take_over(
    context: &Context,
    tasks: &Mutex<Tasks>,
    stored: Stored<'_>,
    buckets: &[usize],
) {
    context.autoscalers.listed().await;
    while lock(tasks).are_ending() {
        tokio::time::sleep(POLL).await;
    }
    lock(tasks).begin_taking_over();
    let mut backoff = WAITS;
    while let Err(error) = serve_as_listed(context, tasks, stored, buckets).await {
        warn!(%error, "listing the LLMAutoscalers that are to be taken over; trying again");
        tokio::time::sleep(backoff.next_after(error.retry_after())).await;
    }
    let mut tasks = lock(tasks);
    tasks.serve(buckets);
    context.telemetry.set_autoscalers(tasks.count());
}

/// Lists the versions, and serves each namespace that is complete.
async fn serve_as_listed(
    context: &Context,
    tasks: &Mutex<Tasks>,
    stored: Stored<'_>,
    buckets: &[usize],
) -> Result<(), CallError> {
    let api = kube_api::scoped::<ListedAutoscaler>(stored.client, stored.namespace);
    let mut pages = Pages::of_part(api, Part::Metadata, DEADLINE);
    let mut passed = Passed::default();
    loop {
        let place = pages.place();
        let Some(page) = pages.next().await? else { return Ok(()) };
        let outdated = lock(tasks).outdated(&page.items, buckets);
        if !outdated.is_empty() {
            refresh(tasks, stored, place, outdated).await?;
        }
        let complete = passed.take(page.items.iter().map(ListedAutoscaler::namespace));
        let mut tasks = lock(tasks);
        tasks.serve_namespaces(complete, buckets);
        context.telemetry.set_autoscalers(tasks.count());
    }
}

/// Lists whole autoscalers from a place of the listing on until the outdated ones are there.
async fn refresh(
    tasks: &Mutex<Tasks>,
    stored: Stored<'_>,
    place: Option<String>,
    mut outdated: HashSet<Key>,
) -> Result<(), CallError> {
    let api = kube_api::scoped::<DeserializeGuard<LLMAutoscaler>>(stored.client, stored.namespace);
    let mut pages = Pages::new(api, DEADLINE).starting_at(place);
    while !outdated.is_empty()
        && let Some(page) = pages.next().await?
    {
        let mut tasks = lock(tasks);
        for object in page.items {
            outdated.remove(&key(&object));
            tasks.refresh(object);
        }
    }
    Ok(())
}

/// The namespace that a listing has come to, which may go on with the next page.
#[derive(Default)]
struct Passed(Option<String>);

impl Passed {
    /// Takes the namespaces of the objects of a page. Returns those that the listing has passed.
    fn take<'a>(&mut self, namespaces: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let mut passed = BTreeSet::new();
        for namespace in namespaces {
            if self.0.as_deref() != Some(namespace) {
                passed.extend(self.0.replace(namespace.to_owned()));
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests;
