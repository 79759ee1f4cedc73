//! Decision → status. Pure: the writer decides which changes to write, and when.

mod draining;
mod merged;
mod metrics;
mod occasional;
mod refusal;
mod restraint;

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{
    DecisionStatus, LLMAutoscaler, LLMAutoscalerStatus, MetricStatus, PastDecision, Plan,
    TargetStatus,
    conditions::{self, ConditionType, ConditionUpdate, Reason},
    messages::{self, EventMessage, Step},
    time,
};
use llm_autoscaler_core::{Derivation, HistoryRecord, Outcome, StartupTimes};

use llm_autoscaler_observe::observer::Problem;
use crate::{drain::progress::Told, observe::Seen, ownership::write_block::Restraint, scale::client::ScaleView};

pub use merged::{merged, of_role};
pub use refusal::Refusal;
pub use restraint::contested;

/// The time for which the reason of a successful write stays in the status before the next step
/// replaces it. The HPA leaves it for as long.
const SUCCESS_SHOWN: TimeDelta = TimeDelta::seconds(15);
/// The number of past decisions that are kept.
const DECISIONS: usize = 10;
/// The number of pods that a message names.
const NAMED: usize = 3;

/// Everything that a status is made of.
pub struct Report<'a> {
    /// The autoscaler.
    pub object: &'a LLMAutoscaler,
    /// The name of the role, if there are several.
    pub role: Option<&'a str>,
    /// The plan of the target.
    pub plan: &'a Plan,
    /// The observation.
    pub seen: &'a Seen,
    /// The target's current scale.
    pub view: &'a ScaleView,
    /// The decision, with everything that its messages need.
    pub step: Step<'a>,
    /// Whatever keeps the operator from writing to the target.
    pub restraint: &'a Restraint,
    /// The progress of a scale-down that drains.
    pub drain: &'a Told,
    /// The write to the target, if there was one.
    pub written: Option<Written>,
    /// The record for the next decisions.
    pub history: HistoryRecord,
    /// The time that replicas take to start.
    pub start_ups: &'a StartupTimes,
}

/// A write to the target.
pub struct Written {
    /// The new size; `None` if the write failed.
    pub size: Option<i32>,
    /// The conditions that follow from it.
    pub conditions: Vec<ConditionUpdate>,
    /// The event about a write that failed.
    pub warning: Option<EventMessage>,
}

/// Returns the status that follows `previous`.
pub fn status(
    previous: &LLMAutoscalerStatus,
    report: &Report<'_>,
    pod_monitor: Option<&ConditionUpdate>,
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let Report { object, step: Step { decision, .. }, .. } = report;
    let generation = object.metadata.generation;
    let mut status = LLMAutoscalerStatus {
        observed_generation: generation,
        reference: Some(object.spec.reference()),
        current_replicas: Some(decision.current),
        desired_replicas: decision.desired().or(previous.desired_replicas),
        ..previous.clone()
    };
    forget_preconditions(&mut status.conditions);
    status.conditions.retain(|condition| {
        condition.type_ != ConditionType::ScalingLimited || !Reason::is_of_roles(&condition.reason)
    });
    for update in condition_updates(previous, report, now).into_iter().chain(pod_monitor.cloned()) {
        conditions::set(&mut status.conditions, update, generation, now);
    }
    if pod_monitor.is_none() {
        conditions::remove(&mut status.conditions, ConditionType::PodMonitorReady);
    }
    conditions::remove(&mut status.conditions, ConditionType::Stalled);
    for update in
        occasional::occasional(report).into_iter().chain(draining::conditions(report.drain))
    {
        match update {
            Ok(update) => conditions::set(&mut status.conditions, update, generation, now),
            Err(type_) => conditions::remove(&mut status.conditions, type_),
        }
    }
    conditions::sort(&mut status.conditions);
    if report.size_written().is_some() {
        status.last_scale_time = Some(time::to_kubernetes(now));
    }
    let metrics = metrics::statuses(report, now);
    status.summary = Some(summary(report.plan, &metrics));
    let before =
        previous.targets.iter().find(|target| target.uid.as_ref() == Some(&report.view.uid));
    status.targets = vec![target_status(before, report, metrics, now)];
    status
}

