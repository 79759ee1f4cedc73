//! The texts of a decision.

use llm_autoscaler_core::{
    self as core, Adjusted, Adjustment, Bound, Decision, Derivation, Hold, Limit, MetricOutcome,
    Outcome, Policy, Profile, Stabilization,
};

use super::{EventMessage, MetricDescription, MetricFailure, SelectorProblem};
use crate::conditions::{ConditionType, ConditionUpdate, Reason};

/// A decision, with everything that its messages need.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The policy that decided.
    pub policy: &'a Policy,
    /// The decision.
    pub decision: &'a Decision,
    /// The descriptions of the metrics, in the order of the policy.
    pub metrics: &'a [MetricDescription],
    /// The problem of the selector, if the decision is [`Outcome::NoSelector`].
    pub selector: Option<&'a SelectorProblem>,
}

impl Step<'_> {
    /// Returns the conditions of the decision, in the order in which to set them: after the scale
    /// was read and before it is written.
    pub fn conditions(&self) -> Vec<ConditionUpdate> {
        let own = self.own_conditions();
        let Some(Adjusted { by, .. }) = self.decision.adjusted else { return own };
        let (reason, message) = tie_reason(by);
        let tied = ConditionUpdate::yes(ConditionType::ScalingLimited, reason, message);
        own.into_iter()
            .filter(|update| update.type_ != ConditionType::ScalingLimited)
            .chain([tied])
            .collect()
    }

    /// Returns the conditions without the effect of other roles.
    fn own_conditions(&self) -> Vec<ConditionUpdate> {
        match &self.decision.outcome {
            Outcome::Disabled => vec![ConditionUpdate::no(
                ConditionType::ScalingActive,
                Reason::ScalingDisabled,
                "scaling is disabled since the replica count of the target is zero",
            )],
            Outcome::OutOfBounds { .. } => Vec::new(),
            Outcome::NoSelector => {
                self.selector.map(SelectorProblem::condition).into_iter().collect()
            }
            Outcome::NoMetrics { first, .. } => {
                self.failure(*first).as_ref().map(unable).into_iter().collect()
            }
            Outcome::NoEvents => vec![ConditionUpdate::yes(
                ConditionType::ScalingActive,
                Reason::NoSignal,
                "too few events were measured to compute a replica count; the size stays as it is",
            )],
            Outcome::Fallback { first, derivation, .. } => {
                let failure = self.failure(*first).as_ref().map(unable);
                failure.into_iter().chain([able(derivation), self.limited(derivation)]).collect()
            }
            Outcome::Computed(derivation) => {
                vec![self.active(derivation), able(derivation), self.limited(derivation)]
            }
        }
    }

    /// Returns the condition `Fallback`, if the policy has a fallback. The HPA has no such
    /// condition.
    pub fn fallback(&self) -> Option<ConditionUpdate> {
        let fallback = self.policy.fallback?;
        let (seconds, replicas) = (fallback.after.num_seconds(), fallback.replicas);
        Some(if matches!(self.decision.outcome, Outcome::Fallback { .. }) {
            let message = format!(
                "no metric has been available for {seconds} s: at least {replicas} replicas are \
                 kept"
            );
            ConditionUpdate::yes(ConditionType::Fallback, Reason::MetricsUnavailable, message)
        } else {
            ConditionUpdate::no(
                ConditionType::Fallback,
                Reason::NotNeeded,
                "the number of replicas follows the metrics",
            )
        })
    }

    /// Returns the events before the write: one for each metric that failed, and one if no number
    /// could be computed.
    pub fn events(&self) -> Vec<EventMessage> {
        let mut events = Vec::new();
        if self.decision.outcome == Outcome::NoSelector {
            events.extend(self.selector.map(SelectorProblem::event));
        }
        let failures = (0..self.decision.metrics.len()).filter_map(|index| self.failure(index));
        events.extend(failures.map(|failure| EventMessage::warning(failure.reason, failure.error)));
        let is_blind =
            matches!(self.decision.outcome, Outcome::NoMetrics { .. } | Outcome::Fallback { .. });
        if is_blind || self.decision.outcome == Outcome::NoSelector {
            let error = self.metrics_error().unwrap_or_default();
            events.push(EventMessage::warning(Reason::FailedComputeMetricsReplicas, error));
        }
        events
    }

    /// Returns the error that the step ends with; `reference` is the target as
    /// `KIND/NAMESPACE/NAME`. If some metrics failed and the others were enough, the step is
    /// carried out and still ends with an error.
    pub fn error(&self, reference: &str) -> Option<String> {
        let error = self.metrics_error()?;
        if matches!(self.decision.outcome, Outcome::Computed(_)) {
            return Some(error);
        }
        Some(format!(
            "failed to compute desired number of replicas based on listed metrics for {reference}: {error}"
        ))
    }

    /// Returns why the number of replicas changes. It is empty if only past recommendations ask for
    /// the change.
    pub fn reason(&self) -> String {
        let Decision { current, adjusted, .. } = self.decision;
        let own = self.decision.own_desired().unwrap_or(*current);
        match adjusted {
            // Only if its own metrics would not have changed it in the same direction.
            Some(Adjusted { to, by }) if to != current && to.cmp(current) != own.cmp(current) => {
                tie_reason(*by).1.to_owned()
            }
            _ => self.own_reason(),
        }
    }

    /// Returns the rule that limits the number: another role, a hold, or a limit of the HPA. It is
    /// `None` if no number was computed.
    pub fn limited_by(&self) -> Option<Reason> {
        let own = match &self.decision.outcome {
            Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
                Some(limiting_reason(derivation.held, derivation.limit).0)
            }
            _ => None,
        };
        self.decision.adjusted.map(|tied| tie_reason(tied.by).0).or(own)
    }

    fn own_reason(&self) -> String {
        match &self.decision.outcome {
            Outcome::OutOfBounds { bound: Bound::AboveMax, .. } => {
                "Current number of replicas above Spec.MaxReplicas".to_owned()
            }
            Outcome::OutOfBounds { bound: Bound::BelowMin, .. } => BELOW_MIN.to_owned(),
            Outcome::OutOfBounds { bound: Bound::Wake, .. } => "a wake call arrived".to_owned(),
            Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
                match derivation.reason {
                    Some(core::Reason::AboveTarget) => match self.promised(derivation.winner) {
                        Some(promised) => promised.to_owned(),
                        None => format!("{} above target", self.label(derivation.winner)),
                    },
                    Some(core::Reason::AllBelowTarget) => self
                        .promised(derivation.winner)
                        .map_or_else(|| "All metrics below target".to_owned(), str::to_owned),
                    Some(core::Reason::BelowMin) => BELOW_MIN.to_owned(),
                    Some(core::Reason::Fallback) => {
                        let seconds =
                            self.policy.fallback.map_or(0, |fallback| fallback.after.num_seconds());
                        format!("no metric has been available for {seconds} s")
                    }
                    Some(core::Reason::Replacement) => {
                        "no engine answers requests: one is added beside those that are wedged"
                            .to_owned()
                    }
                    None => String::new(),
                }
            }
            Outcome::Disabled
            | Outcome::NoSelector
            | Outcome::NoMetrics { .. }
            | Outcome::NoEvents => String::new(),
        }
    }

    /// Returns the texts of a metric, if it failed.
    fn failure(&self, index: usize) -> Option<MetricFailure> {
        match self.decision.metrics.get(index)? {
            MetricOutcome::Failed(error) => {
                Some(self.metrics.get(index)?.failure(self.policy.metrics.get(index)?, *error))
            }
            MetricOutcome::Proposal(_) | MetricOutcome::NoEvents(_) => None,
        }
    }

    /// Returns the reason of the size that a promise needs, if that is the proposal of a metric.
    fn promised(&self, index: usize) -> Option<&str> {
        self.metrics.get(index)?.promised.as_deref()
    }

    fn label(&self, index: usize) -> String {
        let metric = self.metrics.get(index).zip(self.policy.metrics.get(index));
        metric.map(|(description, policy)| description.label(policy)).unwrap_or_default()
    }

    fn metrics_error(&self) -> Option<String> {
        if self.decision.outcome == Outcome::NoSelector {
            return self.selector.map(SelectorProblem::error);
        }
        let failures: Vec<_> =
            (0..self.decision.metrics.len()).filter_map(|index| self.failure(index)).collect();
        let first = failures.first()?;
        Some(format!(
            "invalid metrics ({} invalid out of {}), first error is: {}",
            failures.len(),
            self.decision.metrics.len(),
            first.wrapped
        ))
    }

    /// Returns the condition `ScalingLimited`. Holds are ours, not the HPA's; under
    /// [`Profile::HpaExact`] they are omitted, because whether there is one depends on the moment
    /// at which the pods are read.
    fn limited(&self, derivation: &Derivation) -> ConditionUpdate {
        let held = derivation.held.filter(|_| self.policy.profile != Profile::HpaExact);
        let is_limited =
            derivation.limited != derivation.stabilized || derivation.limit == Limit::NotIdleYet;
        let (reason, message) = limiting_reason(held, derivation.limit);
        if !is_limited && held.is_none() {
            ConditionUpdate::no(ConditionType::ScalingLimited, reason, message)
        } else {
            ConditionUpdate::yes(ConditionType::ScalingLimited, reason, message)
        }
    }

    fn active(&self, derivation: &Derivation) -> ConditionUpdate {
        let label = self.label(derivation.winner);
        let message =
            format!("the HPA was able to successfully calculate a replica count from {label}");
        ConditionUpdate::yes(ConditionType::ScalingActive, Reason::ValidMetricFound, message)
    }
}

