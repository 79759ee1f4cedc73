//! `status` of an `LLMAutoscaler`: what was observed, what was decided, and why.

mod recommendation;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use llm_autoscaler_core::{HistoryRecord, slo::Learned};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{bill::BillStatus, lenient::lenient};
pub use recommendation::{RecommendationBill, RecommendationDifference, RecommendationStatus};

/// `observedGeneration` of an object that no operator has looked at yet. The API server puts it
/// into every object without a status, so that kstatus and Argo CD, which take an object without a
/// status for a healthy one, wait for the first status.
pub const UNOBSERVED: i64 = -1;

/// The latest observation and decision, and the reasons.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[schemars(extend("default" = serde_json::json!({"observedGeneration": UNOBSERVED})))]
#[serde(rename_all = "camelCase")]
pub struct LLMAutoscalerStatus {
    /// The generation of the spec that this status describes; -1 before the operator's first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The target as KIND/NAME or KIND/NAME/ROLE; several are separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,

    /// Current value / target of each metric, abbreviated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,

    /// The number of replicas in the spec of the target when the last decision was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i32>,

    /// The number of replicas that the last decision asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,

    /// When this autoscaler last changed the number of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,

    /// When a wake call last arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_wake_time: Option<Time>,

    /// AbleToScale, ScalingActive, ScalingLimited and ScaledToZero are those of a
    /// HorizontalPodAutoscaler. Ready is True while the target is scaled, and Stalled while waiting
    /// does not help; Recommending, Paused and ManualChange are True while nothing is written.
    /// SamplesComplete, ReplicasStuck, FirstSourceUsed, Fallback, SLOActive and Advisory describe
    /// the samples;
    /// Draining, DrainBestEffort, RolloutStuck and ReadinessGateKept describe scale-downs that
    /// drain; PodMonitorReady describes the PodMonitor, and SchemaMismatch a CRD of another
    /// version.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// The targets in detail: one, or one for each role.
    // Several statuses of one autoscaler share a target that has not changed between them.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Arc<TargetStatus>>,
}

/// A target in detail.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The name of the target, or of its role.
    pub name: String,
    /// The UID of the object that is scaled. What the operator remembers applies to this object
    /// only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The number of replicas in the spec of the target when the last decision was made.
    pub current_replicas: i32,
    /// The number of ready replicas.
    pub ready_replicas: i32,
    /// The number of replicas that the last decision asks for.
    pub desired_replicas: i32,
    /// The metrics, in the order of the spec.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// The steps of the last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionStatus>,
    /// What keeps the promise of the spec, and whether it is kept; only with slo.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub slo: Option<Box<SloStatus>>,
    /// The last ten decisions that changed the size or the rule that limits it, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<PastDecision>,
    /// The time that the last replicas took from their creation until they were ready, in seconds,
    /// latest first. A replica that takes three times as long as the slowest of them is stuck.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_up_seconds: Vec<i32>,
    /// The time of its replicas in the current hour of UTC and the 23 hours before it, by the
    /// reason of their existence. It is written with the rest of the status, and at least every
    /// half hour.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub bill: Option<BillStatus>,
    /// A change of the size by another writer that is respected for now. It survives a restart of
    /// the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual_change: Option<ManualChangeStatus>,
    /// The number of replicas that this autoscaler would have, beside those that are there; only
    /// with mode Recommend.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub recommendation: Option<Box<RecommendationStatus>>,
    /// The record that the operator keeps for the stabilization windows, rate policies and repeated
    /// changes by other writers. It survives a restart of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    #[schemars(schema_with = "history_schema")]
    pub history: Option<StoredHistory>,
}

/// The promise of the spec as it is kept.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SloStatus {
    /// The time to first token that the promised percentage of the requests of the last minute did
    /// not exceed; absent with too few requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_milliseconds: Option<i64>,
    /// The mean time between two tokens that the promised percentage of the requests of the last
    /// minute did not exceed; absent with too few requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inter_token_latency_milliseconds: Option<i64>,
    /// The smallest number of replicas that keeps the promise now; absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needed_replicas: Option<i32>,
    /// Why that number, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A metric as it was last observed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// The name of the metric in the spec.
    pub name: String,
    /// The series from which it is read.
    pub series: String,
    /// The current value; absent where it could not be computed. `>60` is a percentile beyond the
    /// last bound of its histogram, `<300m` one below the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The target.
    pub target: String,
    /// The sources of its samples: scrape (the target's pods), others (other pods), prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When the oldest of its samples was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_at: Option<Time>,
    /// The number of replicas that it proposes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<i32>,
    /// The number of replicas that its value is computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicasStatus>,
    /// Why it could not be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The counts of replicas for a metric.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReplicasStatus {
    /// Replicas with a sample that was used.
    pub used: i32,
    /// Replicas without a sample.
    pub missing: i32,
    /// Replicas that do not count as capacity yet.
    pub not_ready: i32,
    /// Replicas that will not get ready by waiting: they crash, or cannot be scheduled.
    #[serde(default)]
    pub stuck: i32,
}

/// The steps of a decision.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// The highest proposal of the metrics.
    pub raw: i32,
    /// The number after the stabilization windows.
    pub stabilized: i32,
    /// The number after rate policies, minimum and maximum.
    pub limited: i32,
    /// The rule that limited it, which is the reason of ScalingLimited.
    pub limited_by: String,
    /// The number that was asked for in the end, which other roles may have changed.
    pub applied: i32,
    /// Why, in a sentence; absent where nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A past decision.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PastDecision {
    /// When it was made.
    pub time: Time,
    /// The number of replicas before.
    pub from: i32,
    /// The number of replicas that was asked for. It equals that before if only the rule that
    /// limits it has changed.
    pub to: i32,
    /// The rule that limited it.
    pub limited_by: String,
    /// Why, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A change of the size by another writer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManualChangeStatus {
    /// When it was made.
    pub time: Time,
    /// The number of replicas before.
    pub from: i32,
    /// The number of replicas that was set.
    pub to: i32,
    /// The writer, as in the target's managedFields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Returns the schema of the history. It is the core's own record and opaque to users.
fn history_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "The record that the operator keeps for the stabilization windows, rate policies and repeated changes by other writers. It survives a restart of the operator.",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// The version of the format. A record of a later version is not understood, and counts as none:
/// then the current size stands for what was recommended, so a scale-down comes later and never
/// earlier.
pub const MEMORY_VERSION: u32 = 1;

/// A history as the status keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredHistory {
    /// The version of the format; 1 where it is absent.
    #[serde(default = "first_version")]
    pub version: u32,
    /// The latest changes of size by other writers, latest first; absent in older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeRecord>,
    /// The UIDs of the pods with wedged engines; absent in older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wedged: Vec<String>,
    /// What has been learned of the engine, with `slo`; absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub learned: Option<Box<LearnedRecord>>,
    /// The history.
    #[serde(flatten)]
    pub record: HistoryRecord,
}

/// What has been learned of an engine. A record takes less than 800 bytes as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LearnedRecord {
    /// The engine of the spec. What is learned of one engine says nothing of another.
    pub engine: String,
    /// What has been learned.
    #[serde(flatten)]
    pub learned: Learned,
}

/// The times at which one writer has set one size. A record takes less than 300 bytes as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeRecord {
    /// The writer, as in the target's managedFields.
    pub by: String,
    /// The number of replicas before the latest of them.
    pub from: i32,
    /// The number of replicas that was set.
    pub to: i32,
    /// The latest times, latest first, in whole seconds.
    pub times: Vec<DateTime<Utc>>,
}

fn first_version() -> u32 {
    1
}