/// Returns the status of a step that ended before a decision: one condition has the reason, and
/// nothing else changes.
pub fn failed(
    previous: &LLMAutoscalerStatus,
    object: &LLMAutoscaler,
    update: ConditionUpdate,
    terminal: bool,
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let generation = object.metadata.generation;
    let mut status = LLMAutoscalerStatus {
        observed_generation: generation,
        reference: Some(object.spec.reference()),
        ..previous.clone()
    };
    let ConditionUpdate { reason, message, .. } = update.clone();
    forget_preconditions(&mut status.conditions);
    let stalled =
        terminal.then(|| ConditionUpdate::yes(ConditionType::Stalled, reason, message.clone()));
    let ready = ConditionUpdate::no(ConditionType::Ready, reason, message);
    conditions::remove(&mut status.conditions, ConditionType::Stalled);
    for update in [update, ready].into_iter().chain(stalled) {
        conditions::set(&mut status.conditions, update, generation, now);
    }
    match restraint::paused_without_decision(object) {
        Some(paused) => conditions::set(&mut status.conditions, paused, generation, now),
        None => conditions::remove(&mut status.conditions, ConditionType::Paused),
    }
    conditions::sort(&mut status.conditions);
    status
}

/// Returns the status of a role with a target that was found while that of another role was not.
/// Its own obstacles are removed.
pub fn found(previous: &LLMAutoscalerStatus) -> LLMAutoscalerStatus {
    let mut status = previous.clone();
    forget_preconditions(&mut status.conditions);
    let able = conditions::find(&status.conditions, ConditionType::AbleToScale);
    let obstacle =
        able.map(|able| able.reason.clone()).filter(|reason| refusal::is_obstacle(reason));
    if let Some(obstacle) = obstacle {
        status.conditions.retain(|condition| condition.reason != obstacle);
    }
    status
}

/// Removes conditions about what kept an earlier step from deciding. If it still does, they will be
/// set again.
fn forget_preconditions(conditions: &mut Vec<Condition>) {
    conditions.retain(|condition| !is_precondition(condition));
}

/// Removes one condition, if it is about what kept an earlier step from deciding.
fn forget_precondition(conditions: &mut Vec<Condition>, type_: ConditionType) {
    conditions.retain(|condition| condition.type_ != type_ || !is_precondition(condition));
}

fn is_precondition(condition: &Condition) -> bool {
    [Reason::InvalidSpec, Reason::PodsUnknown].iter().any(|reason| condition.reason == *reason)
}

impl Report<'_> {
    fn size_written(&self) -> Option<i32> {
        self.written.as_ref().and_then(|written| written.size)
    }

    /// Returns why the size changes; `None` if it does not.
    fn reason(&self) -> Option<String> {
        Some(self.step.reason()).filter(|reason| !reason.is_empty())
    }
}

fn condition_updates(
    previous: &LLMAutoscalerStatus,
    report: &Report<'_>,
    now: DateTime<Utc>,
) -> Vec<ConditionUpdate> {
    let mut updates = vec![messages::got_scale()];
    updates.extend(report.step.conditions());
    updates.extend(report.written.iter().flat_map(|written| written.conditions.clone()));
    let just_scaled = previous
        .last_scale_time
        .as_ref()
        .is_some_and(|t| now - time::from_kubernetes(t) < SUCCESS_SHOWN)
        && previous.conditions.iter().any(|condition| condition.reason == Reason::SucceededRescale);
    if just_scaled && report.written.is_none() {
        updates.retain(|update| {
            !matches!(update.reason, Reason::ReadyForNewScale | Reason::SucceededGetScale)
        });
    }
    let failed = updates.iter().rfind(|update| {
        !update.status
            && matches!(update.type_, ConditionType::AbleToScale | ConditionType::ScalingActive)
            && update.reason != Reason::ScalingDisabled
    });
    updates.push(match failed {
        Some(ConditionUpdate { reason, message, .. }) => {
            ConditionUpdate::no(ConditionType::Ready, *reason, message.clone())
        }
        None => restraint::ready(report),
    });
    updates.push(match missing(&report.seen.problems) {
        Some(missing) => {
            ConditionUpdate::no(ConditionType::SamplesComplete, Reason::MissingSamples, missing)
        }
        None => ConditionUpdate::yes(
            ConditionType::SamplesComplete,
            Reason::AllReplicas,
            "every running replica has a sample",
        ),
    });
    updates
}

