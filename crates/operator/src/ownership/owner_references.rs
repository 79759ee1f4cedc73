//! The `ownerReferences` of a target: an owner may be a controller that sets the target's size.

use std::time::Duration;

use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::Monotonic;
use tracing::debug;

use crate::{
    ownership::refusal::Refusal,
    scale::{
        client::ScaleClient,
        view::{ScaleLocation, ScaleView},
    },
};

/// The age at which owners are read again. An object seldom gets an owner after its creation.
const MAX_AGE: Duration = Duration::from_mins(1);

/// The owners of one target, as they were last read.
#[derive(Default)]
pub(crate) struct OwnerReferences {
    latest: Option<Reading>,
}

struct Reading {
    /// The UID of the target.
    uid: String,
    at: Monotonic,
    refusal: Option<Refusal>,
}

impl OwnerReferences {
    /// Returns why the target is left to its owner, if it is. An answer is kept for a minute.
    pub(crate) async fn refusal(
        &mut self,
        client: &ScaleClient,
        namespace: &str,
        target: &ScaleTargetRef,
        view: &ScaleView,
        now: Monotonic,
    ) -> Option<Refusal> {
        if let Some(Reading { uid, at, refusal }) = &self.latest
            && *uid == view.uid
            && now.since(*at) < MAX_AGE
        {
            return refusal.clone();
        }
        let refusal = find_owner(client, namespace, target, view).await;
        self.latest = Some(Reading { uid: view.uid.clone(), at: now, refusal: refusal.clone() });
        refusal
    }
}

/// Finds an owner that sets the target's size. Metadata that cannot be read is no obstacle.
async fn find_owner(
    client: &ScaleClient,
    namespace: &str,
    target: &ScaleTargetRef,
    view: &ScaleView,
) -> Option<Refusal> {
    // The group owns the adapter of a role, and leaves the size to it.
    if matches!(view.location, ScaleLocation::Adapter(_)) {
        return None;
    }
    let metadata = match client.get_metadata(namespace, target, view).await {
        Ok(metadata) => metadata,
        Err(error) => {
            debug!(
                namespace, target = target.name, %error,
                "cannot read the target's metadata, so its owner is not known"
            );
            return None;
        }
    };
    let owners = metadata.owner_references.unwrap_or_default();
    let (owner, kind) = workloads::scaling_owner(&target.kind, &owners)?;
    Some(Refusal::Owner { owner: owner.clone(), kind })
}
