//! What keeps the operator from writing to a target, in words.

use llm_autoscaler_api::{self as api, LLMAutoscaler, conditions::ConditionUpdate};

use super::{PAUSED, Report, reference};

/// `Ready` of an autoscaler that does all that it is to do. Who pauses it on purpose has nothing to wait for, so it stays True.
pub(super) fn ready(report: &Report<'_>) -> ConditionUpdate {
    let (reason, message) = if report.restraint.paused {
        ("Paused", "the target is found, its metrics are read; nothing is written while it is paused")
    } else {
        ("Scaling", "the target is found, its metrics are read, its size is kept")
    };
    ConditionUpdate::yes("Ready", reason, message)
}

/// While it is paused: that it is, and what would be done if it were not.
pub(super) fn paused(report: &Report<'_>) -> Option<ConditionUpdate> {
    report.restraint.paused.then(|| by_annotation(report.object, &format!("; {}", otherwise(report))))
}

/// The same where there is no decision.
pub(super) fn paused_without_decision(object: &LLMAutoscaler) -> Option<ConditionUpdate> {
    object.is_paused().then(|| by_annotation(object, ""))
}

fn by_annotation(object: &LLMAutoscaler, otherwise: &str) -> ConditionUpdate {
    let (target, annotation) = (reference(object), api::PAUSED);
    let message = format!(
        "nothing is written to {target} while this object has the annotation {annotation}{otherwise}"
    );
    ConditionUpdate::yes(PAUSED, "PausedByAnnotation", message)
}

/// What would be done now if nothing kept us from it.
fn otherwise(report: &Report<'_>) -> String {
    let decision = report.step.decision;
    match decision.rescale() {
        Some(to) => format!("it would be scaled from {} to {to} now", decision.current),
        None => format!("it would stay at {} now", decision.current),
    }
}
