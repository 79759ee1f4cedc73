//! Which autoscalers there are: one task for each, started, told of changes and ended.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::{Stream, StreamExt};
use kube::{ResourceExt, core::DeserializeGuard, runtime::watcher};
use llm_autoscaler_api::LLMAutoscaler;
use tokio::{sync::watch, task::AbortHandle};
use tracing::{info, warn};

use crate::{
    http::server::Readiness,
    reconcile::{context::Context, task},
};

type Key = (String, String);
type Event = watcher::Event<DeserializeGuard<LLMAutoscaler>>;

/// The tasks, by namespace and name.
struct Tasks {
    context: Arc<Context>,
    running: HashMap<Key, Task>,
}

struct Task {
    uid: Option<String>,
    objects: watch::Sender<Arc<LLMAutoscaler>>,
    handle: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Follows the watch, for ever.
pub(crate) async fn watch(
    context: Arc<Context>,
    readiness: Readiness,
    events: impl Stream<Item = watcher::Result<Event>>,
) {
    let mut events = std::pin::pin!(events);
    let mut tasks = Tasks { context, running: HashMap::new() };
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(key(&object));
                tasks.apply(object);
            }
            Ok(watcher::Event::InitDone) => {
                tasks.running.retain(|key, _| listed.contains(key));
                tasks.context.claims.complete_listing();
                readiness.record_autoscaler_listing();
            }
            Ok(watcher::Event::Apply(object)) => tasks.apply(object),
            Ok(watcher::Event::Delete(object)) => {
                let key = key(&object);
                info!(
                    namespace = key.0,
                    name = key.1,
                    "the autoscaler is gone; its target stays as it is"
                );
                tasks.running.remove(&key);
            }
            Err(error) => warn!(%error, "watching LLMAutoscalers failed; trying again"),
        }
        tasks.context.telemetry.set_autoscalers(tasks.running.len());
    }
}

fn key(object: &DeserializeGuard<LLMAutoscaler>) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl Tasks {
    fn apply(&mut self, object: DeserializeGuard<LLMAutoscaler>) {
        let key = key(&object);
        let object = match object.0 {
            Ok(object) => Arc::new(object),
            // Written before the schema knew better, or by a newer version. Its task goes on with
            // what it had.
            Err(error) => {
                if self.running.get(&key).is_some_and(|task| task.uid != error.metadata.uid) {
                    self.running.remove(&key);
                }
                warn!(namespace = key.0, name = key.1, %error, "cannot read the LLMAutoscaler; left alone until it is changed");
                return;
            }
        };
        // While it is being deleted, its target stays as it is.
        if object.metadata.deletion_timestamp.is_some() {
            self.running.remove(&key);
            return;
        }
        match self.running.get(&key) {
            Some(task) if task.uid == object.metadata.uid => {
                task.objects.send_replace(object);
            }
            _ => {
                let task = self.start(object);
                self.running.insert(key, task);
            }
        }
    }

    fn start(&self, object: Arc<LLMAutoscaler>) -> Task {
        let uid = object.metadata.uid.clone();
        let (objects, receiver) = watch::channel(object);
        let handle = tokio::spawn(task::run(self.context.clone(), receiver)).abort_handle();
        Task { uid, objects, handle }
    }
}
