//! The status of one role after a step that reached a decision. Pure: the writer decides which
//! changes to write, and when.

mod blocks;
mod draining;
mod lists;
mod metrics;
mod optional_conditions;
mod ownership;
mod promise;
mod recommending;

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{
    ChangeRecord, DecisionStatus, MetricStatus, PastDecision, TargetConfig, TargetStatus,
    conditions::{ConditionType, ConditionUpdate, Reason},
    memory,
    messages::{self, EventMessage, Step},
    time,
};
use llm_autoscaler_core::{Derivation, Mode, Outcome, RoleMemory};
use llm_autoscaler_observe::{
    observer::{Findings, Problem},
    promise::PromiseTracker,
};

use super::role_status::RoleStatus;
use crate::{
    drain::progress::DrainProgress, ownership::write_block::WriteBlock, scale::view::ScaleView,
};

pub(crate) use blocks::{contested, paced, paused_without_decision};
pub(crate) use ownership::{adopted, repeated, unknown_controller};

/// The time for which the reason of a successful write stays in the status before the next step
/// replaces it. The HPA leaves it for as long.
const SUCCESS_SHOWN: TimeDelta = TimeDelta::seconds(15);
/// The number of past decisions that are kept.
const DECISIONS: usize = 10;

/// Everything that the status of a role is made of after a decision.
pub(crate) struct RoleReport<'a> {
    /// The name of the role, if there are several.
    pub role: Option<&'a str>,
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// The target's part of the spec.
    pub config: &'a TargetConfig,
    /// The findings of the observation on which the decision rests.
    pub findings: &'a Findings,
    /// The replicas without a usable sample, and the sources without an answer.
    pub problems: &'a [Problem],
    /// The target's current scale.
    pub view: &'a ScaleView,
    /// The decision, with everything that its messages need.
    pub messages: Step<'a>,
    /// Whatever keeps the operator from writing to the target.
    pub block: &'a WriteBlock,
    /// The progress of scale-downs that drain.
    pub drain: &'a DrainProgress,
    /// The write to the target, if there was one.
    pub written: Option<Written>,
    /// The memory for the next decisions.
    pub memory: &'a RoleMemory,
    /// The latest changes of size by other writers, to be remembered.
    pub changes: &'a [ChangeRecord],
    /// The UIDs of the pods with wedged engines, to be remembered.
    pub wedged: Vec<String>,
    /// The promise of the spec.
    pub promise: &'a PromiseTracker,
    /// The condition of the PodMonitor, if the spec asks for one.
    pub pod_monitor: Option<ConditionUpdate>,
}

/// A write to the target.
pub(crate) struct Written {
    /// The new size; `None` if the write failed.
    pub size: Option<i32>,
    /// The conditions that follow from it.
    pub conditions: Vec<ConditionUpdate>,
    /// The event about a write that failed.
    pub warning: Option<EventMessage>,
}

/// Returns the status of a role that follows `previous`.
pub(crate) fn role_status(
    previous: &RoleStatus,
    report: &RoleReport<'_>,
    now: DateTime<Utc>,
) -> RoleStatus {
    let RoleReport { generation, config, messages, .. } = report;
    let mut status = previous.begun(*generation);
    for update in condition_updates(previous, report, now) {
        status.set(update, *generation, Some(now));
    }
    let optional = optional(report);
    for (type_, update) in optional.into_iter().chain(draining::conditions(report.drain)) {
        status.set_or_remove(type_, update, *generation, Some(now));
    }
    let mut metrics = metrics::statuses(config, report.findings, messages, now);
    if let Some((first, size)) = metrics.first_mut().zip(report.promise.size()) {
        // The size of the promise stands for what the metric itself proposes.
        first.proposal = i32::try_from(size.replicas).ok();
    }
    status.summary = Some(summary(config, &metrics, report.promise));
    status.current_replicas = Some(report.current_replicas());
    status.desired_replicas = report.desired_replicas().or(previous.desired_replicas);
    if report.size_written().is_some() {
        status.last_scale_time = Some(now);
    }
    let before = previous.target_with_uid(&report.view.uid);
    status.set_target(target_status(before, report, metrics, now));
    status
}

