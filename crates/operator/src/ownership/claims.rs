//! Whose a target is: of several autoscalers of the same target the oldest one's.
//!
//! Targets are of the autoscaler's own namespace, so it is enough to look at the others of that namespace. An autoscaler that has
//! not looked for its target yet may turn out to be the owner of any, so younger ones wait for it: it is a matter of moments.

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
use tokio::sync::Notify;

use crate::lock::lock;

use llm_autoscaler_observe::pod::Members;

/// By what autoscalers are ordered: the oldest is the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    created: DateTime<Utc>,
    namespace: String,
    name: String,
    uid: String,
    /// One of several targets of the autoscaler, by its name.
    role: Option<String>,
}

impl Precedence {
    /// That of an autoscaler; where it has several targets, for one of them.
    pub fn of(object: &LLMAutoscaler, role: Option<&str>) -> Self {
        Self {
            created: object
                .creation_timestamp()
                .as_ref()
                .map(time::from_kubernetes)
                .unwrap_or_default(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
            role: role.map(str::to_owned),
        }
    }
}

/// What an autoscaler scales.
#[derive(Clone, Debug, PartialEq)]
enum Claim {
    /// Nobody knows yet.
    Looking,
    /// Nothing: its target is not there, or its spec means nothing.
    Nothing,
    /// A target.
    Target {
        /// The UID of what is scaled.
        uid: String,
        /// Which pods are the target's, where that can be said.
        selector: Option<Selector>,
    },
}

/// Whether a target may be scaled by who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It is its own.
    Owner,
    /// Not yet: an older autoscaler has not looked for its target yet.
    Unsettled,
    /// It belongs to an older autoscaler of this name.
    TakenBy(String),
}

/// What all autoscalers claim.
#[derive(Debug, Default)]
struct Register {
    /// All autoscalers that there were when the operator started are in it.
    is_complete: bool,
    namespaces: HashMap<String, BTreeMap<Precedence, Claim>>,
}

impl Register {
    fn set(&mut self, who: &Precedence, claim: Claim) {
        self.namespaces.entry(who.namespace.clone()).or_default().insert(who.clone(), claim);
    }

    fn remove(&mut self, who: &Precedence) {
        if let Some(namespace) = self.namespaces.get_mut(&who.namespace) {
            namespace.remove(who);
            if namespace.is_empty() {
                self.namespaces.remove(&who.namespace);
            }
        }
    }

    fn claims_in_namespace(&self, who: &Precedence) -> impl Iterator<Item = (&Precedence, &Claim)> {
        self.namespaces.get(&who.namespace).into_iter().flatten()
    }

    fn claim_of(&self, who: &Precedence) -> Option<&Claim> {
        self.namespaces.get(&who.namespace)?.get(who)
    }

    /// Whose the target is that `who` claims.
    fn ownership(&self, who: &Precedence) -> Ownership {
        let Some(Claim::Target { uid: mine, .. }) = self.claim_of(who) else {
            return Ownership::Unsettled;
        };
        let mut is_settled = self.is_complete;
        for (other, claim) in self.claims_in_namespace(who).take_while(|(other, _)| *other < who) {
            match claim {
                Claim::Target { uid, .. } if uid == mine => {
                    return Ownership::TakenBy(other.name.clone());
                }
                Claim::Looking => is_settled = false,
                Claim::Target { .. } | Claim::Nothing => {}
            }
        }
        if is_settled { Ownership::Owner } else { Ownership::Unsettled }
    }

    /// The names of the autoscalers of other targets that select any of these pods too.
    fn overlapping(&self, who: &Precedence, pods: &Members) -> Vec<String> {
        let Some(Claim::Target { uid: mine, .. }) = self.claim_of(who) else { return Vec::new() };
        let selects = |selector: &Selector| pods.values().any(|pod| selector.matches(&pod.labels));
        let overlaps = |(other, claim): &(&Precedence, &Claim)| match claim {
            Claim::Target { uid, selector: Some(selector) } => {
                *other != who && uid != mine && selects(selector)
            }
            Claim::Target { .. } | Claim::Looking | Claim::Nothing => false,
        };
        self.claims_in_namespace(who)
            .filter(overlaps)
            .map(|(other, _)| other.name.clone())
            .collect()
    }
}

