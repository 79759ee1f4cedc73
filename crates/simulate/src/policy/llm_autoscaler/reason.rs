//! The reason of a change of size, as the operator's event states it, with the metric's value.

use llm_autoscaler_api::{
    TargetConfig,
    conditions::Reason,
    messages::{MetricDescription, Step, limit_reason, promised_size},
};
use llm_autoscaler_core::{
    Decision, Derivation, Limit, MetricOutcome, Outcome, Reason as Cause, slo::SloSize,
};

/// Returns the reason of a decision in a sentence.
pub(super) fn of(target: &TargetConfig, decision: &Decision, promised: Option<&SloSize>) -> String {
    let (Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. }) = &decision.outcome
    else {
        return event(target, decision);
    };
    let promised = promised.filter(|_| target.slo.is_some() && derivation.winner == 0);
    let mut text = match promised {
        Some(size) => promised_size(size),
        None => of_metric(target, decision, derivation),
    };
    if derivation.limit != Limit::DesiredWithinRange {
        text = format!("{text}; {}", limit_reason(derivation.limit).1);
    }
    text
}

/// Returns the reason of a decision by a metric.
fn of_metric(target: &TargetConfig, decision: &Decision, derivation: &Derivation) -> String {
    let metric = target.metrics.get(derivation.winner);
    match (derivation.reason, metric, decision.metrics.get(derivation.winner)) {
        (
            Some(Cause::AboveTarget | Cause::AllBelowTarget),
            Some(metric),
            Some(MetricOutcome::Proposal(proposal)),
        ) => {
            let (name, goal) = (&metric.name, &metric.target);
            let value = proposal.ratio * 100.0;
            format!("{name} is at {value:.0} % of its target {goal}")
        }
        _ => event(target, decision),
    }
}

/// Returns the reason of the operator's event.
fn event(target: &TargetConfig, decision: &Decision) -> String {
    let describe = |name: &String| MetricDescription {
        name: name.clone(),
        selector: "nil".to_owned(),
        ..MetricDescription::default()
    };
    let metrics: Vec<_> = target.metrics.iter().map(|metric| describe(&metric.series)).collect();
    let step = Step { policy: &target.policy, decision, metrics: &metrics, selector: None };
    let text = step.reason();
    match step.limited_by() {
        _ if !text.is_empty() => text,
        Some(limit) if limit != Reason::DesiredWithinRange => limit.as_str().to_owned(),
        _ => "the recommendations of the past ask for it".to_owned(),
    }
}
