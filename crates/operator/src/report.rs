//! Decision → status, and when that is worth a write.
//!
//! A status is written at once when it says something new: sizes, conditions, reasons. Values that only
//! drift are written at most every 15 s. A tick that has nothing to say writes nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use llm_autoscaler_api::{
    DecisionStatus, LLMAutoscaler, LLMAutoscalerStatus, MetricStatus, PastDecision, Plan, ReplicasStatus,
    TargetStatus,
    conditions::{self, ConditionUpdate},
    managers, quantity, time,
    words::{self, Step},
};
use llm_autoscaler_core::{Derivation, HistoryRecord, MetricOutcome, Outcome};
use serde_json::json;
use tracing::warn;

use crate::{observe::Problem, observe::Seen, pod_monitor, target::ScaleView, telemetry::Telemetry};

/// Values that drift are written no more often than this.
const VALUES_EVERY: Duration = Duration::from_secs(15);
/// How long "the scale was updated" is left to be read before the next step's words take its place; as long
/// as the HPA leaves it.
const SUCCESS_SHOWN: TimeDelta = TimeDelta::seconds(15);
/// How many past decisions are kept.
const DECISIONS: usize = 10;
/// The condition that tells whether every replica has a sample.
const SAMPLES: &str = "SamplesComplete";
/// The order in which conditions are read: the HPA's first, in its order.
const ORDER: [&str; 8] = [
    "AbleToScale",
    "ScalingActive",
    "ScalingLimited",
    "ScaledToZero",
    "Ready",
    "Stalled",
    SAMPLES,
    pod_monitor::CONDITION,
];
/// How many missing pods are named.
const NAMED: usize = 3;

/// Everything that a status is made of.
pub struct Report<'a> {
    /// The autoscaler.
    pub object: &'a LLMAutoscaler,
    /// Its plan.
    pub plan: &'a Plan,
    /// What was seen.
    pub seen: &'a Seen,
    /// The target's scale as it is now.
    pub view: &'a ScaleView,
    /// What was decided, and the words for it.
    pub step: Step<'a>,
    /// What was written to the target, if anything was.
    pub written: Option<Written>,
    /// What is to be remembered.
    pub history: HistoryRecord,
}

/// A write to the target.
pub struct Written {
    /// The new size; `None` if the write failed.
    pub size: Option<i32>,
    /// The conditions that follow.
    pub conditions: Vec<ConditionUpdate>,
}

/// The status that follows `previous`.
pub fn status(
    previous: &LLMAutoscalerStatus,
    report: &Report<'_>,
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let Report { object, step: Step { decision, .. }, .. } = report;
    let generation = object.metadata.generation;
    let mut status = LLMAutoscalerStatus {
        observed_generation: generation,
        reference: Some(reference(object)),
        current_replicas: Some(decision.current),
        desired_replicas: decision.desired().or(previous.desired_replicas),
        ..previous.clone()
    };
    for update in condition_updates(previous, report, now) {
        conditions::set(&mut status.conditions, update, generation, now);
    }
    conditions::remove(&mut status.conditions, "Stalled");
    if report.size_written().is_some() {
        status.last_scale_time = Some(time::to_kubernetes(now));
    }
    let metrics = metric_statuses(report);
    status.summary = Some(summary(report.plan, &metrics));
    let before = previous.targets.first().filter(|target| target.uid.as_ref() == Some(&report.view.uid));
    status.targets = vec![target_status(before, report, metrics, now)];
    status
}

impl Report<'_> {
    fn size_written(&self) -> Option<i32> {
        self.written.as_ref().and_then(|written| written.size)
    }

    /// Why the size changes; nothing where it does not.
    fn reason(&self) -> Option<String> {
        Some(self.step.reason()).filter(|reason| !reason.is_empty())
    }
}

/// What is scaled, as KIND/NAME.
pub fn reference(object: &LLMAutoscaler) -> String {
    let target = &object.spec.scale_target_ref;
    format!("{}/{}", target.kind, target.name)
}

