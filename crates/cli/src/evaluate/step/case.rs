//! The format of a case in mode `step`; `docs/evaluate.md` describes it for users.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{LLMAutoscalerSpec, LLMAutoscalerStatus};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    lookup::{LookupCase, QueryCase},
    seconds::Seconds,
};

/// An autoscaler, and its steps in time.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Case {
    #[serde(default, rename = "id")]
    _id: IgnoredAny,
    #[serde(rename = "mode")]
    _mode: IgnoredAny,
    pub(super) profile: Option<ProfileName>,
    pub(super) spec: LLMAutoscalerSpec,
    /// The status from which the memory of a restarted operator is restored.
    #[serde(default)]
    pub(super) status: LLMAutoscalerStatus,
    /// The time of `t` 0.
    pub(super) start: Option<DateTime<Utc>>,
    pub(super) steps: Vec<StepCase>,
}

/// The name of a profile, which comes before the one of the command line.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum ProfileName {
    Default,
    HpaExact,
}

/// The state of the cluster in one step. A field that is absent, here and below, is as in the step
/// before.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StepCase {
    pub(super) t: Seconds,
    pub(super) paused: Option<bool>,
    /// The time for which the writes of this step wait for the pace of their namespace.
    pub(super) paced_for_seconds: Option<Seconds>,
    #[serde(default)]
    pub(super) roles: Vec<RoleCase>,
}

/// The state of one role in a step.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RoleCase {
    pub(super) name: Option<String>,
    pub(super) scale: Option<ScaleCase>,
    pub(super) selector: Option<SelectorCase>,
    pub(super) pods: Option<Vec<PodCase>>,
    pub(super) sources: Option<Vec<SourceCase>>,
    pub(super) workload: Option<WorkloadCase>,
    pub(super) manual_change: Option<bool>,
    pub(super) contested_for_seconds: Option<Seconds>,
    pub(super) woken: Option<bool>,
    pub(super) write_fails: Option<bool>,
}

/// The scale subresource.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ScaleCase {
    pub(super) spec_replicas: i32,
    pub(super) status_replicas: Option<i32>,
}

/// The state of the selector of the scale subresource.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum SelectorCase {
    #[default]
    Valid,
    Missing,
    Invalid,
    Ambiguous,
    Unknown,
}

/// A pod that the selector matches.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PodCase {
    pub(super) name: String,
    pub(super) uid: Option<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) phase: PhaseCase,
    /// True if the pod is ready apart from the readiness gate of the operator.
    #[serde(default = "yes")]
    pub(super) ready: bool,
    /// True if a pod that is not ready has been ready before.
    #[serde(default)]
    pub(super) was_ready: bool,
    /// The number of times that its containers have been restarted.
    #[serde(default)]
    pub(super) restarts: i64,
    #[serde(default)]
    pub(super) deleting: bool,
    pub(super) trouble: Option<TroubleCase>,
    #[serde(default = "an_hour")]
    pub(super) age_seconds: Seconds,
    /// True if the pod has a node; by default, if it is not pending.
    pub(super) has_node: Option<bool>,
    #[serde(default)]
    pub(super) gate: GateCase,
    #[serde(default)]
    pub(super) closed_for_seconds: Seconds,
    #[serde(default = "half_a_minute")]
    pub(super) grace_seconds: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum PhaseCase {
    Pending,
    #[default]
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// The reason why a pod is not ready.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TroubleCase {
    pub(super) kind: TroubleName,
    pub(super) for_seconds: Seconds,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum TroubleName {
    Crashing,
    Unschedulable,
    NotReady,
}

/// The readiness gate `llmautoscaler.io/in-service` of a pod.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum GateCase {
    #[default]
    Absent,
    Unset,
    Open,
    Closed,
}

/// The answers of one source of the spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SourceCase {
    /// True if the source is sampled now; by default as the operator would sample it.
    pub(super) active: Option<bool>,
    /// The pods of a source with `podSelector`.
    #[serde(default)]
    pub(super) pods: Vec<PodCase>,
    /// The answers for each metric and pod.
    #[serde(default)]
    pub(super) metrics: BTreeMap<String, BTreeMap<String, LookupCase>>,
    /// The answers for each metric that is a query.
    #[serde(default)]
    pub(super) queries: BTreeMap<String, QueryCase>,
    /// The number of requests of each pod, where scale-downs drain.
    #[serde(default)]
    pub(super) requests: BTreeMap<String, LookupCase>,
    /// The latency of the requests of each pod, where scale-downs drain.
    #[serde(default)]
    pub(super) latency: BTreeMap<String, LookupCase>,
    /// The number of awake engine processes of each pod.
    #[serde(default)]
    pub(super) awake: BTreeMap<String, LookupCase>,
    /// The number of sleeping engine processes of each pod.
    #[serde(default)]
    pub(super) asleep: BTreeMap<String, LookupCase>,
    /// The numbers that tell if the engine of each pod makes progress.
    #[serde(default)]
    pub(super) vitals: VitalsCase,
    pub(super) clock_ahead_seconds: Option<f64>,
    pub(super) warning: Option<String>,
}

/// The numbers that tell if an engine makes progress, by pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VitalsCase {
    /// The number of requests, running and waiting.
    #[serde(default)]
    pub(super) requests: BTreeMap<String, LookupCase>,
    /// The rate of the counters of progress over five minutes.
    #[serde(default)]
    pub(super) progress: BTreeMap<String, LookupCase>,
    /// The number of running requests.
    #[serde(default)]
    pub(super) running: BTreeMap<String, LookupCase>,
    /// The usage of the KV cache.
    #[serde(default)]
    pub(super) kv_cache: BTreeMap<String, LookupCase>,
}

/// The target's own object, as far as a scale-down that drains depends on it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WorkloadCase {
    /// True if the object cannot be read.
    #[serde(default)]
    pub(super) unreadable: bool,
    pub(super) first_ordinal: Option<i32>,
    /// True for `podManagementPolicy: OrderedReady`.
    #[serde(default)]
    pub(super) is_ordered: bool,
    /// The annotations of a role of a RoleBasedGroup, which decide the order of removal.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) rollout: Option<RolloutCase>,
    /// True if the controller of the object has given the rollout up.
    #[serde(default)]
    pub(super) is_given_up: bool,
}

/// A rollout in progress.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RolloutCase {
    pub(super) updated: i64,
    pub(super) wanted: i64,
    pub(super) ready: i64,
    #[serde(default)]
    pub(super) generation: i64,
}

fn yes() -> bool {
    true
}

fn an_hour() -> Seconds {
    Seconds::AN_HOUR
}

fn half_a_minute() -> i64 {
    30
}
