//! The pods of one selector.

use std::{collections::BTreeSet, sync::Arc};

use kube::core::{Selector, SelectorExt};
use llm_autoscaler_observe::pod::{Members, Pod};

use crate::latest;

/// The pods of one selector.
#[derive(Debug)]
pub(super) struct View {
    pub(super) selector: Selector,
    pub(super) members: latest::Sender<Members>,
    /// The pods that the selector selects, and that are held out.
    pub(super) held_out: BTreeSet<String>,
    /// True if the holder of the view writes the readiness gates of its pods.
    pub(super) manages_gates: bool,
}

impl View {
    pub(super) fn put(&self, pod: &Arc<Pod>) {
        if self.selector.matches(&pod.labels) {
            self.members.send_modify(|members| {
                Arc::make_mut(members).insert(pod.name.clone(), pod.clone());
            });
        } else {
            self.remove(&pod.name);
        }
    }

    pub(super) fn remove(&self, name: &str) {
        self.members.send_if_modified(|members| {
            members.contains_key(name) && Arc::make_mut(members).remove(name).is_some()
        });
    }

    /// Takes note of a pod that is held out, while its labels are still there.
    pub(super) fn hold_out(&mut self, pod: &Pod) {
        self.remove(&pod.name);
        if !self.selector.matches(&pod.labels) {
            self.let_in(&pod.name);
        } else if self.held_out.insert(pod.name.clone()) {
            self.members.send_modify(|_| {});
        }
    }

    /// A pod is gone, or not too large any more.
    pub(super) fn let_in(&mut self, name: &str) {
        if self.held_out.remove(name) {
            self.members.send_modify(|_| {});
        }
    }
}
