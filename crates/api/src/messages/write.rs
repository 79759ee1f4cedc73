//! The texts about reading and writing the scale.

use super::{EventMessage, Step};
use crate::conditions::{ConditionType, ConditionUpdate, Reason};

/// The texts after a write of the scale, or a failed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The conditions, in the order in which to set them.
    pub conditions: Vec<ConditionUpdate>,
    /// The event.
    pub event: EventMessage,
    /// The error that the step ends with, if the write failed.
    pub error: Option<String>,
}

/// Returns the condition with which every step begins.
pub fn got_scale() -> ConditionUpdate {
    ConditionUpdate::yes(
        ConditionType::AbleToScale,
        Reason::SucceededGetScale,
        "the HPA controller was able to get the target's current scale",
    )
}

/// Returns the condition and the event of a step that ends because the scale could not be read.
pub fn failed_get_scale(error: &str) -> (ConditionUpdate, EventMessage) {
    let message =
        format!("the HPA controller was unable to get the target's current scale: {error}");
    (
        ConditionUpdate::no(ConditionType::AbleToScale, Reason::FailedGetScale, message),
        EventMessage::warning(Reason::FailedGetScale, error),
    )
}

/// Returns the error of such a step; `reference` is the target as `KIND/NAMESPACE/NAME`.
pub fn failed_get_scale_error(reference: &str, error: &str) -> String {
    format!("failed to query scale subresource for {reference}: {error}")
}

/// Returns the condition that tells whether the latest write was one to zero.
pub fn scaled_to_zero(to_zero: bool) -> ConditionUpdate {
    if to_zero {
        let message = "the HPA controller scaled the workload to zero";
        ConditionUpdate::yes(ConditionType::ScaledToZero, Reason::ScaledToZero, message)
    } else {
        let message = "the HPA controller did not scale the workload to zero";
        ConditionUpdate::no(ConditionType::ScaledToZero, Reason::NotScaledToZero, message)
    }
}

impl Step<'_> {
    /// Returns the texts after an attempt to write `replicas` to the scale.
    ///
    /// `reference` is the target as `KIND/NAMESPACE/NAME`. Every successful write sets
    /// `ScaledToZero`, unless scaling to zero is off.
    pub fn after_write(&self, reference: &str, replicas: i32, result: Result<(), &str>) -> Written {
        let summary = format!("New size: {replicas}; reason: {}", self.reason());
        if let Err(error) = result {
            let message =
                format!("the HPA controller was unable to update the target scale: {error}");
            return Written {
                conditions: vec![ConditionUpdate::no(
                    ConditionType::AbleToScale,
                    Reason::FailedUpdateScale,
                    message,
                )],
                event: EventMessage::warning(
                    Reason::FailedRescale,
                    format!("{summary}; error: {error}"),
                ),
                error: Some(format!("failed to rescale {reference}: {error}")),
            };
        }
        let message =
            format!("the HPA controller was able to update the target scale to {replicas}");
        let mut conditions = vec![ConditionUpdate::yes(
            ConditionType::AbleToScale,
            Reason::SucceededRescale,
            message,
        )];
        if self.policy.settings.scale_to_zero {
            conditions.push(self.scaled_to_zero(replicas));
        }
        Written {
            conditions,
            event: EventMessage::normal(Reason::SuccessfulRescale, summary),
            error: None,
        }
    }

    fn scaled_to_zero(&self, replicas: i32) -> ConditionUpdate {
        let to_zero = self.decision.current > 0 && replicas == 0;
        scaled_to_zero(to_zero && self.policy.may_be_at_zero())
    }
}
