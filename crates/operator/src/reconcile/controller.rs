//! Which autoscalers there are: one task for each, started, told of changes and ended.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kube::{ResourceExt, core::DeserializeGuard, runtime::watcher::Event};
use llm_autoscaler_api::{LLMAutoscaler, conditions::ConditionUpdate, time};
use tokio::{sync::watch, task::AbortHandle};
use tracing::{info, warn};

use crate::{
    backoff::Backoff,
    cluster::watch::Watch,
    reconcile::{
        context::Context,
        intake,
        quota::{Changes, Quota, Seniority},
        task,
    },
    status::{assemble, refusal, writer::write_once},
};

/// The waits before the status of an autoscaler that waits is written again: no step of its own
/// would.
const STATUS_WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));

type Key = (String, String);

/// The tasks, by namespace and name.
struct Tasks {
    context: Arc<Context>,
    running: HashMap<Key, Task>,
    /// The autoscalers that are too many in their namespaces.
    waiting: HashMap<Key, Waiting>,
    /// The autoscalers that are too large, or too many to wait.
    refused: HashMap<Key, Refused>,
    quota: Quota,
}

struct Task {
    objects: watch::Sender<Arc<LLMAutoscaler>>,
    handle: AbortHandle,
}

/// An autoscaler that waits for its turn, and the task that says so in its status.
struct Waiting {
    object: Arc<LLMAutoscaler>,
    handle: AbortHandle,
}

/// An autoscaler of which nothing is kept, and the task that says so in its status.
struct Refused {
    uid: Option<String>,
    generation: Option<i64>,
    handle: AbortHandle,
}

impl Drop for Refused {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Follows the watch, for the life of the process.
pub(crate) async fn watch(
    context: Arc<Context>,
    autoscalers: Watch<DeserializeGuard<LLMAutoscaler>>,
) {
    let mut tasks = Tasks::new(context);
    let mut listed = HashSet::new();
    let take = |event| {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(key(&object));
                tasks.apply(object);
            }
            Event::InitDone => {
                tasks.retain(&listed);
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
                tasks.remove(&key);
            }
        }
        tasks.context.telemetry.set_autoscalers(tasks.running.len());
    };
    autoscalers.follow(take).await;
}

fn key(object: &DeserializeGuard<LLMAutoscaler>) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn seniority(object: &LLMAutoscaler) -> Seniority {
    let created = object.metadata.creation_timestamp.as_ref();
    Seniority {
        created: created.map(time::from_kubernetes),
        uid: object.uid().unwrap_or_default(),
        name: object.name_any(),
    }
}

impl Tasks {
    fn new(context: Arc<Context>) -> Self {
        let quota = Quota::new(context.most_autoscalers);
        let (running, waiting, refused) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { context, running, waiting, refused, quota }
    }

    fn apply(&mut self, object: DeserializeGuard<LLMAutoscaler>) {
        let key = key(&object);
        let object = match object.0 {
            Ok(mut object) => {
                intake::trim(&mut object);
                object
            }
            // Written before the schema knew better, or by a newer version. Its task goes on with
            // what it had.
            Err(error) => {
                if self.object(&key).is_some_and(|object| object.uid() != error.metadata.uid) {
                    self.remove(&key);
                }
                warn!(namespace = key.0, name = key.1, %error, "cannot read the LLMAutoscaler; left alone until it is changed");
                return;
            }
        };
        let known = self.object(&key);
        // While it is being deleted, its target stays as it is. One that was created anew is
        // another one.
        let is_deleted = object.metadata.deletion_timestamp.is_some();
        if is_deleted || known.is_some_and(|known| known.uid() != object.uid()) {
            self.remove(&key);
        }
        if is_deleted {
            return;
        }
        if !intake::fits(&object) {
            return self.refuse(key, object, refusal::too_large_spec(intake::LARGEST));
        }
        self.refused.remove(&key);
        let object = Arc::new(object);
        if let Some(task) = self.running.get(&key) {
            task.objects.send_replace(object);
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&key) {
            let is_changed = waiting.object.metadata.generation != object.metadata.generation;
            waiting.object = object.clone();
            if is_changed {
                self.suspend(key, object);
            }
            return;
        }
        let Changes { suspended, .. } = self.quota.add(&key.0, seniority(&object));
        match suspended {
            Some(name) if name == key.1 && self.quota.waiting(&key.0) > self.quota.most() => {
                self.quota.remove(&key.0, &seniority(&object));
                let update = refusal::too_many_autoscalers(self.quota.most());
                return self.refuse(key, Arc::unwrap_or_clone(object), update);
            }
            Some(name) if name == key.1 => return self.suspend(key, object),
            Some(name) => {
                let youngest = (key.0.clone(), name);
                if let Some(task) = self.running.remove(&youngest) {
                    let object = task.objects.borrow().clone();
                    self.suspend(youngest, object);
                }
            }
            None => {}
        }
        self.start(key, object);
    }

