//! Everything about one autoscaler.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::DynamicObject;
use llm_autoscaler_api::{
    DecisionStatus, LLMAutoscaler, LLMAutoscalerSpec, LLMAutoscalerStatus, MetricStatus,
    PastDecision, ScalingMode, TargetStatus,
    conditions::{ConditionType, Polarity, status_text},
};
use serde::Serialize;
use serde_json::Value;

use super::row::Row;
use crate::{
    explain::bounds_text,
    outlook::{Outlook, outlook, rule_words},
};

/// An object as it is kept.
pub(super) struct Item {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The object, or why this version cannot read it.
    pub(super) object: Result<LLMAutoscaler, String>,
    /// The bill of each target by its name, as the status has it. Its fields may be those of
    /// another version.
    bills: Vec<(String, Value)>,
}

/// Everything about one autoscaler.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail<'a> {
    #[serde(flatten)]
    row: &'a Row,
    bounds: String,
    /// The status describes an older spec.
    is_outdated: bool,
    conditions: Vec<ConditionItem<'a>>,
    targets: Vec<TargetItem<'a>>,
}

#[derive(Serialize)]
struct ConditionItem<'a> {
    #[serde(rename = "type")]
    type_: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
    since: &'a Time,
    /// `bad`, `note` or `fine`.
    tone: &'static str,
    words: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TargetItem<'a> {
    name: &'a str,
    current: i32,
    ready: i32,
    desired: i32,
    metrics: &'a [MetricStatus],
    decision: Option<&'a DecisionStatus>,
    more: String,
    fewer: String,
    next: String,
    /// In seconds since 1970.
    next_at: Option<i64>,
    log: Vec<LogEntry<'a>>,
    start_up_seconds: &'a [i32],
    #[serde(skip_serializing_if = "Option::is_none")]
    bill: Option<&'a Value>,
}

#[derive(Serialize)]
struct LogEntry<'a> {
    #[serde(flatten)]
    past: &'a PastDecision,
    words: &'a str,
}

impl Item {
    /// Keeps what is shown of an object.
    pub(super) fn new(mut object: DynamicObject) -> Self {
        object.metadata.managed_fields = None;
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let name = object.metadata.name.clone().unwrap_or_default();
        let bills = bills(&object.data);
        let value = serde_json::to_value(object);
        let object = value.and_then(serde_json::from_value).map_err(|error| error.to_string());
        Self { namespace, name, object, bills }
    }
}

/// Returns the bounds of a spec, and whether the size is kept between them.
fn bounds(spec: &LLMAutoscalerSpec) -> String {
    let aim = match spec.mode {
        ScalingMode::Scale => "kept",
        ScalingMode::Recommend => "recommended",
    };
    format!("{aim} {}", bounds_text(spec))
}

fn bills(object: &Value) -> Vec<(String, Value)> {
    let targets = object.pointer("/status/targets").and_then(Value::as_array);
    let bill = |target: &Value| {
        let mut bill = target.get("bill")?.clone();
        // What the operator goes on with is of no interest to people.
        bill.as_object_mut()?.remove("record");
        Some((target.get("name")?.as_str()?.to_owned(), bill))
    };
    targets.into_iter().flatten().filter_map(bill).collect()
}

impl<'a> Detail<'a> {
    /// Returns everything about an object with the line `row`.
    pub(super) fn new(item: &'a Item, row: &'a Row, now: DateTime<Utc>) -> Self {
        let object = item.object.as_ref().ok();
        let status = object.and_then(|object| object.status.as_ref());
        let generation = object.and_then(|object| object.metadata.generation);
        let conditions = status.map(|status| &*status.conditions).unwrap_or_default();
        let mut conditions: Vec<_> = conditions.iter().map(ConditionItem::new).collect();
        conditions.sort_by_key(|condition| match condition.tone {
            "bad" => 0,
            "note" => 1,
            _ => 2,
        });
        Self {
            row,
            bounds: object.map(|object| bounds(&object.spec)).unwrap_or_default(),
            is_outdated: status.is_some_and(|status| status.observed_generation != generation),
            conditions,
            targets: object
                .zip(status)
                .map(|(object, status)| targets(item, object, status, now))
                .unwrap_or_default(),
        }
    }
}

fn targets<'a>(
    item: &'a Item,
    object: &LLMAutoscaler,
    status: &'a LLMAutoscalerStatus,
    now: DateTime<Utc>,
) -> Vec<TargetItem<'a>> {
    let one = |target: &'a Arc<TargetStatus>| {
        let Outlook { more, fewer, next } = outlook(object, status, target, now);
        let entry = |past: &'a PastDecision| LogEntry { past, words: rule_words(&past.limited_by) };
        let bill = item.bills.iter().find(|(name, _)| *name == target.name);
        TargetItem {
            name: &target.name,
            current: target.current_replicas,
            ready: target.ready_replicas,
            desired: target.desired_replicas,
            metrics: &target.metrics,
            decision: target.decision.as_ref(),
            more,
            fewer,
            next: next.text,
            next_at: next.at.map(|at| at.timestamp()),
            log: target.decisions.iter().map(entry).collect(),
            start_up_seconds: &target.start_up_seconds,
            bill: bill.map(|(_, bill)| bill),
        }
    };
    status.targets.iter().map(one).collect()
}