const BELOW_MIN: &str = "Current number of replicas below Spec.MinReplicas";

fn unable(failure: &MetricFailure) -> ConditionUpdate {
    let message = format!("the HPA was unable to compute the replica count: {}", failure.error);
    ConditionUpdate::no(ConditionType::ScalingActive, failure.reason, message)
}

fn able(derivation: &Derivation) -> ConditionUpdate {
    let (reason, message) = stabilization_reason(derivation.stabilization);
    ConditionUpdate::yes(ConditionType::AbleToScale, reason, message)
}

/// Returns reason and message of the rule that keeps the number from being what the metrics ask
/// for. A hold comes before a limit of the HPA.
fn limiting_reason(held: Option<Hold>, limit: Limit) -> (Reason, &'static str) {
    held.map_or_else(|| limit_reason(limit), hold_reason)
}

/// Returns reason and message of a change by another role of the same service. The HPA has none.
fn tie_reason(tie: Adjustment) -> (Reason, &'static str) {
    match tie {
        Adjustment::Ratio => (Reason::RoleRatio, "the size keeps the ratio of the roles"),
        Adjustment::Lagging => {
            (Reason::RoleLagging, "waiting for replicas of the other role, which have not started")
        }
        Adjustment::SharedLimit => {
            (Reason::SharedCeiling, "the roles together ask for more than their shared maximum")
        }
        Adjustment::WaitingForRoom => {
            (Reason::WaitingForRoom, "waiting until replicas of another role have terminated")
        }
    }
}

