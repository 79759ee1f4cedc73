//! The tasks of the autoscalers: one for each that this copy of the operator serves.
//!
//! An autoscaler that is admitted in a namespace of another copy stands by: its object is followed,
//! and so are the pods of its namespace, so that its task can begin at once when the Lease comes.

mod served;
mod serving;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use kube::{ResourceExt, core::DeserializeGuard};
use llm_autoscaler_api::{LLMAutoscaler, conditions::ConditionUpdate, time};
use tokio::task::AbortHandle;
use tracing::warn;

use self::served::Served;
use crate::{
    backoff::Backoff,
    cluster::pods::Following,
    http::wake::AutoscalerKey,
    kube_api::is_older,
    latest,
    reconcile::{
        context::Context,
        intake,
        quota::{Changes, Quota, Seniority},
        start_line::StartLine,
        task,
    },
    status::{assemble, refusal, writer::write_once},
};

/// The waits before the status of an autoscaler without a task is written again: no step of its own
/// would.
const STATUS_WAITS: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));

/// The namespace and the name of an autoscaler.
pub(super) type Key = (String, String);

/// The tasks, by namespace and name.
pub(super) struct Tasks {
    context: Arc<Context>,
    admitted: HashMap<Key, Admitted>,
    /// The autoscalers that are too many in their namespaces.
    waiting: HashMap<Key, Waiting>,
    /// The autoscalers that are too large, or too many to wait.
    refused: HashMap<Key, Refused>,
    quota: Quota,
    served: Served,
    /// The versions that the watch has yet to tell of, of autoscalers that are not known yet.
    awaited: HashMap<Key, String>,
    /// The tasks that were ended, until they are gone.
    ending: Vec<AbortHandle>,
    /// The line of the tasks that begin.
    line: StartLine,
}

/// An autoscaler with a place in its namespace.
struct Admitted {
    objects: latest::Sender<Arc<LLMAutoscaler>>,
    /// Its task; `None` while it stands by.
    task: Option<Task>,
    /// Keeps the pods of its namespace known.
    _pods: Following,
}

struct Task {
    handle: AbortHandle,
    /// The term of the Lease that it began in, as [`WritePermit::endings`] counts them.
    ///
    /// [`WritePermit::endings`]: crate::kube_api::WritePermit::endings
    term: u64,
}

/// An autoscaler that waits for its turn, and the task that says so in its status.
struct Waiting {
    object: Arc<LLMAutoscaler>,
    handle: Option<AbortHandle>,
}

/// An autoscaler of which nothing is kept but what its status needs, and the task that says so.
struct Refused {
    /// The object without the parts of its spec that may be large.
    object: Arc<LLMAutoscaler>,
    update: ConditionUpdate,
    handle: Option<AbortHandle>,
}

impl Drop for Refused {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }
}

