//! The parts of a status, by how soon a change of them is written.

use std::{
    hash::{DefaultHasher, Hasher},
    io,
};

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{
    BillStatus, LLMAutoscalerStatus, MetricStatus, TargetStatus,
    conditions::{ConditionType, Reason},
};
use llm_autoscaler_core::bill::BillRecord;
use serde::Serialize;

/// What is kept of a status that was written, for the comparison with a later one: a hash of each
/// part. Ten thousand autoscalers have one each, and a status has some 4 kB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The hash of [`urgent`].
    pub urgent: u64,
    /// The hash of [`reasons`].
    pub reasons: u64,
    /// The hash of [`values`].
    pub values: u64,
    /// The time of [`bill_until`].
    pub bill_until: Option<DateTime<Utc>>,
}

impl Written {
    pub(super) fn new(status: &LLMAutoscalerStatus) -> Self {
        Self {
            urgent: urgent(status),
            reasons: reasons(status),
            values: values(status),
            bill_until: bill_until(status),
        }
    }
}

/// Returns the hash of some parts.
fn hash(parts: &impl Serialize) -> u64 {
    struct Input(DefaultHasher);

    impl io::Write for Input {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut input = Input(DefaultHasher::new());
    // A part that cannot be written as JSON could not be written to the API server either.
    let _ = serde_json::to_writer(&mut input, parts);
    input.0.finish()
}

/// Returns the hash of the parts that are written as soon as they change: sizes, whether zero is
/// next, and which conditions hold. Conditions that may change with a single missed scrape are left
/// out.
pub(super) fn urgent(status: &LLMAutoscalerStatus) -> u64 {
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
            // A zero that follows is known for the autoscaler's own by it.
            let is_idle = target
                .decision
                .as_ref()
                .is_some_and(|decision| decision.limited_by == Reason::NotIdleYet.as_str());
            let sizes = (target.current_replicas, target.ready_replicas, target.desired_replicas);
            (&target.uid, sizes, is_idle)
        })
        .collect();
    let sizes = (status.current_replicas, status.desired_replicas);
    hash(&(
        status.observed_generation,
        &status.reference,
        sizes,
        &status.last_scale_time,
        conditions,
        targets,
    ))
}

/// Returns the hash of the parts that are written a few seconds after they change: reasons and
/// rules, and the number of replicas that are billed, since only that tells after a restart how
/// many have gone.
pub(super) fn reasons(status: &LLMAutoscalerStatus) -> u64 {
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
    hash(&(conditions, targets))
}

/// Returns the hash of the parts that drift with the samples, the reasons of replicas among them,
/// and the recommendation, which is renewed only when it has grown by minutes. The memory (history,
/// start-up times, a manual change), the times of samples and the amounts of the bill alone cause
/// no write.
pub(super) fn values(status: &LLMAutoscalerStatus) -> u64 {
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
    hash(&(&status.summary, &status.conditions, targets, metrics))
}

/// Returns the time until which the bills of all targets are complete; `None` where none has any.
pub(super) fn bill_until(status: &LLMAutoscalerStatus) -> Option<DateTime<Utc>> {
    status.targets.iter().filter_map(|target| Some(record(target)?.until)).min()
}

fn record(target: &TargetStatus) -> Option<&BillRecord> {
    target.bill.as_ref().and_then(BillStatus::record)
}
