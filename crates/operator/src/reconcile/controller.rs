//! Which autoscalers there are: one task for each, started, told of changes and ended.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use kube::{ResourceExt, core::DeserializeGuard, runtime::watcher::Event};
use llm_autoscaler_api::LLMAutoscaler;
use tokio::{sync::watch, task::AbortHandle};
use tracing::{info, warn};

use crate::{
    cluster::watch::Watch,
    reconcile::{context::Context, task},
};

type Key = (String, String);

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

/// Follows the watch, for the life of the process.
pub(crate) async fn watch(
    context: Arc<Context>,
    autoscalers: Watch<DeserializeGuard<LLMAutoscaler>>,
) {
    let mut tasks = Tasks { context, running: HashMap::new() };
    let mut listed = HashSet::new();
    let take = |event| {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(key(&object));
                tasks.apply(object);
            }
            Event::InitDone => {
                tasks.running.retain(|key, _| listed.contains(key));
                tasks.context.claims.complete_listing();
            }
            Event::Apply(object) => tasks.apply(object),
            Event::Delete(object) => {
                let key = key(&object);
                info!(
                    namespace = key.0,
                    name = key.1,
                    "the autoscaler is gone; its target stays as it is"
                );
                tasks.running.remove(&key);
            }
        }
        tasks.context.telemetry.set_autoscalers(tasks.running.len());
    };
    autoscalers.follow(take).await;
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
        let task = task::run(self.context.clone(), receiver);
        let handle = self.context.supervisor.spawn(task::NAME, task);
        Task { uid, objects, handle }
    }
}