impl RoleReport<'_> {
    fn size_written(&self) -> Option<i32> {
        self.written.as_ref().and_then(|written| written.size)
    }

    /// Returns the size of the target that the decision is about.
    fn current_replicas(&self) -> i32 {
        match self.config.mode {
            Mode::Scale => self.messages.decision.current,
            // A recommendation starts from the size that recommendations have led to.
            Mode::Recommend => self.view.scale.current,
        }
    }

    /// Returns the size that the decision asks for; `None` where it asks for none. What was
    /// recommended before stands until another size is.
    fn desired_replicas(&self) -> Option<i32> {
        let decision = self.messages.decision;
        let shadow = || Some(decision.current).filter(|_| self.config.mode == Mode::Recommend);
        decision.desired().or_else(shadow)
    }

    /// Returns the size that the decision has led to.
    fn size_after(&self) -> i32 {
        let recommended = self.desired_replicas().filter(|_| self.config.mode == Mode::Recommend);
        self.size_written().or(recommended).unwrap_or(self.messages.decision.current)
    }

    /// Returns why the size changes; `None` if it does not.
    fn reason(&self) -> Option<String> {
        Some(self.messages.reason()).filter(|reason| !reason.is_empty())
    }
}

/// Returns the conditions that every decision sets, in the order in which to set them.
fn condition_updates(
    previous: &RoleStatus,
    report: &RoleReport<'_>,
    now: DateTime<Utc>,
) -> Vec<ConditionUpdate> {
    let mut updates = vec![messages::got_scale()];
    updates.extend(report.messages.conditions());
    updates.extend(report.written.iter().flat_map(|written| written.conditions.clone()));
    if report.written.is_none() && has_just_scaled(previous, now) {
        updates.retain(|update| {
            !matches!(update.reason, Reason::ReadyForNewScale | Reason::SucceededGetScale)
        });
    }
    add_contest(&mut updates, report);
    updates.push(ready(&updates, report));
    updates.push(samples_complete(report.problems, report.findings));
    updates
}

/// Returns whether the reason of a successful write has to stay in the status for now.
fn has_just_scaled(previous: &RoleStatus, now: DateTime<Utc>) -> bool {
    previous.last_scale_time.is_some_and(|time| now - time < SUCCESS_SHOWN)
        && previous
            .conditions
            .values()
            .any(|condition| condition.reason == Reason::SucceededRescale)
}

/// Replaces `AbleToScale` while another writer undoes what is written. A write that failed is of
/// more interest. The condition must not be True for a part of the step, because that would be a
/// transition in each step.
fn add_contest(updates: &mut Vec<ConditionUpdate>, report: &RoleReport<'_>) {
    let RoleReport { config, block, messages, .. } = report;
    let has_failed = updates.iter().any(|update| update.reason == Reason::FailedUpdateScale);
    let contest = blocks::contest(block, config.policy.profile, messages.decision);
    if let Some(contest) = contest.filter(|_| !has_failed) {
        updates.retain(|update| update.type_ != ConditionType::AbleToScale);
        updates.push(contest);
    }
}

/// Returns `Ready`: False with the reason of the last failure among the other conditions.
fn ready(updates: &[ConditionUpdate], report: &RoleReport<'_>) -> ConditionUpdate {
    let failed = updates.iter().rfind(|update| {
        !update.status
            && matches!(update.type_, ConditionType::AbleToScale | ConditionType::ScalingActive)
            && update.reason != Reason::ScalingDisabled
    });
    match failed {
        Some(ConditionUpdate { reason, message, .. }) => {
            ConditionUpdate::no(ConditionType::Ready, *reason, message.clone())
        }
        None if report.config.mode == Mode::Recommend => recommending::ready(),
        None => blocks::ready(report.block, report.messages.decision),
    }
}

fn samples_complete(problems: &[Problem], findings: &Findings) -> ConditionUpdate {
    let type_ = ConditionType::SamplesComplete;
    if let Some(missing) = missing(problems) {
        return ConditionUpdate::no(type_, Reason::MissingSamples, missing);
    }
    let asked = "every replica and source that is asked has a sample";
    let message = match findings.stuck.len() {
        0 => asked.to_owned(),
        stuck => format!("{asked}; {stuck} stuck (see ReplicasStuck)"),
    };
    ConditionUpdate::yes(type_, Reason::AllReplicas, message)
}

/// Lists the first few replicas without a usable sample, and why they have none.
pub(crate) fn missing(problems: &[Problem]) -> Option<String> {
    if problems.is_empty() {
        return None;
    }
    let text = |problem: &Problem| format!("{}: {}", problem.of, problem.text);
    Some(format!("no usable sample from {}", lists::clauses(problems.iter().map(text))))
}

/// Returns the conditions that are present only at times, by type; `None` for an absent one.
fn optional(report: &RoleReport<'_>) -> [(ConditionType, Option<ConditionUpdate>); 9] {
    let RoleReport { config, findings, messages, block, .. } = report;
    let paused = blocks::paused(block, &config.target.to_string(), messages.decision);
    let first_source = optional_conditions::first_source(config, findings);
    let recommending = (config.mode == Mode::Recommend).then(|| {
        recommending::condition(&config.target, report.current_replicas(), report.size_after())
    });
    [
        (ConditionType::Recommending, recommending),
        (ConditionType::Paused, paused),
        (ConditionType::ManualChange, blocks::manual_change(block, messages.decision)),
        (ConditionType::ReplicasStuck, optional_conditions::stuck(findings)),
        (ConditionType::FirstSourceUsed, first_source),
        (ConditionType::Fallback, messages.fallback()),
        (ConditionType::SLOActive, promise::condition(config, report.promise)),
        (ConditionType::Advisory, optional_conditions::advisory(config, findings)),
        (ConditionType::PodMonitorReady, report.pod_monitor.clone()),
    ]
}