/// Returns reason and message of a hold. The HPA has none.
fn hold_reason(hold: Hold) -> (Reason, &'static str) {
    match hold {
        Hold::NoQuorum => (
            Reason::NoQuorum,
            "fewer than 80 % of the replicas have a sample, so no replica is removed",
        ),
        Hold::Incomplete => (
            Reason::IncompleteTotal,
            "some pods that report a part of the total have no sample, so no replica is removed",
        ),
        Hold::Doubt => (
            Reason::SamplesInDoubt,
            "the latest scrapes failed, or too little has been measured yet, so no replica is \
             removed",
        ),
        Hold::Surplus => (
            Reason::ReplicasMismatch,
            "more replicas are found than the target has, so no replica is removed",
        ),
    }
}

/// Returns reason and message of a stabilization.
pub fn stabilization_reason(stabilization: Stabilization) -> (Reason, &'static str) {
    match stabilization {
        Stabilization::None => (Reason::ReadyForNewScale, "recommended size matches current size"),
        Stabilization::Down => (
            Reason::ScaleDownStabilized,
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        ),
        Stabilization::Up => (
            Reason::ScaleUpStabilized,
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        ),
    }
}

/// Returns reason and message of a limit.
pub fn limit_reason(limit: Limit) -> (Reason, &'static str) {
    match limit {
        Limit::DesiredWithinRange => {
            (Reason::DesiredWithinRange, "the desired count is within the acceptable range")
        }
        Limit::TooFewReplicas => (
            Reason::TooFewReplicas,
            "the desired replica count is less than the minimum replica count",
        ),
        Limit::TooManyReplicas => (
            Reason::TooManyReplicas,
            "the desired replica count is more than the maximum replica count",
        ),
        Limit::ScaleUpLimit => (
            Reason::ScaleUpLimit,
            "the desired replica count is increasing faster than the maximum scale rate",
        ),
        Limit::ScaleDownLimit => (
            Reason::ScaleDownLimit,
            "the desired replica count is decreasing faster than the maximum scale rate",
        ),
        Limit::NotIdleYet => (
            Reason::NotIdleYet,
            "the target is idle, but not yet for long enough to be scaled to zero",
        ),
    }
}

#[cfg(test)]
mod tests;