/// What all autoscalers claim; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    register: Mutex<Register>,
    /// Somebody who may have been waited for has looked.
    looked: Notify,
}

impl Claims {
    /// All autoscalers that there were when the operator started have begun.
    pub fn complete_listing(&self) {
        self.lock().is_complete = true;
        self.0.looked.notify_waiters();
    }

    /// An autoscaler begins to look for its target, or for that of one of its roles.
    pub fn register(&self, object: &LLMAutoscaler, role: Option<&str>) -> ClaimGuard {
        let who = Precedence::of(object, role);
        self.lock().set(&who, Claim::Looking);
        ClaimGuard { claims: self.clone(), who }
    }

    fn lock(&self) -> MutexGuard<'_, Register> {
        lock(&self.0.register)
    }
}

/// What one autoscaler claims; given back when dropped.
#[derive(Debug)]
pub struct ClaimGuard {
    claims: Claims,
    who: Precedence,
}

impl ClaimGuard {
    /// It has found its target.
    pub fn claim(&self, uid: &str, selector: Option<Selector>) {
        self.set(Claim::Target { uid: uid.to_owned(), selector });
    }

    /// It has no target.
    pub fn release(&self) {
        self.set(Claim::Nothing);
    }

    /// Its target could not be looked at: what it had it keeps, and nobody waits for it any longer.
    pub fn stop_looking(&self) {
        if self.claims.lock().claim_of(&self.who) == Some(&Claim::Looking) {
            self.set(Claim::Nothing);
        }
    }

    fn set(&self, claim: Claim) {
        self.claims.lock().set(&self.who, claim);
        self.claims.0.looked.notify_waiters();
    }

    /// Whose the target is, once that can be said.
    pub async fn settled_ownership(&self) -> Ownership {
        loop {
            // Notified from here on, so that nobody is missed between looking and waiting.
            let looked = self.claims.0.looked.notified();
            match self.ownership() {
                Ownership::Unsettled => looked.await,
                ownership => return ownership,
            }
        }
    }

    /// Whose the target is.
    pub fn ownership(&self) -> Ownership {
        self.claims.lock().ownership(&self.who)
    }

    /// The names of the autoscalers of other targets that select any of these pods too.
    pub fn overlapping(&self, pods: &Members) -> Vec<String> {
        self.claims.lock().overlapping(&self.who, pods)
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.who);
        self.claims.0.looked.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1 as core;
    use llm_autoscaler_api::selector;
    use serde_json::json;

    use super::*;
    use llm_autoscaler_observe::pod::Pod;