/// Renders the metrics as the HPA's column TARGETS does: two at most. A promise is one of them; the
/// metric that stands in for it is shown while it does.
fn summary(config: &TargetConfig, metrics: &[MetricStatus], promise: &PromiseTracker) -> String {
    let promised = config.slo.as_ref().map(|slo| promise::summary(slo, promise));
    let is_hidden = promised.is_some() && promise.size().is_some();
    let shown = config.metrics.iter().zip(metrics).skip(usize::from(is_hidden));
    let shown = shown.map(|(config, metric)| {
        let current = metric.current.as_deref().unwrap_or("<unknown>");
        format!("{} {current}/{}", config.short, metric.target)
    });
    let mut parts: Vec<String> = promised.into_iter().chain(shown).collect();
    if parts.len() > 2 {
        let more = parts.len() - 2;
        parts.truncate(2);
        parts.push(format!("+ {more} more..."));
    }
    parts.join(", ")
}

fn target_status(
    before: Option<&TargetStatus>,
    report: &RoleReport<'_>,
    metrics: Vec<MetricStatus>,
    now: DateTime<Utc>,
) -> TargetStatus {
    let RoleReport { config, view, findings, .. } = report;
    let (target, decision) = (&config.target, report.messages.decision);
    let name = report.role.or(target.role.as_deref()).unwrap_or(&target.name);
    let derivation = match &decision.outcome {
        Outcome::Computed(derivation) | Outcome::Fallback { derivation, .. } => {
            Some(decision_status(derivation, report))
        }
        _ => None,
    };
    let mut status = TargetStatus {
        name: name.to_owned(),
        uid: Some(view.uid.clone()),
        current_replicas: report.current_replicas(),
        ready_replicas: findings.ready,
        desired_replicas: report
            .desired_replicas()
            .or(before.map(|target| target.desired_replicas))
            .unwrap_or(decision.current),
        metrics,
        decisions: decisions(before, report, derivation.is_some(), now),
        decision: derivation,
        recommendation: recommending::status(before, report.memory).map(Box::new),
        slo: promise::status(config, report.promise).map(Box::new),
        bill: before.and_then(|target| target.bill.clone()),
        ..TargetStatus::default()
    };
    let manual_change = report.block.manual_change.as_ref();
    let manual_change = manual_change.map(|respected| respected.change.status());
    let (changes, wedged) = (report.changes, &report.wedged);
    let learned = report.promise.record().cloned();
    memory::encode(&mut status, report.memory, manual_change, changes, wedged, learned);
    status
}

fn decision_status(derivation: &Derivation, report: &RoleReport<'_>) -> DecisionStatus {
    DecisionStatus {
        raw: derivation.raw,
        stabilized: derivation.stabilized,
        limited: derivation.limited,
        limited_by: report.messages.limited_by().map_or("", Reason::as_str).to_owned(),
        applied: report.messages.decision.desired().unwrap_or(derivation.desired),
        reason: report.reason(),
    }
}

/// Returns the past decisions, latest first, with this one if it is worth keeping.
fn decisions(
    before: Option<&TargetStatus>,
    report: &RoleReport<'_>,
    is_computed: bool,
    now: DateTime<Utc>,
) -> Vec<PastDecision> {
    let mut decisions = before.map(|target| target.decisions.clone()).unwrap_or_default();
    if let Some(latest) = past_decision(decisions.first(), report, is_computed, now) {
        // A rule that changes back and forth takes one line, not ten.
        if decisions.first().is_some_and(|last| last.from == last.to && latest.from == latest.to) {
            decisions.remove(0);
        }
        decisions.insert(0, latest);
        decisions.truncate(DECISIONS);
    }
    decisions
}

/// Returns a decision that is worth keeping: the size has changed, or the rule that limits it.
fn past_decision(
    last: Option<&PastDecision>,
    report: &RoleReport<'_>,
    is_computed: bool,
    now: DateTime<Utc>,
) -> Option<PastDecision> {
    let current = report.messages.decision.current;
    let to = report.size_after();
    let limited_by = report.messages.limited_by().unwrap_or(Reason::OutOfBounds).as_str();
    let last = last.map_or(Reason::DesiredWithinRange.as_str(), |past| past.limited_by.as_str());
    let changed_rule = is_computed && last != limited_by;
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
