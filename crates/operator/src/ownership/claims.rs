//! Claims: of several LLMAutoscalers that name the same target, the oldest one has it.
//!
//! A target is in the namespace of its autoscaler, so only claims of one namespace compete. An
//! autoscaler that still searches for its target may turn out to claim any; younger ones wait for
//! it, which takes moments.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use chrono::{DateTime, Utc};
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};
use llm_autoscaler_api::{LLMAutoscaler, time};
use llm_autoscaler_observe::pod::Members;
use tokio::sync::Notify;

use crate::lock::lock;

/// An autoscaler, or one role of it, that claims a target. Claimants are ordered by age: the oldest
/// is the least, and precedes all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claimant {
    created: DateTime<Utc>,
    namespace: String,
    name: String,
    uid: String,
    /// The name of the role, where the autoscaler has several.
    role: Option<String>,
}

impl Claimant {
    /// Returns the claimant for an autoscaler's only target, or for one of its roles.
    fn of(object: &LLMAutoscaler, role: Option<&str>) -> Self {
        let created = object.creation_timestamp();
        Self {
            created: created.as_ref().map(time::from_kubernetes).unwrap_or_default(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            role: role.map(str::to_owned),
        }
    }
}

/// A claimant's claim.
#[derive(Clone, Debug, PartialEq)]
enum Claim {
    /// The claimant has not read its target yet.
    Searching,
    /// The claimant has no target: it does not exist, or the spec is invalid.
    Nothing,
    /// The claimant has read its target.
    Target {
        /// The UID of the object that is scaled.
        uid: String,
        /// The selector of the target's pods, where it has one.
        selector: Option<Selector>,
    },
    /// The claimant has read its target, and claims neither the target nor its pods: it only
    /// recommends.
    Beside {
        /// The UID of the object that something else may scale.
        uid: String,
    },
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// The claimant has the target.
    Owner,
    /// An older autoscaler still searches for its target, which may be this one.
    Unsettled,
    /// An older autoscaler of this name has the target.
    TakenBy(String),
}

/// The claims of all autoscalers.
#[derive(Debug, Default)]
struct Register {
    /// True once all autoscalers that existed when the operator started are registered.
    is_complete: bool,
    namespaces: HashMap<String, NamespaceClaims>,
}

/// The claims of one namespace.
#[derive(Debug, Default)]
struct NamespaceClaims {
    claims: BTreeMap<Claimant, Claim>,
    /// The number of changes since the first claim, which is the first of them.
    version: u64,
    /// Notified at each change that may settle an ownership in this namespace, and not of others:
    /// while ten thousand autoscalers begin, most of them wait, and each claim would wake them all.
    changed: Arc<Notify>,
}

impl NamespaceClaims {
    fn record_change(&mut self) {
        self.version += 1;
        self.changed.notify_waiters();
    }
}

impl Register {
    fn set(&mut self, claimant: &Claimant, claim: Claim) {
        let namespace = self.namespaces.entry(claimant.namespace.clone()).or_default();
        let before = namespace.claims.insert(claimant.clone(), claim.clone());
        if before != Some(claim) {
            namespace.record_change();
        }
    }

    fn remove(&mut self, claimant: &Claimant) {
        if let Some(namespace) = self.namespaces.get_mut(&claimant.namespace) {
            namespace.claims.remove(claimant);
            namespace.record_change();
            if namespace.claims.is_empty() {
                self.namespaces.remove(&claimant.namespace);
            }
        }
    }

    /// Completes the first listing, which may settle the ownerships of all namespaces.
    fn complete_listing(&mut self) {
        self.is_complete = true;
        self.namespaces.values().for_each(|namespace| namespace.changed.notify_waiters());
    }

    /// Returns the notifier of a claimant's namespace. It stays the same while the claimant is
    /// registered.
    fn changed(&self, claimant: &Claimant) -> Option<Arc<Notify>> {
        self.namespaces.get(&claimant.namespace).map(|namespace| namespace.changed.clone())
    }

    fn claims_in_namespace(
        &self,
        claimant: &Claimant,
    ) -> impl Iterator<Item = (&Claimant, &Claim)> {
        self.namespaces.get(&claimant.namespace).into_iter().flat_map(|namespace| &namespace.claims)
    }

    fn claim_of(&self, claimant: &Claimant) -> Option<&Claim> {
        self.namespaces.get(&claimant.namespace)?.claims.get(claimant)
    }

    /// Returns the version of the claims of a claimant's namespace: as long as it stays the same,
    /// an owner stays one. It is 0 where there are none, which is never so for a claimant that is
    /// registered.
    fn version(&self, claimant: &Claimant) -> u64 {
        self.namespaces.get(&claimant.namespace).map_or(0, |namespace| namespace.version)
    }

    /// Returns whether the claimant has the target that it claims.
    fn ownership(&self, claimant: &Claimant) -> Ownership {
        let Some(Claim::Target { uid: claimed, .. }) = self.claim_of(claimant) else {
            return Ownership::Unsettled;
        };
        let mut is_settled = self.is_complete;
        let namespace = self.namespaces.get(&claimant.namespace);
        let older = namespace.into_iter().flat_map(|namespace| namespace.claims.range(..claimant));
        for (older, claim) in older {
            match claim {
                Claim::Target { uid, .. } if uid == claimed => {
                    return Ownership::TakenBy(older.name.clone());
                }
                Claim::Searching => is_settled = false,
                Claim::Target { .. } | Claim::Beside { .. } | Claim::Nothing => {}
            }
        }
        if is_settled { Ownership::Owner } else { Ownership::Unsettled }
    }

