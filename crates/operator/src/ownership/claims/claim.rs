//! A claim, and the answer to it.

use chrono::{DateTime, Utc};
use kube::{ResourceExt, core::Selector};
use llm_autoscaler_api::{LLMAutoscaler, time};

/// An autoscaler, or one role of it, that claims a target. Claimants are ordered by age: the oldest
/// is the least, and precedes all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claimant {
    pub(super) created: DateTime<Utc>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// The name of the role, where the autoscaler has several.
    pub(super) role: Option<String>,
}

impl Claimant {
    /// Returns the claimant for an autoscaler's only target, or for one of its roles.
    pub(super) fn of(object: &LLMAutoscaler, role: Option<&str>) -> Self {
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
pub(super) enum Claim {
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

impl Claim {
    /// Returns whether the object with this UID is claimed.
    pub(super) fn is_of(&self, target: &str) -> bool {
        matches!(self, Self::Target { uid, .. } if uid == target)
    }
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
