//! The texts about whatever keeps the operator from writing to a target.

use chrono::{DateTime, SecondsFormat, Utc};
use llm_autoscaler_api::{
    LLMAutoscaler, PAUSED,
    conditions::{ConditionType, ConditionUpdate, Reason},
};
use llm_autoscaler_core::Decision;

use crate::ownership::{
    manual_changes::{RespectedChange, SizeChange},
    write_block::WriteBlock,
};

/// Returns `Ready` of an autoscaler that does all that it should. Pausing is on purpose and nothing
/// to wait for, so `Ready` stays True.
pub(super) fn ready(block: &WriteBlock) -> ConditionUpdate {
    let (reason, message) = if block.paused {
        (
            Reason::Paused,
            "the target is found and its metrics are read; nothing is written to it while paused",
        )
    } else if block.manual_change.is_some() {
        (
            Reason::ManualChange,
            "the target is found and its metrics are read; a size set by another writer is respected",
        )
    } else {
        (Reason::Scaling, "the target is found, its metrics are read and its size is managed")
    };
    ConditionUpdate::yes(ConditionType::Ready, reason, message)
}

/// Returns `Paused` while the autoscaler is paused, with the size that it would write otherwise.
pub(super) fn paused(
    block: &WriteBlock,
    reference: &str,
    decision: &Decision,
) -> Option<ConditionUpdate> {
    block.paused.then(|| by_annotation(reference, &format!("; {}", otherwise(decision))))
}

/// Returns `Paused` while the autoscaler is paused and there is no decision. `reference` is its
/// target, or all of them.
pub(crate) fn paused_without_decision(
    object: &LLMAutoscaler,
    reference: &str,
) -> Option<ConditionUpdate> {
    object.is_paused().then(|| by_annotation(reference, ""))
}

/// Returns `ManualChange` while a size set by another writer is respected: the writer, until when,
/// and the size that the autoscaler would write otherwise.
pub(super) fn manual_change(block: &WriteBlock, decision: &Decision) -> Option<ConditionUpdate> {
    let RespectedChange { change, until } = block.manual_change.as_ref()?;
    let message = format!(
        "{} has changed the size from {} to {} at {}, which is respected until {}; {}",
        change.author(),
        change.from,
        change.to,
        moment(change.at),
        moment(*until),
        otherwise(decision)
    );
    Some(ConditionUpdate::yes(ConditionType::ManualChange, Reason::Respected, message))
}

/// Returns the text of the event about another writer that changes the size again and again.
pub(crate) fn contested(target: &str, change: &SizeChange) -> String {
    let (author, SizeChange { from, to, .. }) = (change.author(), change);
    format!(
        "{author} has changed the size of {target} three times within 10 minutes against this \
         autoscaler, most recently from {from} to {to}: remove spec.replicas from what it applies, or \
         pause this autoscaler with the annotation {PAUSED} (docs/targets.md)"
    )
}

fn by_annotation(reference: &str, otherwise: &str) -> ConditionUpdate {
    let message = format!(
        "nothing is written to {reference} while this object has the annotation {PAUSED}{otherwise}"
    );
    ConditionUpdate::yes(ConditionType::Paused, Reason::PausedByAnnotation, message)
}

/// Describes what the autoscaler would do now if nothing kept it from writing.
fn otherwise(decision: &Decision) -> String {
    match decision.rescale() {
        Some(to) => format!("it would be scaled from {} to {to} now", decision.current),
        None => format!("it would stay at {} now", decision.current),
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
