//! Owners that drive the size of a target, as its `ownerReferences` say: read once for each target, and once a minute.

use std::time::Duration;

use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::Monotonic;
use tracing::debug;

use crate::{
    ownership::refusal::Refusal,
    scale::client::{Place, ScaleView, Targets},
};

/// How long an answer is believed; an owner seldom comes later than what it owns.
const BELIEVED: Duration = Duration::from_mins(1);

/// What was found when the owners of a target were last read.
#[derive(Default)]
pub struct OwnerReferences {
    read: Option<(String, Monotonic)>,
    refusal: Option<Refusal>,
}

impl OwnerReferences {
    /// Returns why the target is driven by its owner, where it is. An answer is kept for a minute.
    pub async fn refusal(
        &mut self,
        targets: &Targets,
        namespace: &str,
        target: &ScaleTargetRef,
        view: &ScaleView,
        now: Monotonic,
    ) -> Option<Refusal> {
        let is_fresh =
            |(uid, at): &(String, Monotonic)| *uid == view.uid && now.since(*at) < BELIEVED;
        if !self.read.as_ref().is_some_and(is_fresh) {
            self.refusal = find_owner(targets, namespace, target, view).await;
            self.read = Some((view.uid.clone(), now));
        }
        self.refusal.clone()
    }
}

/// Metadata that cannot be read stops nothing.
async fn find_owner(
    targets: &Targets,
    namespace: &str,
    target: &ScaleTargetRef,
    view: &ScaleView,
) -> Option<Refusal> {
    // The adapter of a role belongs to the group, which leaves the size to it.
    if matches!(view.place, Place::Adapter(_)) {
        return None;
    }
    let metadata = match targets.metadata(namespace, target, view).await {
        Ok(metadata) => metadata,
        Err(error) => {
            debug!(namespace, target = target.name, %error, "cannot read the target's metadata, so its owner is not known");
            return None;
        }
    };
    let owners = metadata.owner_references.unwrap_or_default();
    let (owner, kind) = workloads::scaling_owner(&target.kind, &owners)?;
    Some(Refusal::Driven { owner: owner.clone(), kind })
}