pub(super) fn key(object: &DeserializeGuard<LLMAutoscaler>) -> Key {
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

/// Returns whether an object is an older version of one that is known.
fn is_outdated(object: &LLMAutoscaler, known: &LLMAutoscaler) -> bool {
    let versions = object.resource_version().zip(known.resource_version());
    object.uid() == known.uid()
        && versions.is_some_and(|(version, known)| is_older(&version, &known))
}

impl Tasks {
    /// Begins with no autoscalers. What is served already is served from the listing that follows.
    pub(super) fn new(context: Arc<Context>) -> Self {
        let quota = Quota::new(context.most_autoscalers);
        let (served, awaited) = (Served::new(&context.leases), HashMap::new());
        let (admitted, waiting, refused) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (ending, line) = (Vec::new(), StartLine::default());
        Self { context, admitted, waiting, refused, quota, served, awaited, ending, line }
    }

    /// Takes over a version of an autoscaler.
    pub(super) fn apply(&mut self, object: DeserializeGuard<LLMAutoscaler>) {
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
        let is_behind = known.as_ref().is_some_and(|known| is_outdated(&object, known));
        if is_behind || self.awaits_later(&key, &object) {
            return;
        }
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
        if let Some(admitted) = self.admitted.get(&key) {
            admitted.objects.send_replace(object);
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
                if let Some(admitted) = self.dismiss(&youngest) {
                    self.suspend(youngest, admitted);
                }
            }
            None => {}
        }
        self.admit(key, object);
    }

    /// Ends the task of an autoscaler, and starts the one that may take its place.
    pub(super) fn remove(&mut self, key: &Key) {
        self.refused.remove(key);
        let Some(object) = self.object(key) else { return };
        self.dismiss(key);
        self.waiting.remove(key);
        let Changes { admitted, .. } = self.quota.remove(&key.0, &seniority(&object));
        let Some(name) = admitted else { return };
        let key = (key.0.clone(), name);
        if let Some(waiting) = self.waiting.remove(&key) {
            self.admit(key, waiting.object.clone());
        }
    }

    /// Removes the autoscalers that a listing does not have.
    pub(super) fn retain(&mut self, listed: &HashSet<Key>) {
        let known = self.admitted.keys().chain(self.waiting.keys()).chain(self.refused.keys());
        let gone: Vec<Key> = known.filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            self.remove(&key);
        }
    }

    /// Returns the number of autoscalers that have a task.
    pub(super) fn count(&self) -> usize {
        self.admitted.values().filter(|admitted| admitted.task.is_some()).count()
    }

    /// Returns an autoscaler as it was last seen.
    fn object(&self, key: &Key) -> Option<Arc<LLMAutoscaler>> {
        let admitted = self.admitted.get(key).map(|admitted| admitted.objects.get());
        admitted.or_else(|| Some(self.waiting.get(key)?.object.clone()))
    }

    /// Gives an autoscaler a place, and a task if its namespace is served.
    fn admit(&mut self, key: Key, object: Arc<LLMAutoscaler>) {
        let context = &self.context;
        let autoscaler = AutoscalerKey::of(&object);
        let (objects, receiver) = latest::channel(object);
        context.catalog.add(&autoscaler, receiver);
        context.wake.set_known(autoscaler, true);
        let admitted =
            Admitted { objects, task: None, _pods: context.sampling.pods.follow(&key.0) };
        let is_served = self.served.has(&key.0);
        self.admitted.insert(key.clone(), admitted);
        if is_served {
            self.start(&[key]);
        }
    }

    /// Takes the place of an autoscaler away.
    fn dismiss(&mut self, key: &Key) -> Option<Arc<LLMAutoscaler>> {
        let Admitted { objects, .. } = self.admitted.remove(key)?;
        let object = objects.get();
        let autoscaler = AutoscalerKey::of(&object);
        self.context.catalog.remove(&autoscaler);
        self.context.wake.set_known(autoscaler, false);
        Some(object)
    }

    /// Lets an autoscaler wait, and says so in its status if its namespace is served.
    fn suspend(&mut self, key: Key, object: Arc<LLMAutoscaler>) {
        let update = refusal::too_many_autoscalers(self.quota.most());
        let handle = self.served.has(&key.0).then(|| self.report(object.clone(), update));
        self.waiting.insert(key, Waiting { object, handle });
    }

    /// Leaves an autoscaler alone, and says so in the status of each of its generations if its
    /// namespace is served.
    fn refuse(&mut self, key: Key, mut object: LLMAutoscaler, update: ConditionUpdate) {
        let (uid, generation) = (object.uid(), object.metadata.generation);
        let is_known = |known: &Refused| {
            known.object.uid() == uid && known.object.metadata.generation == generation
        };
        if self.refused.get(&key).is_some_and(is_known) {
            return;
        }
        self.remove(&key);
        intake::empty(&mut object);
        let object = Arc::new(object);
        let handle = self.served.has(&key.0).then(|| self.report(object.clone(), update.clone()));
        self.refused.insert(key, Refused { object, update, handle });
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

    /// Starts the tasks of autoscalers that stand by. All have their claims before the first one
    /// runs, and their first reads are spread.
    fn start(&mut self, keys: &[Key]) {
        let mut begun = Vec::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            let stands_by =
                |admitted: &&Admitted| admitted.task.is_none() && !self.awaited.contains_key(key);
            let Some(admitted) = self.admitted.get(key).filter(stands_by) else { continue };
            let now = self.context.clock.monotonic();
            let delay = self.line.delay(place, keys.len(), now);
            let term = self.context.leases.permit(&key.0).endings();
            let task = task::run(self.context.clone(), admitted.objects.subscribe(), delay);
            begun.push((key, term, task));
        }
        for (key, term, task) in begun {
            let handle = self.context.supervisor.spawn(task::NAME, task);
            if let Some(admitted) = self.admitted.get_mut(key) {
                admitted.task = Some(Task { handle, term });
            }
        }
    }
}

#[cfg(test)]
pub(in crate::reconcile) mod tests;
