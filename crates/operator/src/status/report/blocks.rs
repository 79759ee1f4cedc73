//! The texts about whatever keeps the operator from writing to a target.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use llm_autoscaler_api::{
    Advice, LLMAutoscaler, PAUSED,
    conditions::{ConditionType, ConditionUpdate, Reason},
};
use llm_autoscaler_core::{Decision, Profile};

use crate::{
    ownership::{
        contest::{Contest, ContestState},
        manual_changes::RespectedChange,
        size_change::SizeChange,
        write_block::WriteBlock,
    },
    pace::SIZES,
};

/// The ways out of a contest.
const REMEDY: &str = "remove spec.replicas from what it applies, scale the object that it follows, or pause this \
     autoscaler with the annotation llmautoscaler.io/paused (docs/targets.md)";

/// Shorter waits for the pace of a namespace are not told.
const PACED: Duration = Duration::from_secs(5);

/// Returns `Ready` of an autoscaler whose target is found and measured. Pausing is on purpose and
/// nothing to wait for, so `Ready` stays True. While another writer undoes what is written it is
/// False.
pub(super) fn ready(block: &WriteBlock, decision: &Decision) -> ConditionUpdate {
    if let Some(contest) = contest_to_report(block, decision) {
        return contest_update(ConditionType::Ready, contest, decision);
    }
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

/// Returns `AbleToScale` with the status False while another writer undoes what is written. Under
/// the HPA's profile the condition is the HPA's, which does not notice.
pub(super) fn contest(
    block: &WriteBlock,
    profile: Profile,
    decision: &Decision,
) -> Option<ConditionUpdate> {
    let contest = contest_to_report(block, decision)?;
    let update = || contest_update(ConditionType::AbleToScale, contest, decision);
    (profile != Profile::HpaExact).then(update)
}

/// Returns the contest, unless nothing would be written now anyway.
fn contest_to_report<'a>(block: &'a WriteBlock, decision: &Decision) -> Option<&'a Contest> {
    let is_wanted = |contest: &&Contest| {
        contest.state != ContestState::MayWrite || decision.rescale().is_some()
    };
    block.contest.as_ref().filter(|_| !block.paused).filter(is_wanted)
}

fn contest_update(
    type_: ConditionType,
    Contest { change, written_at, state }: &Contest,
    decision: &Decision,
) -> ConditionUpdate {
    let next = match state {
        ContestState::WaitsUntil(until) => {
            format!("the next size is written at {} at the earliest", moment(*until))
        }
        ContestState::MayWrite => "the next size may be written now".to_owned(),
        ContestState::Stands => {
            format!("the size that was written at {} has stood so far", moment(*written_at))
        }
    };
    let message = format!(
        "{} changes the size that this autoscaler writes again and again, most recently from {} to \
         {} at {}; {next}, and {}; {REMEDY}",
        change.author(),
        change.from,
        change.to,
        moment(change.at),
        otherwise(decision),
    );
    ConditionUpdate::no(type_, Reason::ReplicasContested, message)
}

/// Returns the advice about sizes that wait for the pace of their namespace, once that lasts.
pub(crate) fn paced(waits_for: Duration) -> Option<Advice> {
    let text = || {
        format!(
            "sizes of this namespace change more often than the operator writes them, {} a second: \
             the size of this target waits for its turn, and is decided by the newest samples \
             then; look for metrics that swing, or lengthen behavior's stabilization windows",
            1_000 / SIZES.every.as_millis()
        )
    };
    let advice = || Advice { reason: Reason::TooManySizeChanges, text: text() };
    (waits_for >= PACED).then(advice)
}

/// Returns the text of the event about another writer that changes the size again and again.
pub(crate) fn contested(target: &str, change: &SizeChange) -> String {
    let (author, SizeChange { from, to, .. }) = (change.author(), change);
    format!(
        "{author} has changed the size of {target} three times within 10 minutes against this \
         autoscaler, most recently from {from} to {to}: {REMEDY}"
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

pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
