//! The conditions that are present only at times.

use llm_autoscaler_api::{
    Advice, MetricPlan,
    conditions::{ConditionType, ConditionUpdate, Reason},
};

use super::{NAMED, Report, restraint};
use llm_autoscaler_observe::{observer::Origin, pod::TroubleKind};

/// The number of hints in the message.
const ADVICE: usize = 5;

/// Returns the conditions that are present only at times. `Err` is the type of an absent one.
pub(super) fn occasional(report: &Report<'_>) -> [Result<ConditionUpdate, ConditionType>; 6] {
    [
        restraint::paused(report).ok_or(ConditionType::Paused),
        restraint::manual_change(report).ok_or(ConditionType::ManualChange),
        stuck(report).ok_or(ConditionType::ReplicasStuck),
        first_source(report).ok_or(ConditionType::FirstSourceUsed),
        report.step.fallback().ok_or(ConditionType::Fallback),
        advisory(report).ok_or(ConditionType::Advisory),
    ]
}

/// Returns `ReplicasStuck` if a replica will not get ready by waiting.
fn stuck(report: &Report<'_>) -> Option<ConditionUpdate> {
    let stuck = &report.seen.stuck;
    let reason = match stuck.first()?.1 {
        TroubleKind::Crashing => Reason::Crashing,
        TroubleKind::Unschedulable => Reason::Unschedulable,
        TroubleKind::NotReady => Reason::NotReady,
    };
    let named: Vec<String> =
        stuck.iter().take(NAMED).map(|(pod, kind)| format!("{pod}: {}", kind.text())).collect();
    let more = stuck.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message =
        format!("stuck, so neither counted as capacity nor waited for: {}{more}", named.join("; "));
    Some(ConditionUpdate::yes(ConditionType::ReplicasStuck, reason, message))
}

/// Returns `FirstSourceUsed` if the spec has several sources.
fn first_source(report: &Report<'_>) -> Option<ConditionUpdate> {
    let Report { plan, seen, .. } = report;
    if plan.sources.len() < 2 {
        return None;
    }
    let beside = |(metric, origin): (&MetricPlan, &Origin)| {
        let others: u32 = origin.samples.iter().skip(1).sum();
        let why = origin.why.as_deref().filter(|_| others > 0)?;
        let from: Vec<String> = origin
            .samples
            .iter()
            .enumerate()
            .map(|(index, n)| format!("{n} from sources[{index}]"))
            .collect();
        Some(format!("{}: {} ({why})", metric.name, from.join(", ")))
    };
    let told: Vec<String> = plan.metrics.iter().zip(&seen.origins).filter_map(beside).collect();
    Some(if told.is_empty() {
        ConditionUpdate::yes(
            ConditionType::FirstSourceUsed,
            Reason::FirstSource,
            "every sample is from the first source that can have it",
        )
    } else {
        ConditionUpdate::no(ConditionType::FirstSourceUsed, Reason::FailedOver, told.join("; "))
    })
}

/// Returns `Advisory` if there is a hint. The reason is the first one's.
fn advisory(report: &Report<'_>) -> Option<ConditionUpdate> {
    // Hints about what was observed come before those about the spec alone.
    let of_spec = |advice: &&Advice| report.plan.advice.contains(*advice);
    let mut advice: Vec<&Advice> =
        report.seen.advice.iter().filter(|advice| !of_spec(advice)).collect();
    advice.extend(report.seen.advice.iter().filter(of_spec));
    let reason = advice.first()?.reason;
    let texts: Vec<&str> = advice.into_iter().take(ADVICE).map(|advice| &*advice.text).collect();
    Some(ConditionUpdate::yes(ConditionType::Advisory, reason, texts.join("; ")))
}
