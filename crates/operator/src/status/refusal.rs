//! The texts about targets that this autoscaler must not scale.

use llm_autoscaler_api::{
    conditions::{ConditionType, ConditionUpdate, Reason},
    messages::EventMessage,
};

use crate::ownership::refusal::Refusal;

/// The texts about a target that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusalTexts {
    /// The condition. `Ready` is False with the same reason.
    pub condition: ConditionUpdate,
    /// The event.
    pub event: EventMessage,
    /// Waiting does not help, so `Stalled` is True.
    pub terminal: bool,
}

/// Returns the condition of an autoscaler beyond the limit of its namespace.
pub(crate) fn too_many_autoscalers(most: usize) -> ConditionUpdate {
    let message = format!(
        "the namespace has more than {most} LLMAutoscalers, and this one is not among the oldest: \
         nothing is done for it; delete others, or have the operator's \
         --autoscalers-per-namespace raised"
    );
    ConditionUpdate::no(ConditionType::ScalingActive, Reason::TooManyAutoscalers, message)
}

/// Returns the condition of an autoscaler with a spec that is larger than this.
pub(crate) fn too_large_spec(largest: usize) -> ConditionUpdate {
    let message = format!(
        "the spec takes more than {} KiB with its texts, of which each counts 32 bytes more: \
         nothing is done for it; shorten its selectors, or use several LLMAutoscalers",
        largest >> 10
    );
    ConditionUpdate::no(ConditionType::ScalingActive, Reason::InvalidSpec, message)
}

impl RefusalTexts {
    /// The texts about a target, named as KIND/NAME.
    pub(crate) fn new(target: &str, refusal: &Refusal) -> Self {
        let (reason, message) = match refusal {
            Refusal::OlderClaim(owner) => (
                Reason::TargetTaken,
                format!(
                    "{target} belongs to the LLMAutoscaler {owner}, which is older: nothing is \
                     written to it; delete one of the two, or give it another target"
                ),
            ),
            Refusal::OtherAutoscaler(other) => (
                Reason::TargetTaken,
                format!(
                    "{target} is scaled by the {kind} {}: nothing is written to it; delete the \
                     {kind}, or give one of the two another target",
                    other.name,
                    kind = other.kind
                ),
            ),
            Refusal::Owner { owner, kind } => (
                Reason::TargetControlled,
                format!(
                    "{target} belongs to the {} {}, which drives its size: nothing is written to \
                     it; scale {} instead",
                    owner.kind,
                    owner.name,
                    kind.instead.replace("NAME", &owner.name)
                ),
            ),
            Refusal::UndoingOwner { owner, change } => (
                Reason::TargetControlled,
                format!(
                    "{target} belongs to the {} {} ({}), which seems to drive its size: {} changed \
                     it again and again, most recently from {} to {}; nothing is written to it; \
                     have that {} leave the size to others, or scale it instead, and delete this \
                     object; a change of this spec has it tried again",
                    owner.kind,
                    owner.name,
                    owner.api_version,
                    change.author(),
                    change.from,
                    change.to,
                    owner.kind,
                ),
            ),
        };
        let condition = ConditionUpdate::no(ConditionType::AbleToScale, reason, message.clone());
        let event = EventMessage { warning: true, reason, message };
        // Another autoscaler may be about to be deleted; an owner stays.
        let terminal = matches!(refusal, Refusal::Owner { .. } | Refusal::UndoingOwner { .. });
        Self { condition, event, terminal }
    }
}
