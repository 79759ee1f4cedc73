//! The parts of a status, by how soon a change of them is written.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{
    BillStatus, LLMAutoscalerStatus, MetricStatus, TargetStatus, conditions::ConditionType,
};
use llm_autoscaler_core::bill::BillRecord;

/// Returns the parts that are written as soon as they change: sizes, and which conditions hold.
/// Conditions that may change with a single missed scrape are left out.
pub(super) fn urgent(status: &LLMAutoscalerStatus) -> impl PartialEq {
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

/// Returns the parts that are written a few seconds after they change: reasons and rules, and the
/// number of replicas that are billed, since only that tells after a restart how many have gone.
pub(super) fn reasons(status: &LLMAutoscalerStatus) -> impl PartialEq {
    let conditions: Vec<_> =
        status.conditions.iter().map(|c| (&c.type_, &c.status, &c.reason)).collect();
    let targets: Vec<_> = status
        .targets
        .iter()
        .map(|target| {
            let limited_by = target.decision.as_ref().map(|decision| &decision.limited_by);
            (limited_by, &target.decisions, record(target).map(BillRecord::replicas))
        })
        .collect();
    (conditions, targets)
}

/// Returns the parts that drift with the samples, the reasons of replicas among them, and the
/// recommendation, which is renewed only when it has grown by minutes. The memory
/// (history, start-up times, a manual change), the times of samples and the amounts of the bill
/// alone cause no write.
pub(super) fn values(status: &LLMAutoscalerStatus) -> impl PartialEq {
    let metrics = status.targets.iter().flat_map(|target| &target.metrics);
    let metrics: Vec<_> = metrics
        .map(|metric| {
            let MetricStatus { name, series, current, target, sampled_at: _, .. } = metric;
            let MetricStatus { source, proposal, replicas, error, .. } = metric;
            ((name, series, current, target), (source, proposal, replicas, error))
        })
        .collect();
    let open = |target| record(target).map(|record| &record.open);
    let targets: Vec<_> = status
        .targets
        .iter()
        .map(|target| (&target.name, &target.decision, &target.recommendation, open(target)))
        .collect();
    (&status.summary, &status.conditions, targets, metrics)
}

/// Returns the time until which the bills of all targets are complete; `None` where none has any.
pub(super) fn bill_until(status: &LLMAutoscalerStatus) -> Option<DateTime<Utc>> {
    status.targets.iter().filter_map(|target| Some(record(target)?.until)).min()
}

fn record(target: &TargetStatus) -> Option<&BillRecord> {
    target.bill.as_ref().and_then(BillStatus::record)
}
