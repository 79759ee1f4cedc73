//! Owners that drive the size of a target: looked at once for each target, and once a minute.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use llm_autoscaler_api::workloads;
use tracing::debug;

use crate::reconcile::autoscaler::role::Role;
use crate::{scale::{client::{Place, ScaleView}, metadata::objects}, status::report::Refusal};

/// How long an answer is believed; an owner seldom comes later than what it owns.
const BELIEVED: Duration = Duration::from_mins(1);

/// What was found when the owners of a target were looked at.
#[derive(Default)]
pub(super) struct Parental {
    seen: Option<(String, Instant)>,
    refusal: Option<Refusal>,
}

impl Role {
    /// Why the target is somebody else's although no other LLMAutoscaler has it, if it is.
    pub(super) async fn driven(&mut self, view: &ScaleView) -> Option<Refusal> {
        let parent = self.parent(view).await;
        if parent.is_some() {
            return parent;
        }
        let namespace = self.object.namespace().unwrap_or_default();
        let objects = objects(&self.plan.target, view);
        let driver = self.context.drivers.of(&namespace, &objects).await?;
        Some(Refusal::driven(&self.reference(), &driver))
    }

    async fn parent(&mut self, view: &ScaleView) -> Option<Refusal> {
        let is_fresh = |(uid, at): &(String, Instant)| *uid == view.uid && at.elapsed() < BELIEVED;
        if !self.parent.seen.as_ref().is_some_and(is_fresh) {
            let refusal = self.find_parent(view).await;
            self.parent = Parental { seen: Some((view.uid.clone(), Instant::now())), refusal };
        }
        self.parent.refusal.clone()
    }

    /// What cannot be looked at stops nothing.
    async fn find_parent(&self, view: &ScaleView) -> Option<Refusal> {
        // The adapter of a role belongs to the group, which leaves the size to it.
        if matches!(view.place, Place::Adapter(_)) {
            return None;
        }
        let target = &self.plan.target;
        let namespace = self.object.namespace().unwrap_or_default();
        let metadata = match self.context.targets.metadata(&namespace, target, view).await {
            Ok(metadata) => metadata,
            Err(error) => {
                debug!(name = self.path(), %error, "the target's metadata cannot be read, so nobody knows who owns it");
                return None;
            }
        };
        let owners = metadata.owner_references.unwrap_or_default();
        let (owner, parent) = workloads::scaling_owner(&target.kind, &owners)?;
        Some(Refusal::controlled(&self.reference(), owner, parent))
    }
}
