//! Which autoscalers there are, and which of them this copy of the operator serves: one task for
//! each, started, told of changes and ended.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use kube::{Client, core::DeserializeGuard, runtime::watcher::Event};
use llm_autoscaler_api::LLMAutoscaler;
use tracing::info;

use crate::{
    cluster::watch::Watch,
    lock::lock,
    reconcile::{
        context::Context,
        standing_by,
        taking_over::{Stored, take_over},
        tasks::{Tasks, key},
    },
};

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
        follow_leases(&context, &tasks, Stored { client, namespace }),
        standing_by::prepare(&context, &tasks),
    );
}

/// Serves the namespaces of the Leases that this copy holds, for the life of the process.
async fn follow_leases(context: &Context, tasks: &Mutex<Tasks>, stored: Stored<'_>) {
    let mut changes = context.leases.changes();
    loop {
        let held = changes.borrow_and_update().clone();
        let gained = lock(tasks).leave_lost(&held);
        context.telemetry.set_autoscalers(lock(tasks).count());
        if !gained.is_empty() {
            let taken = take_over(context, tasks, stored, &gained);
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
