//! What keeps the operator from writing to a target, in words.

use chrono::{DateTime, SecondsFormat, Utc};
use llm_autoscaler_api::{
    self as api, LLMAutoscaler,
    conditions::{ConditionType, ConditionUpdate, Reason},
};

use super::Report;
use crate::sizes::{Change, Respected};

/// `Ready` of an autoscaler that does all that it is to do. Who pauses it on purpose has nothing to wait for, so it stays True.
pub(super) fn ready(report: &Report<'_>) -> ConditionUpdate {
    let (reason, message) = if report.restraint.paused {
        (
            Reason::Paused,
            "the target is found, its metrics are read; nothing is written while it is paused",
        )
    } else if report.restraint.respected.is_some() {
        (
            Reason::ManualChange,
            "the target is found, its metrics are read; the size that somebody else has set is respected",
        )
    } else {
        (Reason::Scaling, "the target is found, its metrics are read, its size is kept")
    };
    ConditionUpdate::yes(ConditionType::Ready, reason, message)
}

/// While it is paused: that it is, and what would be done if it were not.
pub(super) fn paused(report: &Report<'_>) -> Option<ConditionUpdate> {
    report
        .restraint
        .paused
        .then(|| by_annotation(report.object, &format!("; {}", otherwise(report))))
}

/// The same where there is no decision.
pub(super) fn paused_without_decision(object: &LLMAutoscaler) -> Option<ConditionUpdate> {
    object.is_paused().then(|| by_annotation(object, ""))
}

/// While a size that somebody else has set is respected: whose, until when, and what would be done otherwise.
pub(super) fn manual_change(report: &Report<'_>) -> Option<ConditionUpdate> {
    let Respected { change, until } = report.restraint.respected.as_ref()?;
    let moment = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let message = format!(
        "{} has changed the size from {} to {} at {}, which is respected until {}; {}",
        change.author(),
        change.from,
        change.to,
        moment(change.at),
        moment(*until),
        otherwise(report)
    );
    Some(ConditionUpdate::yes(ConditionType::ManualChange, Reason::Respected, message))
}

/// What is said where somebody else changes the size again and again after us.
pub fn contested(target: &str, change: &Change) -> String {
    let (author, Change { from, to, .. }) = (change.author(), change);
    format!(
        "{author} has changed the size of {target} three times within 10 minutes against this autoscaler, just now from {from} to \
         {to}: leave spec.replicas out of what it applies, or pause this autoscaler with the annotation {} (docs/targets.md)",
        api::PAUSED
    )
}

fn by_annotation(object: &LLMAutoscaler, otherwise: &str) -> ConditionUpdate {
    let (target, annotation) = (object.spec.reference(), api::PAUSED);
    let message = format!(
        "nothing is written to {target} while this object has the annotation {annotation}{otherwise}"
    );
    ConditionUpdate::yes(ConditionType::Paused, Reason::PausedByAnnotation, message)
}

/// What would be done now if nothing kept us from it.
fn otherwise(report: &Report<'_>) -> String {
    let decision = report.step.decision;
    match decision.rescale() {
        Some(to) => format!("it would be scaled from {} to {to} now", decision.current),
        None => format!("it would stay at {} now", decision.current),
    }
}
