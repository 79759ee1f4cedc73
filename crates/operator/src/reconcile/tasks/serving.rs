//! The tasks of namespaces that this copy of the operator serves: they follow the Leases that come
//! and go.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use kube::{Resource, ResourceExt, core::DeserializeGuard};
use llm_autoscaler_api::{LLMAutoscaler, time};
use tracing::info;

use super::{Admitted, Key, Task, Tasks, is_outdated, key};
use crate::{
    kube_api::is_older,
    reconcile::{
        intake,
        listed_autoscaler::ListedAutoscaler,
        target_kinds::{Kinds, add_kinds},
    },
};

impl Tasks {
    /// Ends the tasks of buckets that are not held any more, or not since the tasks began. Returns
    /// the buckets that are held and not served yet.
    pub(in crate::reconcile) fn leave_lost(&mut self, held: &[bool]) -> Vec<usize> {
        let is_held = |bucket: &usize| held.get(*bucket).copied().unwrap_or_default();
        let leases = &self.context.leases;
        let mut lost: HashSet<usize> = self.served.buckets().clone();
        lost.retain(|bucket| !is_held(bucket));
        for (key, admitted) in &mut self.admitted {
            let (bucket, permit) = (leases.bucket(&key.0), leases.permit(&key.0));
            let is_over = |task: &mut Task| !is_held(&bucket) || task.term != permit.endings();
            if let Some(task) = admitted.task.take_if(is_over) {
                self.ending.push(task.handle.clone());
                lost.insert(bucket);
            }
        }
        self.served.leave(|bucket| lost.contains(bucket) || !is_held(bucket));
        for bucket in lost {
            let mut namespaces = self.admitted.keys().map(|(namespace, _)| namespace);
            let one = namespaces.find(|namespace| leases.bucket(namespace) == bucket);
            let holder = one.and_then(|namespace| leases.holder(namespace));
            info!(bucket, holder, "this copy of the operator stands by");
        }
        (0..held.len())
            .filter(|bucket| is_held(bucket) && !self.served.buckets().contains(bucket))
            .collect()
    }

    /// Returns the autoscalers that this holds for, namespace by namespace, the oldest first: an
    /// autoscaler waits for the older ones of its namespace to find their targets.
    fn in_order(&self, is_wanted: impl Fn(&Key) -> bool) -> Vec<Key> {
        let wanted = self.admitted.iter().filter(|(key, _)| is_wanted(key));
        let age = |admitted: &Admitted| {
            admitted.objects.get().metadata.creation_timestamp.as_ref().map(time::from_kubernetes)
        };
        let mut wanted: Vec<_> = wanted.map(|(key, it)| (&key.0, age(it), &key.1)).collect();
        wanted.sort_unstable();
        let keys = wanted.into_iter().map(|(namespace, _, name)| (namespace.clone(), name.clone()));
        keys.collect()
    }

    /// Returns the kinds of targets of the autoscalers that stand by.
    pub(in crate::reconcile) fn kinds_standing_by(&self) -> Kinds {
        let mut kinds = Kinds::new();
        for admitted in self.admitted.values().filter(|admitted| admitted.task.is_none()) {
            add_kinds(&mut kinds, &admitted.objects.get());
        }
        kinds
    }

    /// Returns whether tasks that were ended still run: what they hold is not free yet.
    pub(in crate::reconcile) fn are_ending(&mut self) -> bool {
        self.ending.retain(|handle| !handle.is_finished());
        !self.ending.is_empty()
    }

    /// Begins to take over what another copy may have served: a new listing tells what is awaited
    /// there. What is served already is not compared again.
    pub(in crate::reconcile) fn begin_taking_over(&mut self) {
        self.awaited.retain(|key, _| self.served.has(&key.0));
    }

