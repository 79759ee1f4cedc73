//! Targets that are not ours to scale, in words.

use llm_autoscaler_api::{conditions::ConditionUpdate, words::EventWords};

use super::ABLE_TO_SCALE;

/// The reason where another autoscaler scales the target.
const TAKEN: &str = "TargetTaken";

/// What is said of a target that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The condition; `Ready` is False for the same reason.
    pub condition: ConditionUpdate,
    /// The event.
    pub event: EventWords,
}

impl Refusal {
    /// The target belongs to an older LLMAutoscaler.
    pub fn taken(target: &str, owner: &str) -> Self {
        Self::new(
            TAKEN,
            format!(
                "{target} belongs to the LLMAutoscaler {owner}, which is older: nothing is written to it; delete one of the two, \
                 or give it another target"
            ),
        )
    }

    fn new(reason: &'static str, message: String) -> Self {
        let condition = ConditionUpdate::no(ABLE_TO_SCALE, reason, message.clone());
        Self { condition, event: EventWords { warning: true, reason, message } }
    }
}
