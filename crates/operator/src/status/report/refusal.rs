//! The texts about targets that this autoscaler must not scale.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use llm_autoscaler_api::{
    conditions::{ConditionType, ConditionUpdate, Reason},
    messages::EventMessage,
    workloads::ScalingOwner,
};

use crate::cluster::other_autoscalers::Driver;

/// Returns whether a reason means that nothing is decided about the target.
pub(super) fn is_obstacle(reason: &str) -> bool {
    [Reason::FailedGetScale, Reason::TargetTaken, Reason::TargetControlled]
        .iter()
        .any(|obstacle| obstacle.as_str() == reason)
}

/// The texts about a target that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The condition. `Ready` is False with the same reason.
    pub condition: ConditionUpdate,
    /// The event.
    pub event: EventMessage,
    /// Waiting does not help, so `Stalled` is True.
    pub terminal: bool,
}

impl Refusal {
    /// The target belongs to an older LLMAutoscaler.
    pub fn taken(target: &str, owner: &str) -> Self {
        Self::new(
            Reason::TargetTaken,
            format!(
                "{target} belongs to the LLMAutoscaler {owner}, which is older: nothing is written \
                 to it; delete one of the two, or give it another target"
            ),
        )
    }

    /// An HPA or a ScaledObject scales the target. It may be about to be deleted, so waiting may
    /// help.
    pub fn driven(target: &str, driver: &Driver) -> Self {
        let Driver { kind, name, .. } = driver;
        Self::new(
            Reason::TargetTaken,
            format!(
                "{target} is scaled by the {kind} {name}: nothing is written to it; delete the {kind}, \
                 or give one of the two another target"
            ),
        )
    }

    /// The owner of the target would undo what is written to it.
    pub fn controlled(target: &str, owner: &OwnerReference, parent: &ScalingOwner) -> Self {
        let OwnerReference { kind, name, .. } = owner;
        let instead = parent.instead.replace("NAME", name);
        let message = format!(
            "{target} belongs to the {kind} {name}, which drives its size: nothing is written to it; \
             scale {instead} instead"
        );
        Self { terminal: true, ..Self::new(Reason::TargetControlled, message) }
    }

    fn new(reason: Reason, message: String) -> Self {
        let condition = ConditionUpdate::no(ConditionType::AbleToScale, reason, message.clone());
        Self { condition, event: EventMessage { warning: true, reason, message }, terminal: false }
    }
}
