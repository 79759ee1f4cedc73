//! The texts about whatever keeps the operator from writing to a target.

use chrono::{DateTime, SecondsFormat, Utc};
use llm_autoscaler_api::{
    self as api, LLMAutoscaler,
    conditions::{ConditionType, ConditionUpdate, Reason},
};

use super::Report;
use crate::ownership::manual_changes::{Change, Respected};

/// Returns `Ready` of an autoscaler that does all that it should. Pausing is on purpose and nothing
/// to wait for, so `Ready` stays True.
pub(super) fn ready(report: &Report<'_>) -> ConditionUpdate {
    let (reason, message) = if report.restraint.paused {
        (
            Reason::Paused,
            "the target is found and its metrics are read; nothing is written to it while paused",
        )
    } else if report.restraint.respected.is_some() {
        (
            Reason::ManualChange,
            "the target is found and its metrics are read; a size set by another writer is respected",
        )
    } else {
        (Reason::Scaling, "the target is found, its metrics are read and its size is managed")
    };
    ConditionUpdate::yes(ConditionType::Ready, reason, message)
}

/// Returns `Paused` while the autoscaler is paused, with what it would do otherwise.
pub(super) fn paused(report: &Report<'_>) -> Option<ConditionUpdate> {
    report
        .restraint
        .paused
        .then(|| by_annotation(report.object, &format!("; {}", otherwise(report))))
}

/// Returns `Paused` while the autoscaler is paused and there is no decision.
pub(super) fn paused_without_decision(object: &LLMAutoscaler) -> Option<ConditionUpdate> {
    object.is_paused().then(|| by_annotation(object, ""))
}

/// Returns `ManualChange` while a size set by another writer is respected: the writer, until when,
/// and what the autoscaler would do otherwise.
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

/// Returns the text of the event about another writer that changes the size again and again.
pub fn contested(target: &str, change: &Change) -> String {
    let (author, Change { from, to, .. }) = (change.author(), change);
    format!(
        "{author} has changed the size of {target} three times within 10 minutes against this \
         autoscaler, most recently from {from} to {to}: remove spec.replicas from what it applies, or \
         pause this autoscaler with the annotation {} (docs/targets.md)",
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

/// Returns what the autoscaler would do now if nothing kept it from writing.
fn otherwise(report: &Report<'_>) -> String {
    let decision = report.step.decision;
    match decision.rescale() {
        Some(to) => format!("it would be scaled from {} to {to} now", decision.current),
        None => format!("it would stay at {} now", decision.current),
    }
}