    fn who(namespace: &str, name: &str, second: i64) -> Precedence {
        Precedence {
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

    fn register(claims: &[(Precedence, Claim)]) -> Register {
        let mut register = Register { is_complete: true, ..Register::default() };
        for (who, claim) in claims {
            register.set(who, claim.clone());
        }
        register
    }

    #[test]
    fn the_oldest_keeps_a_target() {
        let mine = || (who("ns", "m", 5), target("t", "a=1"));
        let taken = || Ownership::TakenBy("other".to_owned());
        let table = [
            (who("ns", "other", 4), target("t", "a=1"), taken()),
            (who("ns", "other", 6), target("t", "a=1"), Ownership::Owner),
            // The same age: by name.
            (who("ns", "a", 5), target("t", ""), Ownership::TakenBy("a".to_owned())),
            (who("ns", "z", 5), target("t", ""), Ownership::Owner),
            // Another target, another namespace.
            (who("ns", "other", 4), target("u", "a=1"), Ownership::Owner),
            (who("elsewhere", "other", 4), target("t", "a=1"), Ownership::Owner),
            // An older one that has not looked may yet turn out to be the owner; a younger one cannot.
            (who("ns", "other", 4), Claim::Looking, Ownership::Unsettled),
            (who("ns", "other", 6), Claim::Looking, Ownership::Owner),
            (who("ns", "other", 4), Claim::Nothing, Ownership::Owner),
        ];
        for (other, claim, expected) in table {
            let register = register(&[mine(), (other.clone(), claim.clone())]);
            assert_eq!(register.ownership(&mine().0), expected, "{other:?} {claim:?}");
        }
    }

    #[test]
    fn nobody_owns_anything_before_all_are_known() {
        let mine = who("ns", "m", 5);
        let mut register = register(&[(mine.clone(), target("t", "a=1"))]);
        register.is_complete = false;
        assert_eq!(register.ownership(&mine), Ownership::Unsettled);
        register.set(&who("ns", "older", 1), target("t", "a=1"));
        assert_eq!(register.ownership(&mine), Ownership::TakenBy("older".to_owned()));
    }

    #[test]
    fn when_the_owner_goes_the_next_takes_over() {
        let [first, second, third] =
            [("a", 3), ("b", 1), ("c", 2)].map(|(name, at)| who("ns", name, at));
        let all = [&first, &second, &third];
        let mut register = register(&all.map(|who| (who.clone(), target("t", ""))));
        let owners =
            |register: &Register| all.map(|who| register.ownership(who) == Ownership::Owner);
        assert_eq!(owners(&register), [false, true, false]);
        register.remove(&second);
        assert_eq!(owners(&register), [false, false, true]);
        register.set(&third, Claim::Nothing);
        assert_eq!(owners(&register), [true, false, false]);
    }

    #[test]
    fn pods_of_two_targets_make_rivals_of_both() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "p", "labels": {"app": "a", "tier": "x"},
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": []},
        });
        let pod = Pod::of(&serde_json::from_value::<core::Pod>(pod).unwrap()).unwrap();
        let pods: Members = Arc::new(BTreeMap::from([("p".to_owned(), Arc::new(pod))]));
        let mine = who("ns", "m", 5);
        let table = [
            (who("ns", "other", 9), target("u", "tier=x"), vec!["other".to_owned()]),
            (who("ns", "other", 9), target("u", "tier=y"), Vec::new()),
            (who("elsewhere", "other", 9), target("u", "tier=x"), Vec::new()),
            // Of the same target: that is a matter of age, not of pods.
            (who("ns", "other", 9), target("t", "app=a"), Vec::new()),
            (who("ns", "other", 9), Claim::Nothing, Vec::new()),
        ];
        for (other, claim, expected) in table {
            let register =
                register(&[(mine.clone(), target("t", "app=a")), (other, claim.clone())]);
            assert_eq!(register.overlapping(&mine, &pods), expected, "{claim:?}");
        }
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let claims = Claims::default();
        claims.complete_listing();
        let spec = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "a", "namespace": "ns", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
                "engine": "VLLM", "maxReplicas": 3, "metrics": []},
        });
        let older: LLMAutoscaler = serde_json::from_value(spec).unwrap();
        let mut younger = older.clone();
        younger.metadata.name = Some("b".to_owned());
        let (first, second) = (claims.register(&older, None), claims.register(&younger, None));
        second.claim("t", None);
        assert_eq!(second.ownership(), Ownership::Unsettled);
        first.stop_looking();
        assert_eq!(second.ownership(), Ownership::Owner);
        first.claim("t", None);
        first.stop_looking();
        assert_eq!(second.ownership(), Ownership::TakenBy("a".to_owned()));
        drop(first);
        assert_eq!(second.ownership(), Ownership::Owner);
        drop(second);
        assert!(claims.lock().namespaces.is_empty());
    }
}
