//! The pure part of a step: what is seen, and what follows from it.

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{Plan, conditions};
use llm_autoscaler_core::{Decision, Doubt, MetricOutcome, Outcome, decide};
use tracing::debug;

use crate::{observe::observer::Seen, reconcile::target_state::Tracked, sampling::page_view::Pace};
use crate::{reconcile::autoscaler::role::Role, reconcile::autoscaler::together::RoleStep};

impl Role {
    /// What is seen of it, and what its own metrics make of that. `None` while the first samples are on their way.
    pub(super) fn look_and_decide(&mut self) -> Option<RoleStep> {
        self.restrain();
        let scaled_to_zero = conditions::holds(&self.status.conditions, conditions::ConditionType::ScaledToZero);
        let (target, plan) = (self.target.as_mut()?, &*self.plan);
        let seen = target.observe(plan, scaled_to_zero, false);
        if seen.warming_up && !target.decided {
            return None;
        }
        target.decided = true;
        let now = Utc::now();
        let decision = decide(&plan.policy, &target.history, &seen.observation, now);
        // Under the exact profile too: pods are read one after the other, and the HPA is told of all of them at once.
        let (decision, seen) = if seen.doubtful && decision.wants_fewer() {
            without_doubt(plan, target, seen, scaled_to_zero, now)
        } else {
            (decision, seen)
        };
        target.pace(pace(&decision));
        self.count(&seen, &decision);
        debug!(name = self.path(), ?decision, "decided");
        Some(RoleStep { seen, decision })
    }

    fn count(&self, seen: &Seen, decision: &Decision) {
        let telemetry = &self.context.telemetry;
        telemetry.decided(match &decision.outcome {
            Outcome::Computed(derivation) if derivation.held.is_some() => "held",
            Outcome::Computed(_) => "computed",
            Outcome::NoEvents => "silent",
            Outcome::Fallback { .. } => "fallback",
            Outcome::NoMetrics { .. } | Outcome::NoSelector => "blind",
            Outcome::OutOfBounds { .. } | Outcome::Disabled => "bounds",
        });
        let Some(target) = &self.target else { return };
        for origin in &seen.origins {
            for (source, samples) in target.sources.list.iter().zip(&origin.samples) {
                telemetry.used(source.name(), u64::from(*samples));
            }
        }
    }
}

/// Never down on doubt: what pods said before they fell silent does not count for less. Where nothing else is left, they are
/// believed as far as staying goes.
fn without_doubt(
    plan: &Plan,
    target: &mut Tracked,
    mut seen: Seen,
    scaled_to_zero: bool,
    now: DateTime<Utc>,
) -> (Decision, Seen) {
    let mut strict = target.observe(plan, scaled_to_zero, true);
    let decision = decide(&plan.policy, &target.history, &strict.observation, now);
    if matches!(decision.outcome, Outcome::NoMetrics { .. } | Outcome::NoEvents) {
        seen.observation.doubt = Some(Doubt::Samples);
        seen.problems = strict.problems;
        return (decide(&plan.policy, &target.history, &seen.observation, now), seen);
    }
    strict.advice.append(&mut seen.advice);
    (decision, strict)
}

/// Near its target a metric is worth a closer look: what comes next may change the answer.
fn pace(decision: &Decision) -> Pace {
    const NEAR: std::ops::RangeInclusive<f64> = 0.7..=1.3;
    let near = |metric: &MetricOutcome| match metric {
        MetricOutcome::Proposal(proposal) => NEAR.contains(&proposal.ratio),
        MetricOutcome::NoEvents(_) | MetricOutcome::Failed(_) => false,
    };
    if decision.metrics.iter().any(near) { Pace::Close } else { Pace::Usual }
}
