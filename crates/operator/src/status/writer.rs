//! Writes status, and only if it differs enough from the last one.
//!
//! Sizes, and conditions that begin or cease to hold, are written at once; reasons and rules at
//! most every 5 s; values that merely drift at most every 15 s. A tick that changes nothing writes
//! nothing.

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt, api::Patch};
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus, MetricStatus,
    conditions::ConditionType,
    managers,
    memory::{self, MEMORY_BUDGET},
};
use llm_autoscaler_core::{Monotonic, Now};
use serde_json::json;
use tracing::{debug, warn};

use super::write_limiter::WriteLimiter;
use crate::{
    kube_api::{DEADLINE, apply_as, within},
    telemetry::Telemetry,
};

/// The shortest time between two writes for reasons and rules that change, because these may change
/// with every sample.
const REASONS_EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two writes for values that drift.
const VALUES_EVERY: Duration = Duration::from_secs(15);

/// Writes one autoscaler's status.
pub(crate) struct StatusWriter {
    api: Api<LLMAutoscaler>,
    telemetry: Telemetry,
    limiter: WriteLimiter,
    /// The status that the API server has, as far as is known.
    written: LLMAutoscalerStatus,
    /// The status as it should be now.
    status: LLMAutoscalerStatus,
    /// The time of the step that wrote last.
    written_at: Option<Monotonic>,
    has_failed: bool,
    /// A status with more memory than the budget allows has been logged.
    has_logged_cut: bool,
}

impl StatusWriter {
    /// Begins with the status that the object has.
    pub(crate) fn new(
        client: &Client,
        object: &Arc<LLMAutoscaler>,
        telemetry: Telemetry,
        limiter: WriteLimiter,
    ) -> Self {
        let api = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
        let status = object.status.clone().unwrap_or_default();
        Self {
            api,
            telemetry,
            limiter,
            written: status.clone(),
            status,
            written_at: None,
            has_failed: false,
            has_logged_cut: false,
        }
    }

    /// Returns the status as it should be now.
    pub(crate) fn status(&self) -> &LLMAutoscalerStatus {
        &self.status
    }

    /// Takes over a status, and writes it if it differs enough from the last one.
    pub(crate) async fn write(
        &mut self,
        object: &LLMAutoscaler,
        status: LLMAutoscalerStatus,
        now: Now,
    ) {
        self.status = status;
        if !self.is_due(now.monotonic) {
            return;
        }
        let name = object.name_any();
        let patch = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            // With the UID, a status never reaches another object of the same name.
            "metadata": {"name": name, "uid": object.uid()},
            "status": self.within_budget(&name),
        });
        let (params, patch) = (apply_as(managers::STATUS), Patch::Apply(patch));
        let _permit = self.limiter.enter().await;
        let call = self.api.patch_status(&name, &params, &patch);
        let error = within(DEADLINE, call).await.err();
        self.written_at = Some(now.monotonic);
        self.has_failed = error.is_some();
        self.telemetry.record_status_write(if self.has_failed { "error" } else { "ok" });
        match error {
            Some(error) => {
                warn!(name, %error, "the status could not be written; a later step will");
            }
            None => self.written = self.status.clone(),
        }
    }

    /// Returns the status with no more memory than the budget allows.
    fn within_budget(&mut self, name: &str) -> LLMAutoscalerStatus {
        let mut status = self.status.clone();
        let bytes = memory::size(&status.targets);
        if bytes > MEMORY_BUDGET && !self.has_logged_cut {
            self.has_logged_cut = true;
            debug!(name, bytes, budget = MEMORY_BUDGET, "the memory in the status is cut");
        }
        memory::fit(&mut status.targets, MEMORY_BUDGET);
        status
    }

    fn is_due(&self, now: Monotonic) -> bool {
        let (written, status) = (&self.written, &self.status);
        urgent(written) != urgent(status) && (!self.has_failed || self.rested(REASONS_EVERY, now))
            || self.rested(REASONS_EVERY, now) && reasons(written) != reasons(status)
            || self.rested(VALUES_EVERY, now) && values(written) != values(status)
    }

    /// Returns whether the last write is at least so long ago.
    fn rested(&self, time: Duration, now: Monotonic) -> bool {
        self.written_at.is_none_or(|at| now.since(at) >= time)
    }
}