    /// Ends the task of an autoscaler, and starts the one that may take its place.
    fn remove(&mut self, key: &Key) {
        self.refused.remove(key);
        let Some(object) = self.object(key) else { return };
        self.running.remove(key);
        self.waiting.remove(key);
        let Changes { admitted, .. } = self.quota.remove(&key.0, &seniority(&object));
        let Some(name) = admitted else { return };
        let key = (key.0.clone(), name);
        if let Some(waiting) = self.waiting.remove(&key) {
            self.start(key, waiting.object.clone());
        }
    }

    fn retain(&mut self, listed: &HashSet<Key>) {
        let known = self.running.keys().chain(self.waiting.keys()).chain(self.refused.keys());
        let gone: Vec<Key> = known.filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// Returns an autoscaler as it was last seen.
    fn object(&self, key: &Key) -> Option<Arc<LLMAutoscaler>> {
        let running = self.running.get(key).map(|task| task.objects.borrow().clone());
        running.or_else(|| Some(self.waiting.get(key)?.object.clone()))
    }

    fn start(&mut self, key: Key, object: Arc<LLMAutoscaler>) {
        let (objects, receiver) = watch::channel(object);
        let task = task::run(self.context.clone(), receiver);
        let handle = self.context.supervisor.spawn(task::NAME, task);
        self.running.insert(key, Task { objects, handle });
    }

    /// Lets an autoscaler wait, and says so in its status.
    fn suspend(&mut self, key: Key, object: Arc<LLMAutoscaler>) {
        let update = refusal::too_many_autoscalers(self.quota.most());
        let handle = self.report(object.clone(), update);
        self.waiting.insert(key, Waiting { object, handle });
    }

    /// Leaves an autoscaler alone, and says so once in the status of each of its generations.
    fn refuse(&mut self, key: Key, mut object: LLMAutoscaler, update: ConditionUpdate) {
        let (uid, generation) = (object.uid(), object.metadata.generation);
        let is_known = |known: &Refused| known.uid == uid && known.generation == generation;
        if self.refused.get(&key).is_some_and(is_known) {
            return;
        }
        self.remove(&key);
        intake::empty(&mut object);
        let handle = self.report(Arc::new(object), update);
        self.refused.insert(key, Refused { uid, generation, handle });
    }

    /// Writes to the status of an autoscaler why nothing is done for it.
    fn report(&self, object: Arc<LLMAutoscaler>, update: ConditionUpdate) -> AbortHandle {
        let context = self.context.clone();
        let task = async move {
            let (before, now) = (object.status.clone().unwrap_or_default(), context.clock.now());
            let status = assemble::obstructed(&before, &object, update, false, now.wall);
            let mut waits = STATUS_WAITS;
            while !write_once(&context.status, &object, status.clone()).await {
                tokio::time::sleep(waits.next()).await;
            }
        };
        self.context.supervisor.spawn("status", task)
    }
}

#[cfg(test)]
mod tests;
