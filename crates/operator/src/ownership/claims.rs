//! Claims: of several LLMAutoscalers that name the same target, the oldest one has it.
//!
//! A target is in the namespace of its autoscaler, so only claims of one namespace compete. An
//! autoscaler that still searches for its target may turn out to claim any; younger ones wait for
//! it, which takes moments.

mod claim;
mod namespace;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use kube::core::{Selector, SelectorExt};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_observe::pod::Members;
use tokio::sync::Notify;

pub(crate) use self::claim::Ownership;
use self::{
    claim::{Claim, Claimant},
    namespace::NamespaceClaims,
};
use crate::lock::lock;

/// The claims of all autoscalers.
#[derive(Debug, Default)]
struct Register {
    /// True once all autoscalers that existed when the operator started are registered.
    is_complete: bool,
    namespaces: HashMap<String, NamespaceClaims>,
}

impl Register {
    fn set(&mut self, claimant: &Arc<Claimant>, claim: Claim) {
        let namespace = self.namespaces.entry(claimant.namespace.clone()).or_default();
        if namespace.claims.get(claimant) != Some(&claim) {
            namespace.change(claimant, Some(claim), self.is_complete);
        }
    }

    fn remove(&mut self, claimant: &Arc<Claimant>) {
        if let Some(namespace) = self.namespaces.get_mut(&claimant.namespace) {
            namespace.change(claimant, None, self.is_complete);
            self.remove_if_empty(&claimant.namespace);
        }
    }

    /// Begins a wait for the ownership of a claimant. Returns what is notified of changes.
    fn begin_wait(&mut self, claimant: &Arc<Claimant>) -> Arc<Notify> {
        let namespace = self.namespaces.entry(claimant.namespace.clone()).or_default();
        namespace.begin_wait(claimant)
    }

    fn end_wait(&mut self, claimant: &Claimant) {
        if let Some(namespace) = self.namespaces.get_mut(&claimant.namespace) {
            namespace.end_wait(claimant);
            self.remove_if_empty(&claimant.namespace);
        }
    }

    fn remove_if_empty(&mut self, name: &str) {
        if self.namespaces.get(name).is_some_and(NamespaceClaims::is_empty) {
            self.namespaces.remove(name);
        }
    }

    /// Completes the first listing, which may settle the ownerships of all namespaces.
    fn complete_listing(&mut self) {
        self.is_complete = true;
        self.namespaces.values().for_each(NamespaceClaims::wake_all);
    }

    fn claims_in_namespace(
        &self,
        claimant: &Claimant,
    ) -> impl Iterator<Item = (&Arc<Claimant>, &Claim)> {
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
        let namespace = self.namespaces.get(&claimant.namespace);
        namespace.map_or(Ownership::Unsettled, |it| it.ownership(claimant, self.is_complete))
    }

    /// Returns the names of autoscalers of other targets that select any of these pods too.
    fn overlapping(&self, claimant: &Claimant, pods: &Members) -> Vec<String> {
        let (Claim::Target { uid: claimed, .. } | Claim::Beside { uid: claimed }) =
            self.claim_of(claimant).unwrap_or(&Claim::Nothing)
        else {
            return Vec::new();
        };
        let others =
            self.claims_in_namespace(claimant).filter(|(other, _)| other.as_ref() != claimant);
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
        let claimant = Arc::new(Claimant::of(object, role));
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
    claimant: Arc<Claimant>,
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
        let mut wait = None;
        loop {
            let changed = {
                let mut register = self.claims.lock();
                let ownership = self.ownership_in(&register);
                if ownership != Ownership::Unsettled {
                    return ownership;
                }
                // It is told of changes from here on, and none comes in between: the register is
                // locked.
                let wait: &Wait = wait.get_or_insert_with(|| Wait::begin(self, &mut register));
                wait.changed.notified()
            };
            changed.await;
        }
    }

    /// Returns whether the claimant has its target, as far as is known now.
    pub(crate) fn ownership(&self) -> Ownership {
        self.ownership_in(&self.claims.lock())
    }

    fn ownership_in(&self, register: &Register) -> Ownership {
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

/// A wait until an ownership is settled; it ends when dropped, as its caller may not wait for ever.
struct Wait<'a> {
    guard: &'a ClaimGuard,
    changed: Arc<Notify>,
}

impl<'a> Wait<'a> {
    fn begin(guard: &'a ClaimGuard, register: &mut Register) -> Self {
        Self { guard, changed: register.begin_wait(&guard.claimant) }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.guard.claims.lock().end_wait(&self.guard.claimant);
    }
}

#[cfg(test)]
mod tests;