    /// Returns the names of autoscalers of other targets that select any of these pods too.
    fn overlapping(&self, claimant: &Claimant, pods: &Members) -> Vec<String> {
        let (Claim::Target { uid: claimed, .. } | Claim::Beside { uid: claimed }) =
            self.claim_of(claimant).unwrap_or(&Claim::Nothing)
        else {
            return Vec::new();
        };
        let others = self.claims_in_namespace(claimant).filter(|(other, _)| *other != claimant);
        let overlapping = others.filter(|(_, claim)| match claim {
            Claim::Target { uid, selector: Some(selector) } => {
                uid != claimed && pods.values().any(|pod| selector.matches(&pod.labels))
            }
            Claim::Target { .. } | Claim::Beside { .. } | Claim::Searching | Claim::Nothing => {
                false
            }
        });
        overlapping.map(|(other, _)| other.name.clone()).collect()
    }
}

/// The claims of all autoscalers; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Arc<Mutex<Register>>);

impl Claims {
    /// Records that all autoscalers that existed when the operator started are registered.
    pub(crate) fn complete_listing(&self) {
        self.lock().complete_listing();
    }

    /// Registers an autoscaler, or one role of it, which begins to search for its target.
    pub(crate) fn register(&self, object: &LLMAutoscaler, role: Option<&str>) -> ClaimGuard {
        let claimant = Claimant::of(object, role);
        self.lock().set(&claimant, Claim::Searching);
        ClaimGuard { claims: self.clone(), claimant, owner_at: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        lock(&self.0)
    }
}

/// The autoscalers of other targets that select some of the same pods.
#[derive(Debug, Default)]
pub(crate) struct Overlapping {
    /// Their names.
    pub(crate) names: Vec<String>,
    /// The version of the namespace's claims, and the pods, that they were found by.
    compared: Option<(u64, Members)>,
}

/// The claim of one autoscaler, or of one role of it; removed when dropped.
#[derive(Debug)]
pub(crate) struct ClaimGuard {
    claims: Claims,
    claimant: Claimant,
    /// The version of the namespace's claims by which the claimant was last found to be the owner,
    /// so that not each step compares the claims of all others; 0 if it never was.
    owner_at: AtomicU64,
}

impl ClaimGuard {
    /// Claims the target that was found.
    pub(crate) fn claim(&self, uid: &str, selector: Option<Selector>) {
        self.set(Claim::Target { uid: uid.to_owned(), selector });
    }

    /// Claims nothing of the target that was found, because it is only watched.
    pub(crate) fn stand_beside(&self, uid: &str) {
        let claim = Claim::Beside { uid: uid.to_owned() };
        if self.claims.lock().claim_of(&self.claimant) != Some(&claim) {
            self.set(claim);
        }
    }

    /// Claims nothing, because there is no target.
    pub(crate) fn release(&self) {
        self.set(Claim::Nothing);
    }

    /// Ends the search for a target that could not be read, so that younger autoscalers do not wait
    /// for it. A target that was found before stays claimed.
    pub(crate) fn end_search(&self) {
        if self.claims.lock().claim_of(&self.claimant) == Some(&Claim::Searching) {
            self.set(Claim::Nothing);
        }
    }

    fn set(&self, claim: Claim) {
        self.claims.lock().set(&self.claimant, claim);
    }

    /// Waits until it is settled whether the claimant has its target. The answer is never
    /// [`Ownership::Unsettled`].
    pub(crate) async fn settled_ownership(&self) -> Ownership {
        // The guard has its claimant registered, so there is a notifier.
        let notifier = self.claims.lock().changed(&self.claimant).unwrap_or_default();
        loop {
            // Created before the check, so that a change between the check and the wait is noticed.
            let changed = notifier.notified();
            match self.ownership() {
                Ownership::Unsettled => changed.await,
                ownership => return ownership,
            }
        }
    }

    /// Returns whether the claimant has its target, as far as is known now.
    pub(crate) fn ownership(&self) -> Ownership {
        let register = self.claims.lock();
        let version = register.version(&self.claimant);
        if version > 0 && self.owner_at.load(Relaxed) == version {
            return Ownership::Owner;
        }
        let ownership = register.ownership(&self.claimant);
        let owner_at = if ownership == Ownership::Owner { version } else { 0 };
        self.owner_at.store(owner_at, Relaxed);
        ownership
    }

    /// Finds the autoscalers of other targets that select any of these pods too. They are compared
    /// again only once the claims of the namespace or the pods have changed: in a namespace of a
    /// thousand autoscalers it takes as long as the rest of a step.
    pub(crate) fn find_overlapping(&self, pods: &Members, known: &mut Overlapping) {
        let register = self.claims.lock();
        let version = register.version(&self.claimant);
        let compared = known.compared.as_ref();
        if compared.is_some_and(|(at, of)| *at == version && Arc::ptr_eq(of, pods)) {
            return;
        }
        known.names = register.overlapping(&self.claimant, pods);
        known.compared = Some((version, pods.clone()));
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.claimant);
    }
}

#[cfg(test)]
mod tests;
