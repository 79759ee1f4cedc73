//! The tasks of namespaces that this copy of the operator serves: they follow the Leases that come
//! and go.

use std::{collections::HashSet, sync::Arc};

use kube::{ResourceExt, core::DeserializeGuard};
use llm_autoscaler_api::{LLMAutoscaler, time};
use tracing::info;

use super::{Admitted, Key, Task, Tasks, is_outdated, key};
use crate::reconcile::intake;

impl Tasks {
    /// Ends the tasks of buckets that are not held any more, or not since the tasks began. Returns
    /// the buckets that are held and not served yet.
    pub(in crate::reconcile) fn leave_lost(&mut self, held: &[bool]) -> Vec<usize> {
        let is_held = |bucket: &usize| held.get(*bucket).copied().unwrap_or_default();
        let leases = &self.context.leases;
        let mut lost: HashSet<usize> = self.served.iter().copied().collect();
        lost.retain(|bucket| !is_held(bucket));
        for (key, admitted) in &mut self.admitted {
            let (bucket, permit) = (leases.bucket(&key.0), leases.permit(&key.0));
            let is_over = |task: &mut Task| !is_held(&bucket) || task.term != permit.endings();
            if let Some(task) = admitted.task.take_if(is_over) {
                self.ending.push(task.handle.clone());
                lost.insert(bucket);
            }
        }
        for bucket in lost {
            self.served.remove(&bucket);
            let mut namespaces = self.admitted.keys().map(|(namespace, _)| namespace);
            let one = namespaces.find(|namespace| leases.bucket(namespace) == bucket);
            let holder = one.and_then(|namespace| leases.holder(namespace));
            info!(bucket, holder, "this copy of the operator stands by");
        }
        (0..held.len()).filter(|bucket| is_held(bucket) && !self.served.contains(bucket)).collect()
    }

    /// Returns the autoscalers that this holds for, namespace by namespace, the oldest first: an
    /// autoscaler waits for the older ones of its namespace to find their targets.
    fn in_order(&self, is_wanted: impl Fn(&Key) -> bool) -> Vec<Key> {
        let wanted = self.admitted.iter().filter(|(key, _)| is_wanted(key));
        let age = |admitted: &Admitted| {
            admitted
                .objects
                .borrow()
                .metadata
                .creation_timestamp
                .as_ref()
                .map(time::from_kubernetes)
        };
        let mut wanted: Vec<_> = wanted.map(|(key, it)| (&key.0, age(it), &key.1)).collect();
        wanted.sort_unstable();
        let keys = wanted.into_iter().map(|(namespace, _, name)| (namespace.clone(), name.clone()));
        keys.collect()
    }

    /// Returns whether tasks that were ended still run: what they hold is not free yet.
    pub(in crate::reconcile) fn are_ending(&mut self) -> bool {
        self.ending.retain(|handle| !handle.is_finished());
        !self.ending.is_empty()
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
        let object = Arc::new(object);
        if let Some(admitted) = self.admitted.get(&key) {
            admitted.objects.send_replace(object);
        } else if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.object = object;
        }
    }

    /// Serves buckets from now on, which are held: the tasks of their autoscalers begin.
    pub(in crate::reconcile) fn serve(&mut self, buckets: &[usize]) {
        self.served.extend(buckets);
        let leases = &self.context.leases;
        let is_gained = |key: &Key| buckets.contains(&leases.bucket(&key.0));
        let keys = self.in_order(is_gained);
        let waiting: Vec<Key> = self.waiting.keys().filter(|key| is_gained(key)).cloned().collect();
        let refused: Vec<Key> = self.refused.keys().filter(|key| is_gained(key)).cloned().collect();
        info!(?buckets, autoscalers = keys.len(), "this copy of the operator serves");
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