    /// Returns the autoscalers of a listing of which only an older version is known, and that are
    /// yet to be served.
    ///
    /// Those of which nothing is known, or another one of the name, are awaited: none of them gets
    /// a task before the watch has told of the version that is listed, because the former holder
    /// may have remembered something in it.
    pub(in crate::reconcile) fn outdated(
        &mut self,
        listed: &[ListedAutoscaler],
        buckets: &[usize],
    ) -> HashSet<Key> {
        let mut outdated = HashSet::new();
        for object in listed.iter().filter(|it| self.served.lacks(it.namespace(), buckets)) {
            let key = (object.namespace().to_owned(), object.name_any());
            // Nothing is remembered of what is refused.
            if self.refused.contains_key(&key) {
                continue;
            }
            let (known, Some(version)) = (self.object(&key), object.resource_version()) else {
                continue;
            };
            match known {
                Some(known) if !object.is_newer_than(&known) => {}
                Some(known) if known.uid() == object.uid() => drop(outdated.insert(key)),
                // The watch has told of its end, or will.
                _ if object.meta().deletion_timestamp.is_some() => {}
                _ => drop(self.awaited.insert(key, version)),
            }
        }
        outdated
    }

    /// Returns whether a later version of an autoscaler than this one is awaited. The watch tells
    /// of it after this one.
    pub(super) fn awaits_later(&mut self, key: &Key, object: &LLMAutoscaler) -> bool {
        let Some(awaited) = self.awaited.get(key) else { return false };
        let is_earlier =
            object.resource_version().is_some_and(|version| is_older(&version, awaited));
        if !is_earlier {
            self.awaited.remove(key);
        }
        is_earlier
    }

    /// Takes over a later version of an autoscaler that is known. Others are told by the watch.
    pub(in crate::reconcile) fn refresh(&mut self, object: DeserializeGuard<LLMAutoscaler>) {
        let key = key(&object);
        let Ok(mut object) = object.0 else { return };
        intake::trim(&mut object);
        if !intake::fits(&object) {
            // The watch tells of it, too.
            return;
        }
        let Some(known) = self.object(&key) else { return };
        if known.uid() != object.uid() || !is_outdated(&known, &object) {
            return;
        }
        if object.metadata.deletion_timestamp.is_some() {
            return self.remove(&key);
        }
        let object = Arc::new(object);
        if let Some(admitted) = self.admitted.get(&key) {
            admitted.objects.send_replace(object);
        } else if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.object = object;
        }
    }

    /// Serves these namespaces from now on, as far as they are of these buckets, which are held.
    pub(in crate::reconcile) fn serve_namespaces(
        &mut self,
        mut namespaces: BTreeSet<String>,
        buckets: &[usize],
    ) {
        namespaces.retain(|namespace| self.served.lacks(namespace, buckets));
        if !namespaces.is_empty() {
            self.begin(&namespaces);
        }
    }

    /// Serves buckets from now on, which are held: the tasks of their autoscalers begin, as far as
    /// they have not.
    pub(in crate::reconcile) fn serve(&mut self, buckets: &[usize]) {
        let keys = self.admitted.keys().chain(self.waiting.keys()).chain(self.refused.keys());
        let lacking = keys.filter(|key| self.served.lacks(&key.0, buckets));
        self.begin(&lacking.map(|key| key.0.clone()).collect());
        self.served.complete(buckets);
        let its = self.admitted.iter().filter(|(key, _)| self.served.is_of(&key.0, buckets));
        let autoscalers = its.filter(|(_, admitted)| admitted.task.is_some()).count();
        info!(?buckets, autoscalers, "this copy of the operator serves");
    }

    /// Serves namespaces from now on: the tasks of their autoscalers begin.
    fn begin(&mut self, namespaces: &BTreeSet<String>) {
        self.served.begin(namespaces);
        let is_wanted = |key: &Key| namespaces.contains(&key.0);
        let keys = self.in_order(is_wanted);
        let waiting: Vec<Key> = self.waiting.keys().filter(|key| is_wanted(key)).cloned().collect();
        let refused: Vec<Key> = self.refused.keys().filter(|key| is_wanted(key)).cloned().collect();
        self.start(&keys);
        for key in waiting {
            let Some(waiting) = self.waiting.remove(&key) else { continue };
            self.suspend(key, waiting.object.clone());
        }
        for key in refused {
            let Some(refused) = self.refused.get(&key) else { continue };
            let handle = self.report(refused.object.clone(), refused.update.clone());
            if let Some(refused) = self.refused.get_mut(&key) {
                refused.handle = Some(handle);
            }
        }
    }
}