fn condition_updates(
    previous: &LLMAutoscalerStatus,
    report: &Report<'_>,
    now: DateTime<Utc>,
) -> Vec<ConditionUpdate> {
    let mut updates = vec![words::got_scale()];
    updates.extend(report.step.conditions());
    updates.extend(report.written.iter().flat_map(|written| written.conditions.clone()));
    let just_scaled =
        previous.last_scale_time.as_ref().is_some_and(|t| now - time::from_kubernetes(t) < SUCCESS_SHOWN)
            && previous.conditions.iter().any(|condition| condition.reason == "SucceededRescale");
    if just_scaled && report.written.is_none() {
        updates.retain(|update| !matches!(update.reason, "ReadyForNewScale" | "SucceededGetScale"));
    }
    let failed = updates.iter().rfind(|update| {
        !update.status
            && matches!(update.type_, "AbleToScale" | "ScalingActive")
            && update.reason != "ScalingDisabled"
    });
    updates.push(match failed {
        Some(ConditionUpdate { reason, message, .. }) => {
            ConditionUpdate::no("Ready", reason, message.clone())
        }
        None => ConditionUpdate::yes(
            "Ready",
            "Scaling",
            "the target is found, its metrics are read, its size is kept",
        ),
    });
    updates.push(match missing(&report.seen.problems) {
        Some(missing) => ConditionUpdate::no(SAMPLES, "MissingSamples", missing),
        None => ConditionUpdate::yes(SAMPLES, "AllReplicas", "every running replica has a sample"),
    });
    updates
}

/// Which replicas have no usable sample, and why; the first few by name.
pub fn missing(problems: &[Problem]) -> Option<String> {
    if problems.is_empty() {
        return None;
    }
    let named: Vec<String> =
        problems.iter().take(NAMED).map(|problem| format!("{}: {}", problem.pod, problem.text)).collect();
    let more = problems.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(format!("no usable sample from {}{more}", named.join("; ")))
}

fn metric_statuses(report: &Report<'_>) -> Vec<MetricStatus> {
    let step = &report.step;
    let mut outcomes = step.decision.metrics.iter().enumerate();
    let of = |plan: &llm_autoscaler_api::MetricPlan| {
        let status = MetricStatus {
            name: plan.name.clone(),
            series: plan.series.clone(),
            target: plan.target.clone(),
            ..MetricStatus::default()
        };
        match outcomes.next() {
            Some((_, MetricOutcome::Proposal(proposal))) => MetricStatus {
                current: Some(quantity::show(proposal.usage)),
                proposal: Some(proposal.replicas),
                replicas: Some(ReplicasStatus {
                    used: proposal.counted.ready as i32,
                    missing: proposal.counted.missing as i32,
                    not_ready: proposal.counted.unready as i32,
                }),
                ..status
            },
            Some((index, MetricOutcome::Failed(error))) => {
                let failure = step.metrics[index].failure(&step.policy.metrics[index], *error);
                MetricStatus { error: Some(failure.error), ..status }
            }
            None => status,
        }
    };
    report.plan.metrics.iter().map(of).collect()
}

