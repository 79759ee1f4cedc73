//! The claims of one namespace, and those that wait for them to be settled.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use tokio::sync::Notify;

use super::claim::{Claim, Claimant, Ownership};

/// The claims of one namespace.
///
/// While ten thousand autoscalers begin, most of them wait for older ones of their namespaces. So
/// that each claim does not wake them all, a change wakes only those that may have another answer
/// now.
#[derive(Debug, Default)]
pub(super) struct NamespaceClaims {
    pub(super) claims: BTreeMap<Arc<Claimant>, Claim>,
    /// The claimants that search for their targets. The oldest of them keeps all younger ones
    /// waiting.
    searching: BTreeSet<Arc<Claimant>>,
    /// The claimants that wait until their ownership is settled.
    waiting: BTreeMap<Arc<Claimant>, Waiting>,
    /// The number of changes since the first claim, which is the first of them.
    pub(super) version: u64,
}

/// Those that wait for the ownership of one claimant.
#[derive(Debug, Default)]
struct Waiting {
    number: usize,
    /// Notified when the answer may be another one.
    changed: Arc<Notify>,
}

impl NamespaceClaims {
    /// Records a claim, or that there is none any more. `is_listed` is true once all autoscalers
    /// that existed when the operator started are registered.
    pub(super) fn change(
        &mut self,
        claimant: &Arc<Claimant>,
        claim: Option<Claim>,
        is_listed: bool,
    ) {
        self.version += 1;
        let oldest_searching = self.searching.first().cloned();
        if claim == Some(Claim::Searching) {
            self.searching.insert(claimant.clone());
        } else {
            self.searching.remove(claimant);
        }
        match claim {
            Some(claim) => drop(self.claims.insert(claimant.clone(), claim)),
            None => drop(self.claims.remove(claimant)),
        }
        // So it is once all autoscalers have begun.
        if self.waiting.is_empty() {
            return;
        }
        self.wake(claimant);
        self.wake_younger_of_target(claimant);
        // Before the first listing is complete, nothing but a claim of the target settles anything.
        if let Some(before) = oldest_searching.filter(|_| is_listed) {
            self.wake_unpreceded(&before);
        }
    }

    fn wake(&self, claimant: &Claimant) {
        if let Some(waiting) = self.waiting.get(claimant) {
            waiting.changed.notify_waiters();
        }
    }

    /// Wakes those that wait for a target that an older claimant claims now.
    fn wake_younger_of_target(&self, claimant: &Claimant) {
        let Some(Claim::Target { uid, .. }) = self.claims.get(claimant) else { return };
        let younger = self.waiting.range::<Claimant, _>((Excluded(claimant), Unbounded));
        let is_of_target =
            |younger: &Claimant| self.claims.get(younger).is_some_and(|claim| claim.is_of(uid));
        let concerned = younger.filter(|(younger, _)| is_of_target(younger));
        concerned.for_each(|(_, waiting)| waiting.changed.notify_waiters());
    }

    /// Wakes those that no claimant that searches precedes any more. `before` was the oldest that
    /// searched until now.
    fn wake_unpreceded(&self, before: &Claimant) {
        let oldest = self.searching.first();
        if oldest.is_some_and(|oldest| **oldest <= *before) {
            return;
        }
        let end = oldest.map_or(Unbounded, |oldest| Excluded(&**oldest));
        let unpreceded = self.waiting.range::<Claimant, _>((Excluded(before), end));
        unpreceded.for_each(|(_, waiting)| waiting.changed.notify_waiters());
    }

    /// Wakes all that wait.
    pub(super) fn wake_all(&self) {
        self.waiting.values().for_each(|waiting| waiting.changed.notify_waiters());
    }

    /// Begins a wait for the ownership of a claimant. Returns what is notified of changes.
    pub(super) fn begin_wait(&mut self, claimant: &Arc<Claimant>) -> Arc<Notify> {
        let waiting = self.waiting.entry(claimant.clone()).or_default();
        waiting.number += 1;
        waiting.changed.clone()
    }

    /// Ends a wait that was begun.
    pub(super) fn end_wait(&mut self, claimant: &Claimant) {
        let Some(waiting) = self.waiting.get_mut(claimant) else { return };
        waiting.number -= 1;
        if waiting.number == 0 {
            self.waiting.remove(claimant);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.waiting.is_empty()
    }

    /// Returns whether a claimant has the target that it claims.
    pub(super) fn ownership(&self, claimant: &Claimant, is_listed: bool) -> Ownership {
        let Some(Claim::Target { uid, .. }) = self.claims.get(claimant) else {
            return Ownership::Unsettled;
        };
        let mut older = self.claims.range::<Claimant, _>(..claimant);
        if let Some((owner, _)) = older.find(|(_, claim)| claim.is_of(uid)) {
            return Ownership::TakenBy(owner.name.clone());
        }
        let is_preceded = self.searching.first().is_some_and(|oldest| **oldest < *claimant);
        if is_listed && !is_preceded { Ownership::Owner } else { Ownership::Unsettled }
    }

    /// Returns the number of claimants that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