impl<'a> ConditionItem<'a> {
    fn new(condition: &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> Self {
        let holds = condition.status == status_text(true);
        let type_ = ConditionType::parse(&condition.type_);
        let tone = match type_ {
            Some(type_) if holds == type_.usual_status() => "fine",
            // Scaling does not need a PodMonitor.
            Some(ConditionType::PodMonitorReady) => "note",
            Some(type_) if type_.polarity() == Polarity::Neutral => "note",
            Some(_) => "bad",
            None if holds => "note",
            None => "fine",
        };
        Self {
            type_: &condition.type_,
            status: &condition.status,
            reason: &condition.reason,
            message: &condition.message,
            since: &condition.last_transition_time,
            tone,
            words: type_.map_or(&condition.type_, |type_| words(type_, holds)),
        }
    }
}

/// Returns a condition in a few words.
fn words(type_: ConditionType, holds: bool) -> &'static str {
    let (yes, no) = match type_ {
        ConditionType::AbleToScale => ("The size can be written", "The size cannot be written"),
        ConditionType::ScalingActive => ("A size can be computed", "No size can be computed"),
        ConditionType::ScalingLimited => ("A limit keeps the size", "No limit applies"),
        ConditionType::ScaledToZero => ("Scaled to zero", "Not scaled to zero"),
        ConditionType::Ready => ("Ready", "Not ready"),
        ConditionType::Stalled => ("Waiting does not help", "Nothing is stalled"),
        ConditionType::Recommending => ("A size is recommended only", "Sizes are written"),
        ConditionType::Paused => ("Paused", "Not paused"),
        ConditionType::ManualChange => ("Another writer’s size is respected", "No manual size"),
        ConditionType::SamplesComplete => ("All samples are there", "Samples are missing"),
        ConditionType::ReplicasStuck => ("Replicas are stuck", "No replica is stuck"),
        ConditionType::FirstSourceUsed => ("The first source is enough", "A later source is used"),
        ConditionType::Fallback => ("The fallback is in force", "The fallback is not needed"),
        ConditionType::SLOActive => ("The size follows the promise", "The promise does not decide"),
        ConditionType::Draining => ("A scale-down drains", "Nothing drains"),
        ConditionType::DrainBestEffort => ("Requests may be cut off", "Drains are complete"),
        ConditionType::RolloutStuck => ("A rollout is stuck", "No rollout is stuck"),
        ConditionType::ReadinessGateKept => {
            ("Readiness gates are kept", "Readiness gates cannot be written")
        }
        ConditionType::Advisory => ("Worth knowing", "Nothing to advise"),
        ConditionType::PodMonitorReady => {
            ("The PodMonitor is up to date", "The PodMonitor is not as the spec asks")
        }
        ConditionType::SchemaMismatch => ("The CRD is of another version", "The CRD fits"),
    };
    if holds { yes } else { no }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_detail_has_conditions_in_words_the_answers_the_log_and_the_bill() {
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "a", "namespace": "chat", "generation": 2},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
                "engine": "VLLM", "minReplicas": 2, "maxReplicas": 8, "metrics": [],
            },
            "status": {
                "observedGeneration": 1,
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": "Scaling", "message": "fine",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "Advisory", "status": "True", "reason": "QueueOnly", "message": "hm",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "SamplesComplete", "status": "False", "reason": "MissingSamples",
                     "message": "no sample from a-1", "lastTransitionTime": "2026-01-01T00:00:00Z"},
                    {"type": "OfALaterVersion", "status": "True", "reason": "R", "message": "m",
                     "lastTransitionTime": "2026-01-01T00:00:00Z"},
                ],
                "targets": [{
                    "name": "a", "currentReplicas": 4, "readyReplicas": 4, "desiredReplicas": 4,
                    "decisions": [{"time": "2026-01-01T00:00:00Z", "from": 2, "to": 4,
                                   "limitedBy": "ScaleUpLimit", "reason": "load"}],
                    "bill": {"reasons": [{"reason": "Needed", "gpuSeconds": 7}], "record": {}},
                }],
            },
        });
        let item = Item::new(serde_json::from_value(object).unwrap());
        let row = Row::new(&item, DateTime::UNIX_EPOCH);
        let detail = Detail::new(&item, &row, DateTime::UNIX_EPOCH);
        let detail = serde_json::to_value(detail).unwrap();
        let order: Vec<_> = detail["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["tone"].as_str().unwrap(), it["words"].as_str().unwrap()))
            .collect();
        let expected = [
            ("bad", "Samples are missing"),
            ("note", "Worth knowing"),
            ("note", "OfALaterVersion"),
            ("fine", "Ready"),
        ];
        assert_eq!(order, expected);
        assert_eq!(detail["isOutdated"], true);
        assert_eq!(detail["bounds"], "kept between 2 and 8 replicas");
        let target = &detail["targets"][0];
        let bill = json!({"reasons": [{"reason": "Needed", "gpuSeconds": 7}]});
        assert_eq!(target["bill"], bill);
        let log = json!({
            "time": "2026-01-01T00:00:00Z", "from": 2, "to": 4, "limitedBy": "ScaleUpLimit",
            "reason": "load", "words": "the scale-up policies allow no more for now",
        });
        assert_eq!(target["log"][0], log);
        assert_eq!(target["more"], "no number is computed, so the size stays");
    }
}
