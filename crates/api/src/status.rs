//! `status` of an `LLMAutoscaler`: what was seen, what was decided, and why.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use llm_autoscaler_core::HistoryRecord;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// What was seen, what was decided, and why.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LLMAutoscalerStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What is scaled, as KIND/NAME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,

    /// Current value / target of each metric, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,

    /// The number of replicas that were asked for when the last decision was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i32>,

    /// The number of replicas that the last decision asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,

    /// When the number of replicas was last changed by this autoscaler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,

    /// AbleToScale, ScalingActive, ScalingLimited and ScaledToZero as of a HorizontalPodAutoscaler; Ready, and
    /// Stalled while waiting will not help; Paused and ManualChange while nothing is written; SamplesComplete,
    /// ReplicasStuck, FirstSourceUsed, Fallback and Advisory for what the samples rest on; Draining, DrainBestEffort,
    /// RolloutStuck and ReadinessGateKept for scale-downs that drain; PodMonitorReady.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// What is scaled, in detail.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,
}

/// One target in detail.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Its name.
    pub name: String,
    /// The UID of the object that is scaled; what is remembered holds for this object only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The number of replicas that were asked for when the last decision was made.
    pub current_replicas: i32,
    /// The number of replicas that serve.
    pub ready_replicas: i32,
    /// The number of replicas that the last decision asks for.
    pub desired_replicas: i32,
    /// The metrics, in the order of the spec.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// How the last decision came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionStatus>,
    /// The last ten decisions that changed the size or what limits it, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<PastDecision>,
    /// How long the last replicas took from their creation until they were ready, in seconds, latest first. A replica
    /// that takes three times as long as the slowest of them is stuck.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_up_seconds: Vec<i32>,
    /// A change of size by somebody else that is respected for now; survives a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual_change: Option<ManualChangeStatus>,
    /// What is remembered for the stabilization windows and rate policies; survives a restart.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    #[schemars(schema_with = "history_schema")]
    pub history: Option<HistoryRecord>,
}

/// One metric as it was last seen.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Its name in the spec.
    pub name: String,
    /// The series that it is read from.
    pub series: String,
    /// Its current value; absent where it could not be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Its target.
    pub target: String,
    /// Where its samples are from: scrape (the pods' pages), others (other pods' pages), prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When the oldest of its samples was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_at: Option<Time>,
    /// The number of replicas that it proposes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<i32>,
    /// How many replicas its value is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicasStatus>,
    /// Why it could not be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the replicas were counted for a metric.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReplicasStatus {
    /// Used with their sample.
    pub used: i32,
    /// Without a sample.
    pub missing: i32,
    /// Not counted on yet.
    pub not_ready: i32,
    /// Will not get ready by waiting: they crash, or cannot be scheduled.
    #[serde(default)]
    pub stuck: i32,
}

/// How a decision came about.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// The highest proposal of the metrics.
    pub raw: i32,
    /// After the stabilization windows.
    pub stabilized: i32,
    /// After rate policies and bounds.
    pub limited: i32,
    /// What limited it, as in ScalingLimited's reason.
    pub limited_by: String,
    /// What was asked for.
    pub applied: i32,
    /// Why, in a sentence; absent where nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A decision of the past.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PastDecision {
    /// When.
    pub time: Time,
    /// The number of replicas before.
    pub from: i32,
    /// The number of replicas that was asked for.
    pub to: i32,
    /// What limited it.
    pub limited_by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change of size by somebody else.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManualChangeStatus {
    /// When.
    pub time: Time,
    /// The number of replicas before.
    pub from: i32,
    /// The number of replicas that was set.
    pub to: i32,
    /// Who has set it, as the target's managedFields say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A record that cannot be read, of another version perhaps, is none: it must not hide the rest.
fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HistoryRecord>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// The record is the core's own, opaque here; only its size is bounded.
fn history_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "What is remembered for the stabilization windows and rate policies; survives a restart.",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}
