//! Why a target that was found is left alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use llm_autoscaler_api::workloads::ScalingOwner;

use crate::cluster::other_autoscalers::OtherAutoscaler;

/// The reason why a target that was found is left alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It belongs to an older LLMAutoscaler of this name.
    Claimed(String),
    /// Another kind of autoscaler scales it.
    Scaled(OtherAutoscaler),
    /// Its owner would undo what is written to it.
    Driven {
        /// The owner.
        owner: OwnerReference,
        /// What is known of the owner's kind.
        kind: &'static ScalingOwner,
    },
}
