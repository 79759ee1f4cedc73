//! Claims: of several LLMAutoscalers that name the same target, the oldest one has it.
//!
//! A target is in the namespace of its autoscaler, so only claims of one namespace compete. An
//! autoscaler that still searches for its target may turn out to claim any; younger ones wait for
//! it, which takes moments.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
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
    namespaces: HashMap<String, BTreeMap<Claimant, Claim>>,
}

impl Register {
    fn set(&mut self, claimant: &Claimant, claim: Claim) {
        let namespace = self.namespaces.entry(claimant.namespace.clone()).or_default();
        namespace.insert(claimant.clone(), claim);
    }

    fn remove(&mut self, claimant: &Claimant) {
        if let Some(namespace) = self.namespaces.get_mut(&claimant.namespace) {
            namespace.remove(claimant);
            if namespace.is_empty() {
                self.namespaces.remove(&claimant.namespace);
            }
        }
    }

    fn claims_in_namespace(
        &self,
        claimant: &Claimant,
    ) -> impl Iterator<Item = (&Claimant, &Claim)> {
        self.namespaces.get(&claimant.namespace).into_iter().flatten()
    }

    fn claim_of(&self, claimant: &Claimant) -> Option<&Claim> {
        self.namespaces.get(&claimant.namespace)?.get(claimant)
    }

