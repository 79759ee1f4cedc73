//! A decision in words.

use llm_autoscaler_core::{
    self as core, Bound, Decision, Derivation, Hold, Limit, MetricOutcome, Outcome, Policy,
    Profile, Stabilization, Tie, Tied,
};

use super::{EventMessage, MetricDescription, MetricFailure, SelectorProblem};
use crate::conditions::{ConditionType, ConditionUpdate, Reason};

/// A decision, and what is needed to speak about it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// What was wanted.
    pub policy: &'a Policy,
    /// What was decided.
    pub decision: &'a Decision,
    /// The metrics' names, in the order of the policy.
    pub metrics: &'a [MetricDescription],
    /// What is wrong with the selector, where the decision is [`Outcome::NoSelector`].
    pub selector: Option<&'a SelectorProblem>,
}

impl Step<'_> {
    /// The conditions that the decision sets, in their order, from after the scale was got to before it is
    /// written.
    pub fn conditions(&self) -> Vec<ConditionUpdate> {
        let own = self.own_conditions();
        let Some(Tied { by, .. }) = self.decision.tied else { return own };
        let (reason, message) = tie_reason(by);
        let tied = ConditionUpdate::yes(ConditionType::ScalingLimited, reason, message);
        own.into_iter()
            .filter(|update| update.type_ != ConditionType::ScalingLimited)
            .chain([tied])
            .collect()
    }

    /// The conditions of a target that has no other role beside it.
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
            Outcome::Blind { first, .. } => {
                self.failure(*first).as_ref().map(unable).into_iter().collect()
            }
            Outcome::Silent => vec![ConditionUpdate::yes(
                ConditionType::ScalingActive,
                Reason::NoSignal,
                "there were too few events to say anything; the size stays as it is",
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

    /// Whether the fallback is in force, where the policy has one; ours.
    pub fn fallback(&self) -> Option<ConditionUpdate> {
        let fallback = self.policy.fallback?;
        let (seconds, replicas) = (fallback.after.num_seconds(), fallback.replicas);
        Some(if matches!(self.decision.outcome, Outcome::Fallback { .. }) {
            let message = format!(
                "no metric has been there for {seconds} s: at least {replicas} replicas are asked for"
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

    /// The events before anything is written: one for each metric that failed, and one if nothing could be
    /// computed.
    pub fn events(&self) -> Vec<EventMessage> {
        let mut events = Vec::new();
        if self.decision.outcome == Outcome::NoSelector {
            events.extend(self.selector.map(SelectorProblem::event));
        }
        let failures = (0..self.decision.metrics.len()).filter_map(|index| self.failure(index));
        events.extend(failures.map(|failure| EventMessage::warning(failure.reason, failure.error)));
        let is_blind =
            matches!(self.decision.outcome, Outcome::Blind { .. } | Outcome::Fallback { .. });
        if is_blind || self.decision.outcome == Outcome::NoSelector {
            let error = self.metrics_error().unwrap_or_default();
            events.push(EventMessage::warning(Reason::FailedComputeMetricsReplicas, error));
        }
        events
    }

    /// The error that the step ends with; `reference` is the target as `KIND/NAMESPACE/NAME`. Where some
    /// metrics failed and the others were enough, the step is carried out and ends with an error still.
    pub fn error(&self, reference: &str) -> Option<String> {
        let error = self.metrics_error()?;
        if matches!(self.decision.outcome, Outcome::Computed(_)) {
            return Some(error);
        }
        Some(format!(
            "failed to compute desired number of replicas based on listed metrics for {reference}: {error}"
        ))
    }

    /// Why the number of replicas changes. Empty where only the past asks for it.
    pub fn reason(&self) -> String {
        let Decision { current, tied, .. } = self.decision;
        let own = self.decision.own().unwrap_or(*current);
        match tied {
            // Only where its own metrics would not have moved it that way.
            Some(Tied { to, by }) if to != current && to.cmp(current) != own.cmp(current) => {
                tie_reason(*by).1.to_owned()
            }
            _ => self.own_reason(),
        }
    }

    /// What limits the number, by its word: other roles, a hold, or the HPA's limit; nothing where nothing was computed.
    pub fn limited_by(&self) -> Option<Reason> {
        let own = match &self.decision.outcome {
            Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
                Some(limiting_reason(derivation.held, derivation.limit).0)
            }
            _ => None,
        };
        self.decision.tied.map(|tied| tie_reason(tied.by).0).or(own)
    }

    fn own_reason(&self) -> String {
        match &self.decision.outcome {
            Outcome::OutOfBounds { bound: Bound::AboveMax, .. } => {
                "Current number of replicas above Spec.MaxReplicas".to_owned()
            }
            Outcome::OutOfBounds { bound: Bound::BelowMin, .. } => BELOW_MIN.to_owned(),
            Outcome::OutOfBounds { bound: Bound::Asleep, .. } => "woken by a call".to_owned(),
            Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
                match derivation.reason {
                    Some(core::Reason::AboveTarget) => {
                        format!("{} above target", self.label(derivation.winner))
                    }
                    Some(core::Reason::AllBelowTarget) => "All metrics below target".to_owned(),
                    Some(core::Reason::BelowMin) => BELOW_MIN.to_owned(),
                    Some(core::Reason::Fallback) => {
                        let seconds =
                            self.policy.fallback.map_or(0, |fallback| fallback.after.num_seconds());
                        format!("no metric has been there for {seconds} s")
                    }
                    None => String::new(),
                }
            }
            Outcome::Disabled | Outcome::NoSelector | Outcome::Blind { .. } | Outcome::Silent => {
                String::new()
            }
        }
    }

    /// The words of a metric that failed.
    fn failure(&self, index: usize) -> Option<MetricFailure> {
        match self.decision.metrics.get(index)? {
            MetricOutcome::Failed(error) => {
                Some(self.metrics.get(index)?.failure(self.policy.metrics.get(index)?, *error))
            }
            MetricOutcome::Proposal(_) | MetricOutcome::Silent(_) => None,
        }
    }

    fn label(&self, index: usize) -> String {
        let metric = self.metrics.get(index).zip(self.policy.metrics.get(index));
        metric.map(|(words, policy)| words.label(policy)).unwrap_or_default()
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

    /// What the HPA says of its limits, or a hold. The HPA knows no holds; where its decisions are followed to the bit one is a matter of
    /// the moment in which the pods are read.
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

/// Reason and message of what keeps a number from being what the metrics ask for: a hold, which is ours and comes first, or
/// the HPA's limit.
fn limiting_reason(held: Option<Hold>, limit: Limit) -> (Reason, &'static str) {
    held.map_or_else(|| limit_reason(limit), hold_reason)
}

/// Reason and message of what other roles of the same service make of a number; ours.
fn tie_reason(tie: Tie) -> (Reason, &'static str) {
    match tie {
        Tie::Ratio => (Reason::RoleRatio, "the ratio of the roles is kept"),
        Tie::Lagging => {
            (Reason::RoleLagging, "replicas of the other role do not come, and are waited for")
        }
        Tie::Ceiling => (Reason::SharedCeiling, "the roles want more together than they may have"),
        Tie::Room => {
            (Reason::WaitingForRoom, "there is room when replicas of another role are gone")
        }
    }
}

/// Reason and message of a hold.
fn hold_reason(hold: Hold) -> (Reason, &'static str) {
    match hold {
        Hold::NoQuorum => (
            Reason::NoQuorum,
            "fewer than four fifths of the replicas have a sample, so none of them is taken away",
        ),
        Hold::Incomplete => (
            Reason::IncompleteTotal,
            "not all who know of the load have answered, so no replica is taken away",
        ),
        Hold::Doubt => (
            Reason::SamplesInDoubt,
            "the latest reads failed, or too little has been measured yet, to take a replica away",
        ),
        Hold::Surplus => (
            Reason::ReplicasMismatch,
            "more replicas are found than the target has, so none of them is taken away",
        ),
    }
}

/// Reason and message of a stabilization.
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

/// Reason and message of a limit.
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
            "nothing is asked for, and has not been for long enough to go to zero",
        ),
    }
}

#[cfg(test)]
mod tests;