/// As the HPA's column: two metrics at most.
fn summary(plan: &Plan, metrics: &[MetricStatus]) -> String {
    let of = |(plan, metric): (&llm_autoscaler_api::MetricPlan, &MetricStatus)| {
        format!("{} {}/{}", plan.short, metric.current.as_deref().unwrap_or("<unknown>"), metric.target)
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
    let Report { object, view, step: Step { decision, .. }, seen, .. } = report;
    let derivation = match &decision.outcome {
        Outcome::Computed(derivation) => Some(decision_status(derivation, report)),
        _ => None,
    };
    let mut decisions = before.map(|target| target.decisions.clone()).unwrap_or_default();
    if let Some(past) = past_decision(before, report, derivation.as_ref(), now) {
        decisions.insert(0, past);
        decisions.truncate(DECISIONS);
    }
    TargetStatus {
        name: object.spec.scale_target_ref.name.clone(),
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
        history: Some(report.history.clone()),
    }
}

fn decision_status(derivation: &Derivation, report: &Report<'_>) -> DecisionStatus {
    DecisionStatus {
        raw: derivation.raw,
        stabilized: derivation.stabilized,
        limited: derivation.limited,
        limited_by: words::limit_words(derivation.limit).0.to_owned(),
        applied: derivation.desired,
        reason: report.reason(),
    }
}

/// A decision that is worth keeping: the size was changed, or something else limits it now.
fn past_decision(
    before: Option<&TargetStatus>,
    report: &Report<'_>,
    derivation: Option<&DecisionStatus>,
    now: DateTime<Utc>,
) -> Option<PastDecision> {
    let current = report.step.decision.current;
    let to = report.size_written().unwrap_or(current);
    let limited_by = derivation.map_or("OutOfBounds", |derivation| &derivation.limited_by);
    let last = before.and_then(|target| target.decisions.first()).map(|past| past.limited_by.as_str());
    let changed_rule = derivation.is_some() && last.unwrap_or("DesiredWithinRange") != limited_by;
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

/// Writes one autoscaler's status.
pub struct Writer {
    api: Api<LLMAutoscaler>,
    telemetry: Telemetry,
    /// As the API server has it, as far as we know.
    written: LLMAutoscalerStatus,
    /// As it would be now.
    status: LLMAutoscalerStatus,
    pod_monitor: Option<ConditionUpdate>,
    at: Option<Instant>,
    retry: bool,
}

impl Writer {
    /// Begins with the status that the object has.
    pub fn new(client: &Client, object: &Arc<LLMAutoscaler>, telemetry: Telemetry) -> Self {
        let api = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
        let status = object.status.clone().unwrap_or_default();
        Self { api, telemetry, written: status.clone(), status, pod_monitor: None, at: None, retry: false }
    }

    /// The status as it would be now.
    pub fn status(&self) -> &LLMAutoscalerStatus {
        &self.status
    }

    /// Its conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.status.conditions
    }

    /// Notes how the PodMonitor stands; written with the next status.
    pub fn set_pod_monitor(&mut self, update: Option<ConditionUpdate>) {
        self.pod_monitor = update;
    }

    /// The step ended before a decision: one condition says why, and nothing else changes.
    pub async fn failed(&mut self, object: &LLMAutoscaler, update: ConditionUpdate, terminal: bool) {
        let now = Utc::now();
        let generation = object.metadata.generation;
        let mut status = self.status.clone();
        status.observed_generation = generation;
        status.reference = Some(reference(object));
        let (reason, message) = (update.reason, update.message.clone());
        conditions::set(&mut status.conditions, update, generation, now);
        let ready = ConditionUpdate::no("Ready", reason, message.clone());
        conditions::set(&mut status.conditions, ready, generation, now);
        if terminal {
            let stalled = ConditionUpdate::yes("Stalled", reason, message);
            conditions::set(&mut status.conditions, stalled, generation, now);
        } else {
            conditions::remove(&mut status.conditions, "Stalled");
        }
        self.write(object, status).await;
    }

    /// The spec means nothing.
    pub async fn invalid(&mut self, object: &LLMAutoscaler, reason: &'static str, message: &str) {
        self.failed(object, ConditionUpdate::no("ScalingActive", reason, message), true).await;
    }

    /// Takes over a status, and writes it if that is worth it.
    pub async fn write(&mut self, object: &LLMAutoscaler, mut status: LLMAutoscalerStatus) {
        match self.pod_monitor.clone() {
            Some(update) => {
                conditions::set(&mut status.conditions, update, object.metadata.generation, Utc::now());
            }
            None => conditions::remove(&mut status.conditions, pod_monitor::CONDITION),
        }
        status.conditions.sort_by_key(|condition| ORDER.iter().position(|type_| *type_ == condition.type_));
        self.status = status;
        let news = news(&self.written) != news(&self.status);
        let due = self.at.is_none_or(|at| at.elapsed() >= VALUES_EVERY);
        let drifted = values(&self.written) != values(&self.status);
        if !(news || self.retry || due && drifted) {
            return;
        }
        let patch = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            // With the UID, a status never reaches another object of the same name.
            "metadata": {"name": object.name_any(), "uid": object.uid()},
            "status": self.status,
        });
        let params = PatchParams::apply(managers::STATUS).force();
        let (name, patch) = (object.name_any(), Patch::Apply(patch));
        let call = self.api.patch_status(&name, &params, &patch);
        let result = tokio::time::timeout(Duration::from_secs(10), call).await;
        self.at = Some(Instant::now());
        self.retry = !matches!(result, Ok(Ok(_)));
        if self.retry {
            let error = match result {
                Ok(Err(error)) => error.to_string(),
                _ => "no answer within 10 s".to_owned(),
            };
            warn!(
                name = object.name_any(),
                error, "the status could not be written; it will be with the next step"
            );
            self.telemetry.status_written("error");
        } else {
            self.written = self.status.clone();
            self.telemetry.status_written("ok");
        }
    }
}

/// What is written at once when it changes.
fn news(status: &LLMAutoscalerStatus) -> serde_json::Value {
    // A pod that misses a read now and then is no news.
    let conditions = status.conditions.iter().filter(|condition| condition.type_ != SAMPLES);
    let conditions: Vec<_> =
        conditions.map(|c| (&c.type_, &c.status, &c.reason, c.observed_generation)).collect();
    let target = |target: &TargetStatus| {
        let rule = target.decision.as_ref().map(|decision| (decision.limited_by.clone(), decision.applied));
        let sizes = (target.current_replicas, target.ready_replicas, target.desired_replicas);
        json!([target.uid, sizes, rule, target.decisions])
    };
    let targets: Vec<_> = status.targets.iter().map(target).collect();
    let sizes = (status.current_replicas, status.desired_replicas);
    json!([status.observed_generation, status.reference, sizes, status.last_scale_time, conditions, targets])
}

/// What may drift: everything but the history, whose stamps move with every decision.
fn values(status: &LLMAutoscalerStatus) -> LLMAutoscalerStatus {
    let mut status = status.clone();
    for target in &mut status.targets {
        target.history = None;
    }
    status
}