/// Returns the parts that are written as soon as they change: sizes, and which conditions hold.
/// Conditions that may change with a single missed scrape are left out.
fn urgent(status: &LLMAutoscalerStatus) -> impl PartialEq {
    let swings = |condition: &Condition| {
        [ConditionType::SamplesComplete, ConditionType::ScalingLimited]
            .iter()
            .any(|type_| condition.type_ == *type_)
    };
    let conditions = status.conditions.iter().filter(|condition| !swings(condition));
    let conditions: Vec<_> = conditions.map(|c| (&c.type_, &c.status)).collect();
    let targets: Vec<_> = status
        .targets
        .iter()
        .map(|target| {
            (&target.uid, target.current_replicas, target.ready_replicas, target.desired_replicas)
        })
        .collect();
    let sizes = (status.current_replicas, status.desired_replicas);
    (
        status.observed_generation,
        &status.reference,
        sizes,
        &status.last_scale_time,
        conditions,
        targets,
    )
}

/// Returns the parts that are written a few seconds after they change: reasons and rules.
fn reasons(status: &LLMAutoscalerStatus) -> impl PartialEq {
    let conditions: Vec<_> =
        status.conditions.iter().map(|c| (&c.type_, &c.status, &c.reason)).collect();
    let targets: Vec<_> = status
        .targets
        .iter()
        .map(|target| {
            (target.decision.as_ref().map(|decision| &decision.limited_by), &target.decisions)
        })
        .collect();
    (conditions, targets)
}

/// Returns the parts that drift with the samples. The memory (history, start-up times, a manual
/// change) and the times of samples alone cause no write.
fn values(status: &LLMAutoscalerStatus) -> impl PartialEq {
    let metrics = status.targets.iter().flat_map(|target| &target.metrics);
    let metrics: Vec<_> = metrics
        .map(|metric| {
            let MetricStatus { name, series, current, target, sampled_at: _, .. } = metric;
            let MetricStatus { source, proposal, replicas, error, .. } = metric;
            ((name, series, current, target), (source, proposal, replicas, error))
        })
        .collect();
    let targets: Vec<_> =
        status.targets.iter().map(|target| (&target.name, &target.decision)).collect();
    (&status.summary, &status.conditions, targets, metrics)
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_api::{
        DecisionStatus, MetricStatus, TargetStatus,
        conditions::{self, ConditionUpdate, Reason},
    };

    use super::*;

    fn status(desired: i32, reason: Reason, current: &str) -> LLMAutoscalerStatus {
        let mut conditions = Vec::new();
        let now = chrono::DateTime::UNIX_EPOCH;
        conditions::set(
            &mut conditions,
            ConditionUpdate::yes(ConditionType::AbleToScale, reason, "m"),
            Some(1),
            now,
        );
        let decision = DecisionStatus {
            raw: 1,
            stabilized: 1,
            limited: 1,
            limited_by: "x".into(),
            applied: 1,
            reason: None,
        };
        let metrics =
            vec![MetricStatus { current: Some(current.into()), ..MetricStatus::default() }];
        let target = TargetStatus { decision: Some(decision), metrics, ..TargetStatus::default() };
        LLMAutoscalerStatus {
            desired_replicas: Some(desired),
            conditions,
            targets: vec![target],
            ..Default::default()
        }
    }

    #[test]
    fn sizes_are_urgent_and_values_are_not() {
        let base = status(1, Reason::ReadyForNewScale, "5");
        let table = [
            (status(1, Reason::ReadyForNewScale, "5"), [false, false, false]),
            (status(2, Reason::ReadyForNewScale, "5"), [true, false, false]),
            (status(1, Reason::ScaleDownStabilized, "5"), [false, true, true]),
            (status(1, Reason::ReadyForNewScale, "6"), [false, false, true]),
        ];
        for (other, expected) in table {
            let differs = [
                urgent(&base) != urgent(&other),
                reasons(&base) != reasons(&other),
                values(&base) != values(&other),
            ];
            assert_eq!(differs, expected, "{other:?}");
        }
    }
}
