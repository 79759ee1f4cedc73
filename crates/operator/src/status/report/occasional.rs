//! Conditions that are not always there.

use llm_autoscaler_api::{Advice, MetricPlan, conditions::ConditionUpdate, words};

use crate::{cluster::pods::TroubleKind, observe::observer::Origin};
use crate::{
    status::report::ADVISORY, status::report::MANUAL_CHANGE, status::report::NAMED,
    status::report::PAUSED, status::report::Report, status::report::SOURCES, status::report::STUCK,
    status::report::restraint,
};

/// How many pieces of advice are given.
const ADVICE: usize = 5;

/// Conditions that are not always there; the type of those that are not.
pub(super) fn occasional(report: &Report<'_>) -> [Result<ConditionUpdate, &'static str>; 6] {
    [
        restraint::paused(report).ok_or(PAUSED),
        restraint::manual_change(report).ok_or(MANUAL_CHANGE),
        stuck(report).ok_or(STUCK),
        first_source(report).ok_or(SOURCES),
        report.step.fallback().ok_or(words::FALLBACK),
        advisory(report).ok_or(ADVISORY),
    ]
}

/// Replicas that are neither counted on nor waited for.
fn stuck(report: &Report<'_>) -> Option<ConditionUpdate> {
    let stuck = &report.seen.stuck;
    let reason = match stuck.first()?.1 {
        TroubleKind::Crashing => "Crashing",
        TroubleKind::Unschedulable => "Unschedulable",
        TroubleKind::NotReady => "NotReady",
    };
    let named: Vec<String> =
        stuck.iter().take(NAMED).map(|(pod, kind)| format!("{pod}: {}", kind.text())).collect();
    let more = stuck.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = format!("neither counted as capacity nor waited for: {}{more}", named.join("; "));
    Some(ConditionUpdate::yes(STUCK, reason, message))
}

/// Whether all samples are from the first source; where there is only one, the question does not arise.
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
            SOURCES,
            "FirstSource",
            "every sample is from the first source that can have it",
        )
    } else {
        ConditionUpdate::no(SOURCES, "FailedOver", told.join("; "))
    })
}

/// What a person should know; under the name of the first piece of it.
fn advisory(report: &Report<'_>) -> Option<ConditionUpdate> {
    // What was found comes before what can be known from the spec alone.
    let of_spec = |advice: &&Advice| report.plan.advice.contains(*advice);
    let mut advice: Vec<&Advice> =
        report.seen.advice.iter().filter(|advice| !of_spec(advice)).collect();
    advice.extend(report.seen.advice.iter().filter(of_spec));
    let reason = advice.first()?.reason;
    let texts: Vec<&str> = advice.into_iter().take(ADVICE).map(|advice| &*advice.text).collect();
    Some(ConditionUpdate::yes(ADVISORY, reason, texts.join("; ")))
}
