//! Which autoscalers there are, and which of them this copy of the operator serves: one task for
//! each, started, told of changes and ended.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::{Client, core::DeserializeGuard, runtime::watcher::Event};
use llm_autoscaler_api::LLMAutoscaler;
use tracing::{info, warn};

use crate::{
    backoff::Backoff,
    cluster::watch::Watch,
    kube_api::{self, CallError, DEADLINE, pages::Pages},
    lock::lock,
    reconcile::{
        context::Context,
        tasks::{Tasks, key},
    },
};

/// The time between two looks at whether the tasks that were ended are gone.
const POLL: Duration = Duration::from_millis(5);
/// The waits before autoscalers are listed again that are to be taken over.
const WAITS: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// Follows the watch and the Leases, for the life of the process. `client` and `namespace` are
/// those of the watch.
pub(crate) async fn watch(
    context: Arc<Context>,
    autoscalers: Watch<DeserializeGuard<LLMAutoscaler>>,
    (client, namespace): (&Client, Option<&str>),
) {
    let tasks = Mutex::new(Tasks::new(context.clone()));
    let mut listed = HashSet::new();
    let take = |event| {
        // To count the tasks at each object of a listing would take the number of them squared.
        let is_listing = matches!(event, Event::InitApply(_));
        let mut tasks = lock(&tasks);
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(key(&object));
                tasks.apply(object);
            }
            Event::InitDone => {
                tasks.retain(&listed);
                context.claims.complete_listing();
            }
            Event::Apply(object) => tasks.apply(object),
            Event::Delete(object) => {
                let key = key(&object);
                info!(
                    namespace = key.0,
                    name = key.1,
                    "the autoscaler is gone; its target stays as it is"
                );
                tasks.remove(&key);
            }
        }
        if !is_listing {
            context.telemetry.set_autoscalers(tasks.count());
        }
    };
    tokio::join!(
        autoscalers.follow(take),
        follow_leases(&context, &tasks, || kube_api::scoped(client, namespace)),
    );
}

/// Serves the namespaces of the Leases that this copy holds, for the life of the process.
async fn follow_leases(
    context: &Context,
    tasks: &Mutex<Tasks>,
    api: impl Fn() -> kube::Api<DeserializeGuard<LLMAutoscaler>>,
) {
    let mut changes = context.leases.changes();
    loop {
        let held = changes.borrow_and_update().clone();
        let gained = lock(tasks).leave_lost(&held);
        context.telemetry.set_autoscalers(lock(tasks).count());
        if !gained.is_empty() {
            let taken = take_over(context, tasks, &api, &gained);
            tokio::select! {
                biased;
                Ok(()) = changes.changed() => continue,
                () = taken => {}
            }
        }
        if changes.changed().await.is_err() {
            // They stay as they are.
            return std::future::pending().await;
        }
    }
}

/// Serves buckets that another copy may have served before. What it remembered is in the statuses,
/// and the watch may be a moment behind its last write: so they are listed once more.
async fn take_over(
    context: &Context,
    tasks: &Mutex<Tasks>,
    api: impl Fn() -> kube::Api<DeserializeGuard<LLMAutoscaler>>,
    buckets: &[usize],
) {
    context.autoscalers.listed().await;
    let mut backoff = WAITS;
    let latest = loop {
        match list(api()).await {
            Ok(latest) => break latest,
            Err(error) => {
                warn!(%error, "listing the LLMAutoscalers that are to be taken over; trying again");
                tokio::time::sleep(backoff.next_after(error.retry_after())).await;
            }
        }
    };
    while lock(tasks).are_ending() {
        tokio::time::sleep(POLL).await;
    }
    let mut tasks = lock(tasks);
    for object in latest {
        tasks.refresh(object);
    }
    tasks.serve(buckets);
    context.telemetry.set_autoscalers(tasks.count());
}

async fn list(
    api: kube::Api<DeserializeGuard<LLMAutoscaler>>,
) -> Result<Vec<DeserializeGuard<LLMAutoscaler>>, CallError> {
    let (mut pages, mut all) = (Pages::new(api, DEADLINE), Vec::new());
    while let Some(page) = pages.next().await? {
        all.extend(page.items);
    }
    Ok(all)
}
