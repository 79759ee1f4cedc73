//! The refusal to scale a target that was found.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use llm_autoscaler_api::workloads::ScalingOwner;

use crate::{cluster::other_autoscalers::OtherAutoscaler, ownership::size_change::SizeChange};

/// The reason why a target that was found is left alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// An older LLMAutoscaler of this name has the target.
    OlderClaim(String),
    /// Another kind of autoscaler scales the target.
    OtherAutoscaler(OtherAutoscaler),
    /// The target's owner would revert what is written to it.
    Owner {
        /// The owner.
        owner: OwnerReference,
        /// The facts that are known of the owner's kind.
        kind: &'static ScalingOwner,
    },
    /// The target's owner, of a kind of which nothing is known, has undone what was written to it.
    UndoingOwner {
        /// The owner.
        owner: OwnerReference,
        /// The latest change of a size that the operator had written.
        change: SizeChange,
    },
}