/// Lists the first few replicas without a usable sample, and why they have none.
pub fn missing(problems: &[Problem]) -> Option<String> {
    if problems.is_empty() {
        return None;
    }
    let named: Vec<String> = problems
        .iter()
        .take(NAMED)
        .map(|problem| format!("{}: {}", problem.of, problem.text))
        .collect();
    let more = problems.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(format!("no usable sample from {}{more}", named.join("; ")))
}

/// Renders the metrics as the HPA's column TARGETS does: two at most.
fn summary(plan: &Plan, metrics: &[MetricStatus]) -> String {
    let of = |(plan, metric): (&llm_autoscaler_api::MetricPlan, &MetricStatus)| {
        format!(
            "{} {}/{}",
            plan.short,
            metric.current.as_deref().unwrap_or("<unknown>"),
            metric.target
        )
    };
    let mut parts: Vec<String> = plan.metrics.iter().zip(metrics).take(2).map(of).collect();
    if metrics.len() > 2 {
        parts.push(format!("+ {} more...", metrics.len() - 2));
    }
    parts.join(", ")
}

fn target_status(
    before: Option<&TargetStatus>,
    report: &Report<'_>,
    metrics: Vec<MetricStatus>,
    now: DateTime<Utc>,
) -> TargetStatus {
    let Report { plan, view, step: Step { decision, .. }, seen, .. } = report;
    let target = &plan.target;
    let name = report.role.or(target.role.as_deref()).unwrap_or(&target.name);
    let derivation = match &decision.outcome {
        Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
            Some(decision_status(derivation, report))
        }
        _ => None,
    };
    let mut decisions = before.map(|target| target.decisions.clone()).unwrap_or_default();
    if let Some(past) = past_decision(before, report, derivation.as_ref(), now) {
        // A rule that changes back and forth takes one line, not ten.
        if decisions.first().is_some_and(|last| last.from == last.to && past.from == past.to) {
            decisions.remove(0);
        }
        decisions.insert(0, past);
        decisions.truncate(DECISIONS);
    }
    TargetStatus {
        name: name.to_owned(),
        uid: Some(view.uid.clone()),
        current_replicas: decision.current,
        ready_replicas: seen.ready,
        desired_replicas: decision
            .desired()
            .or(before.map(|target| target.desired_replicas))
            .unwrap_or(decision.current),
        metrics,
        decision: derivation,
        decisions,
        start_up_seconds: report.start_ups.seconds(),
        manual_change: report
            .restraint
            .respected
            .as_ref()
            .map(|respected| respected.change.status()),
        history: Some(report.history.clone()),
    }
}

fn decision_status(derivation: &Derivation, report: &Report<'_>) -> DecisionStatus {
    DecisionStatus {
        raw: derivation.raw,
        stabilized: derivation.stabilized,
        limited: derivation.limited,
        limited_by: report.step.limited_by().map_or("", Reason::as_str).to_owned(),
        applied: report.step.decision.desired().unwrap_or(derivation.desired),
        reason: report.reason(),
    }
}

/// Returns a decision that is worth keeping: the size has changed, or the rule that limits it.
fn past_decision(
    before: Option<&TargetStatus>,
    report: &Report<'_>,
    derivation: Option<&DecisionStatus>,
    now: DateTime<Utc>,
) -> Option<PastDecision> {
    let current = report.step.decision.current;
    let to = report.size_written().unwrap_or(current);
    let limited_by = report.step.limited_by().unwrap_or(Reason::OutOfBounds).as_str();
    let last =
        before.and_then(|target| target.decisions.first()).map(|past| past.limited_by.as_str());
    let usual = Reason::DesiredWithinRange.as_str();
    let changed_rule = derivation.is_some() && last.unwrap_or(usual) != limited_by;
    if to == current && !changed_rule {
        return None;
    }
    Some(PastDecision {
        time: time::to_kubernetes(now),
        from: current,
        to,
        limited_by: limited_by.to_owned(),
        reason: report.reason(),
    })
}

#[cfg(test)]
mod tests;
