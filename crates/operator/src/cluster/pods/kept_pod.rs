//! A pod as it is kept.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet},
    hash::{Hash, Hasher},
    sync::Arc,
};

use llm_autoscaler_observe::pod::Pod;

/// The most labels, annotations, ports and claims of a pod together.
const MOST_ENTRIES: usize = 256;
/// The most bytes of these.
const MOST_BYTES: usize = 16 << 10;
/// The limits, in messages.
pub(super) const LIMITS: &str = "256 labels and ports, 16 KiB";

/// A pod that is kept, found by its name. There are a hundred thousand of them, so the name is
/// nowhere but in the pod.
#[derive(Debug)]
pub(super) struct KeptPod {
    pub(super) pod: Arc<Pod>,
    /// Its version. It is not in the pod, which most new versions leave as it is.
    pub(super) version: Option<Box<str>>,
}

impl Borrow<str> for KeptPod {
    fn borrow(&self) -> &str {
        &self.pod.name
    }
}

impl PartialEq for KeptPod {
    fn eq(&self, other: &Self) -> bool {
        self.pod.name == other.pod.name
    }
}

impl Eq for KeptPod {}

impl Hash for KeptPod {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pod.name.hash(state);
    }
}

/// Returns the pods of a set.
pub(super) fn pods_of(kept: &HashSet<KeptPod>) -> impl Iterator<Item = &Arc<Pod>> {
    kept.iter().map(|kept| &kept.pod)
}

/// Returns a pod without its labels, annotations and ports.
pub(super) fn stub_of(pod: &Pod) -> Pod {
    Pod {
        labels: Arc::default(),
        annotations: BTreeMap::new(),
        ports: Arc::default(),
        unnamed_ports: Box::default(),
        role_instance: None,
        ..pod.clone()
    }
}

/// Returns whether a pod takes more memory than any real one. Its author chooses the labels, and an
/// object of a megabyte has room for 11,000 of them.
pub(super) fn is_too_large(pod: &Pod) -> bool {
    let named = pod.labels.len() + pod.annotations.len() + pod.ports.len();
    let maps = pod.labels.iter().chain(&pod.annotations);
    let texts = maps.map(|(key, value)| key.len() + value.len());
    let ports = pod.ports.iter().map(|(name, _)| name.len());
    let owner = pod.role_instance.as_ref().map(|owner| owner.uid.len());
    let claims = pod.claims.iter().map(String::len);
    named + pod.unnamed_ports.len() + pod.claims.len() > MOST_ENTRIES
        || texts.chain(ports).chain(owner).chain(claims).sum::<usize>() > MOST_BYTES
}
