//! The latest step that was reported, by which a step may leave its report to a later one.
//!
//! Samples cause several steps an interval, and most steps decide what the last one did: then only
//! the values of the metrics have moved, which the status shows a few seconds late anyway. Only a
//! step of samples waits, so each tick is reported. What a step remembers for later decisions, it
//! remembers at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use llm_autoscaler_core::{Derivation, Monotonic, Outcome, RolePlan, StepPlan};

use crate::{
    ownership::write_block::WriteBlock,
    reconcile::{
        execute::{Done, End, RoleDone},
        role::Role,
        sight::RoleSight,
    },
};

/// The longest time for which a report waits while nothing has changed but values.
const WAITS: Duration = Duration::from_secs(5);

/// What a step reports but for values, as a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic(u64);

/// The latest step that was reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportedStep {
    /// What it reported.
    pub topic: Topic,
    /// Its time.
    pub at: Monotonic,
}

impl ReportedStep {
    /// Returns whether a step may leave its report to a later one. It has no topic if it is to be
    /// reported anyway.
    pub(super) fn goes_on(&self, topic: Option<Topic>, now: Monotonic) -> bool {
        Some(self.topic) == topic && now.since(self.at) < WAITS
    }
}

/// Returns what a step reports but for values; `None` if it is not a usual one, and is reported
/// whatever was reported before.
pub(super) fn topic(
    roles: &[Role],
    plan: &StepPlan,
    sights: &[RoleSight],
    done: &Done,
) -> Option<Topic> {
    if done.end != End::Complete {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    let mut all = roles.iter().zip(&plan.roles).zip(sights).zip(&done.roles);
    all.all(|(((role, plan), sight), done)| role.hash_report(plan, sight, done, &mut hasher))
        .then(|| Topic(hasher.finish()))
}

impl Role {
    /// Hashes what the report of a step tells but for values. Returns false if the step is not a
    /// usual one: if it is one without a size of all metrics, if it writes or waits to, or if there
    /// is trouble with replicas or samples.
    fn hash_report(
        &self,
        plan: &RolePlan,
        sight: &RoleSight,
        done: &RoleDone,
        hasher: &mut DefaultHasher,
    ) -> bool {
        let (Some(target), Some(derivation)) = (&self.target, usual(plan)) else { return false };
        let findings = &sight.observed.by_basis(plan.basis).findings;
        let is_usual = matches!(done, RoleDone::Nothing)
            && self.config.slo.is_none()
            && self.warnings.is_empty()
            && !self.log.has_more()
            && sight.block == WriteBlock::default()
            && !target.progress.is_under_way()
            && findings.problems.is_empty()
            && findings.stuck.is_empty()
            && findings.other_engines.is_empty()
            && sight.unsettled.is_none();
        if !is_usual {
            return false;
        }
        let scale = target.view.scale;
        (scale.current, scale.status, findings.ready, findings.in_doubt).hash(hasher);
        (plan.decision.current, plan.decision.adjusted, derivation, plan.basis).hash(hasher);
        (&findings.advice, &sight.observed.usable.findings.advice, &sight.advice).hash(hasher);
        for origin in &findings.origins {
            (&origin.samples, origin.source, &origin.why).hash(hasher);
        }
        true
    }
}

/// Returns the derivation of a size that all metrics have a part in, and that nothing waits for.
fn usual(plan: &RolePlan) -> Option<&Derivation> {
    match &plan.decision.outcome {
        Outcome::Computed(derivation) if derivation.failed == 0 && plan.waits.is_none() => {
            Some(derivation)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_waits_while_nothing_changes_but_values() {
        let at = |ms| Monotonic(Duration::from_millis(ms));
        let reported = ReportedStep { topic: Topic(7), at: at(1000) };
        // the topic of the step, its time; whether its report waits
        let table = [
            (Some(Topic(7)), 1001, true),
            (Some(Topic(7)), 5999, true),
            (Some(Topic(7)), 6000, false),
            (Some(Topic(8)), 1001, false),
            (None, 1001, false),
        ];
        for (topic, now, expected) in table {
            assert_eq!(reported.goes_on(topic, at(now)), expected, "{topic:?} at {now} ms");
        }
    }
}
