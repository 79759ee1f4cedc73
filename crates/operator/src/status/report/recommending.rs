//! The texts and numbers about a target that is only watched, and what it would have.

use llm_autoscaler_api::{
    RecommendationStatus, ScaleTargetRef, TargetStatus,
    conditions::{ConditionType, ConditionUpdate, Reason},
};
use llm_autoscaler_core::RoleMemory;

/// Returns `Ready` of an autoscaler that recommends, once its target is found and measured. A
/// recommendation is all that the spec asks for, so `Ready` is True.
pub(super) fn ready() -> ConditionUpdate {
    let message = "the target is found and its metrics are read; its size is left to others, and \
                   recommended here";
    ConditionUpdate::yes(ConditionType::Ready, Reason::Recommending, message)
}

/// Returns `Recommending` with both sizes.
pub(super) fn condition(target: &ScaleTargetRef, current: i32, desired: i32) -> ConditionUpdate {
    let message = format!(
        "nothing is written to {target} with mode Recommend: its size is {current}, and \
         {desired} is recommended"
    );
    ConditionUpdate::yes(ConditionType::Recommending, Reason::RecommendMode, message)
}

/// Returns the recommendation for the status. The one before stays while only its bill has grown by
/// less than five minutes, so that a quiet target has its status written no more often than others.
pub(super) fn status(
    before: Option<&TargetStatus>,
    memory: &RoleMemory,
) -> Option<RecommendationStatus> {
    let latest = RecommendationStatus::of(memory.shadow.as_ref()?);
    let before = before.and_then(|target| target.recommendation.as_deref());
    let kept = before.filter(|before| !latest.is_news(before)).cloned();
    Some(kept.unwrap_or(latest))
}