    /// Returns whether the claimant has the target that it claims.
    fn ownership(&self, claimant: &Claimant) -> Ownership {
        let Some(Claim::Target { uid: claimed, .. }) = self.claim_of(claimant) else {
            return Ownership::Unsettled;
        };
        let mut is_settled = self.is_complete;
        let claims = self.claims_in_namespace(claimant);
        for (older, claim) in claims.take_while(|(other, _)| *other < claimant) {
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
pub(crate) struct Claims(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    register: Mutex<Register>,
    /// Notified at each change that may settle an ownership.
    changed: Notify,
}

impl Claims {
    /// Records that all autoscalers that existed when the operator started are registered.
    pub(crate) fn complete_listing(&self) {
        self.lock().is_complete = true;
        self.0.changed.notify_waiters();
    }

    /// Registers an autoscaler, or one role of it, which begins to search for its target.
    pub(crate) fn register(&self, object: &LLMAutoscaler, role: Option<&str>) -> ClaimGuard {
        let claimant = Claimant::of(object, role);
        self.lock().set(&claimant, Claim::Searching);
        ClaimGuard { claims: self.clone(), claimant }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        lock(&self.0.register)
    }
}

/// The claim of one autoscaler, or of one role of it; removed when dropped.
#[derive(Debug)]
pub(crate) struct ClaimGuard {
    claims: Claims,
    claimant: Claimant,
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
        self.claims.0.changed.notify_waiters();
    }

    /// Waits until it is settled whether the claimant has its target. The answer is never
    /// [`Ownership::Unsettled`].
    pub(crate) async fn settled_ownership(&self) -> Ownership {
        loop {
            // Created before the check, so that a change between the check and the wait is noticed.
            let changed = self.claims.0.changed.notified();
            match self.ownership() {
                Ownership::Unsettled => changed.await,
                ownership => return ownership,
            }
        }
    }

    /// Returns whether the claimant has its target, as far as is known now.
    pub(crate) fn ownership(&self) -> Ownership {
        self.claims.lock().ownership(&self.claimant)
    }

    /// Returns the names of autoscalers of other targets that select any of these pods too.
    pub(crate) fn overlapping(&self, pods: &Members) -> Vec<String> {
        self.claims.lock().overlapping(&self.claimant, pods)
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.claimant);
        self.claims.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1 as core;
    use llm_autoscaler_api::selector;
    use llm_autoscaler_observe::pod::Pod;
    use serde_json::json;

    use super::*;

    fn claimant(namespace: &str, name: &str, second: i64) -> Claimant {
        Claimant {
            created: DateTime::from_timestamp(second, 0).unwrap(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: format!("uid-of-{name}-{second}"),
            role: None,
        }
    }

    fn target(uid: &str, selector: &str) -> Claim {
        Claim::Target { uid: uid.to_owned(), selector: selector::parse(selector).ok() }
    }

    fn register(claims: &[(Claimant, Claim)]) -> Register {
        let mut register = Register { is_complete: true, ..Register::default() };
        for (claimant, claim) in claims {
            register.set(claimant, claim.clone());
        }
        register
    }

    #[test]
    fn the_oldest_keeps_a_target() {
        let mine = || (claimant("ns", "m", 5), target("t", "a=1"));
        let taken = || Ownership::TakenBy("other".to_owned());
        // the other claimant and its claim; the answer to ours
        let table = [
            (claimant("ns", "other", 4), target("t", "a=1"), taken()),
            (claimant("ns", "other", 6), target("t", "a=1"), Ownership::Owner),
            // Autoscalers of one age are ordered by name.
            (claimant("ns", "a", 5), target("t", ""), Ownership::TakenBy("a".to_owned())),
            (claimant("ns", "z", 5), target("t", ""), Ownership::Owner),
            // Another target, another namespace.
            (claimant("ns", "other", 4), target("u", "a=1"), Ownership::Owner),
            (claimant("elsewhere", "other", 4), target("t", "a=1"), Ownership::Owner),
            // An older one that still searches may turn out to be the owner; a younger one cannot.
            (claimant("ns", "other", 4), Claim::Searching, Ownership::Unsettled),
            (claimant("ns", "other", 6), Claim::Searching, Ownership::Owner),
            (claimant("ns", "other", 4), Claim::Nothing, Ownership::Owner),
            // An older one that only recommends leaves the target to others.
            (claimant("ns", "other", 4), Claim::Beside { uid: "t".to_owned() }, Ownership::Owner),
        ];
        for (other, claim, expected) in table {
            let register = register(&[mine(), (other.clone(), claim.clone())]);
            assert_eq!(register.ownership(&mine().0), expected, "{other:?} {claim:?}");
        }
    }

    #[test]
    fn a_target_has_no_owner_before_all_autoscalers_are_registered() {
        let mine = claimant("ns", "m", 5);
        let mut register = register(&[(mine.clone(), target("t", "a=1"))]);
        register.is_complete = false;
        assert_eq!(register.ownership(&mine), Ownership::Unsettled);
        register.set(&claimant("ns", "older", 1), target("t", "a=1"));
        assert_eq!(register.ownership(&mine), Ownership::TakenBy("older".to_owned()));
    }

    #[test]
    fn the_next_oldest_takes_over_when_the_owner_goes() {
        let [first, second, third] =
            [("a", 3), ("b", 1), ("c", 2)].map(|(name, at)| claimant("ns", name, at));
        let all = [&first, &second, &third];
        let mut register = register(&all.map(|claimant| (claimant.clone(), target("t", ""))));
        let owners = |register: &Register| {
            all.map(|claimant| register.ownership(claimant) == Ownership::Owner)
        };
        assert_eq!(owners(&register), [false, true, false]);
        register.remove(&second);
        assert_eq!(owners(&register), [false, false, true]);
        register.set(&third, Claim::Nothing);
        assert_eq!(owners(&register), [true, false, false]);
    }

    #[test]
    fn two_targets_with_the_same_pods_overlap() {
        let pod = json!({
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "p", "labels": {"app": "a", "tier": "x"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"containers": []},
        });
        let pod = Pod::of(&serde_json::from_value::<core::Pod>(pod).unwrap()).unwrap();
        let pods: Members = Arc::new(BTreeMap::from([("p".to_owned(), Arc::new(pod))]));
        let mine = claimant("ns", "m", 5);
        let table = [
            (claimant("ns", "other", 9), target("u", "tier=x"), vec!["other".to_owned()]),
            (claimant("ns", "other", 9), target("u", "tier=y"), Vec::new()),
            (claimant("elsewhere", "other", 9), target("u", "tier=x"), Vec::new()),
            // Another autoscaler of this target: age decides, not pods.
            (claimant("ns", "other", 9), target("t", "app=a"), Vec::new()),
            (claimant("ns", "other", 9), Claim::Nothing, Vec::new()),
        ];
        for (other, claim, expected) in table {
            let register =
                register(&[(mine.clone(), target("t", "app=a")), (other, claim.clone())]);
            assert_eq!(register.overlapping(&mine, &pods), expected, "{claim:?}");
        }
    }

    #[test]
    fn a_dropped_claim_is_removed() {
        let claims = Claims::default();
        claims.complete_listing();
        let spec = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {
                "name": "a", "namespace": "ns", "uid": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
                "engine": "VLLM", "maxReplicas": 3, "metrics": [],
            },
        });
        let older: LLMAutoscaler = serde_json::from_value(spec).unwrap();
        let mut younger = older.clone();
        younger.metadata.name = Some("b".to_owned());
        let (first, second) = (claims.register(&older, None), claims.register(&younger, None));
        second.claim("t", None);
        assert_eq!(second.ownership(), Ownership::Unsettled);
        first.end_search();
        assert_eq!(second.ownership(), Ownership::Owner);
        first.claim("t", None);
        first.end_search();
        assert_eq!(second.ownership(), Ownership::TakenBy("a".to_owned()));
        drop(first);
        assert_eq!(second.ownership(), Ownership::Owner);
        drop(second);
        assert!(claims.lock().namespaces.is_empty());
    }
}
