//! A step in sentences: the observed values, and the way from them to a number.

use std::fmt::Write;

use llm_autoscaler_api::{
    conditions::ConditionType,
    messages::Step,
    quantity::{show, show_usage},
};
use llm_autoscaler_core::{Derivation, MetricOutcome, Outcome, Proposal, Target};

/// Returns the stages of the decision and the reason, and one line per metric.
pub(super) fn step(step: &Step<'_>) -> String {
    let current = step.decision.current;
    let mut text = format!("{current} replicas: {}", summary(step));
    for (index, outcome) in step.decision.metrics.iter().enumerate() {
        let (Some(words), Some(metric)) = (step.metrics.get(index), step.policy.metrics.get(index))
        else {
            continue;
        };
        let line = match outcome {
            MetricOutcome::Proposal(found) => proposal(found, metric.target),
            MetricOutcome::NoEvents(_) => "too few events to say anything".to_owned(),
            MetricOutcome::Failed(error) => words.failure(metric, *error).error,
        };
        let _ = write!(text, "\n  {}: {line}", words.label(metric));
    }
    text
}

fn summary(step: &Step<'_>) -> String {
    match &step.decision.outcome {
        Outcome::Disabled => {
            "switched off, because it was not this autoscaler that scaled to zero".to_owned()
        }
        Outcome::OutOfBounds { to, .. } => format!("→ {to}: {}", step.reason()),
        Outcome::NoSelector | Outcome::NoMetrics { .. } | Outcome::NoEvents => {
            let messages: Vec<_> =
                step.conditions().into_iter().map(|condition| condition.message).collect();
            format!("stays: {}", messages.join("; "))
        }
        Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
            computed(step, derivation)
        }
    }
}

fn computed(step: &Step<'_>, derivation: &Derivation) -> String {
    let Derivation { raw, stabilized, limited, desired, .. } = derivation;
    let mut text = format!("raw {raw} → stabilized {stabilized} → limited {limited} → {desired}");
    let said = step
        .conditions()
        .into_iter()
        .filter(|condition| condition.type_ != ConditionType::ScalingActive);
    let reasons: Vec<_> = said.map(|condition| condition.reason.to_string()).collect();
    let _ = write!(text, " ({})", reasons.join(", "));
    if let Some(hold) = derivation.held {
        let _ = write!(text, ", held: {hold:?}");
    }
    if !step.reason().is_empty() {
        let _ = write!(text, ": {}", step.reason());
    }
    text
}

fn proposal(found: &Proposal, target: Target) -> String {
    let target = match target {
        Target::Value(target) | Target::AverageValue(target) => show(target),
        Target::Missing => "nothing".to_owned(),
    };
    let counted = found.counted;
    let groups = [
        (counted.ready, "ready"),
        (counted.unready, "unready"),
        (counted.warming, "warming"),
        (counted.missing, "missing"),
        (counted.absent, "absent"),
        (counted.ignored, "ignored"),
        (counted.stuck, "stuck"),
        (counted.halted, "halted"),
    ];
    let groups: Vec<_> = groups
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, group)| format!("{count} {group}"))
        .collect();
    // A number of the whole service, or of no replica, has no groups.
    let groups = match &groups[..] {
        [] => String::new(),
        groups => format!(" [{}]", groups.join(", ")),
    };
    format!("{} of {target}{groups} proposes {}", show_usage(found), found.replicas)
}
