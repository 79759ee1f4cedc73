//! `spec` of an `LLMAutoscaler`, version `v1alpha1`.
//!
//! Field names follow `autoscaling/v2` wherever that has one. The docstrings are what `kubectl explain`
//! prints, so they are written for the person who runs it.

mod metric;
mod name;
mod pod_monitor;
mod role;
mod selector;
mod source;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use metric::*;
pub use name::{EngineName, Name, Named, SignalName, TargetTypeName};
pub use pod_monitor::*;
pub use role::*;
pub use source::*;

use crate::{BehaviorSpec, LLMAutoscalerStatus};

/// Keeps an LLM inference service at the right number of replicas, by its engine's own metrics.
// Columns repeat their keys; clippy takes them for duplicates.
#[allow(clippy::duplicated_attributes)]
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "llmautoscaler.io",
    version = "v1alpha1",
    kind = "LLMAutoscaler",
    plural = "llmautoscalers",
    singular = "llmautoscaler",
    shortname = "llmas",
    category = "autoscaling",
    namespaced,
    status = "LLMAutoscalerStatus",
    derive = "PartialEq",
    doc = "Keeps an LLM inference service at the right number of replicas, by its engine's own metrics. With the annotation llmautoscaler.io/paused nothing is written to it.",
    selectable = ".spec.scaleTargetRef.name",
    printcolumn(
        name = "Reference",
        type_ = "string",
        json_path = ".status.reference",
        description = "What is scaled"
    ),
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engine"),
    printcolumn(
        name = "Targets",
        type_ = "string",
        json_path = ".status.summary",
        description = "Current value / target of each metric"
    ),
    printcolumn(name = "MinPods", type_ = "integer", json_path = ".spec.minReplicas"),
    printcolumn(name = "MaxPods", type_ = "integer", json_path = ".spec.maxReplicas"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.currentReplicas"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Last Scale",
        type_ = "date",
        json_path = ".status.lastScaleTime",
        priority = 1
    )
)]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("minReplicas must not be greater than maxReplicas")
        .field_path(".minReplicas"),
    validation = Rule::new("has(self.roles) || (self.minReplicas == 0) == has(self.scaleToZero)")
        .message("minReplicas 0 needs scaleToZero, and scaleToZero needs minReplicas 0")
        .field_path(".scaleToZero"),
    validation = Rule::new("has(self.metrics) != has(self.roles)")
        .message("give metrics, or roles that have metrics of their own")
        .field_path(".metrics"),
    validation = Rule::new("has(self.scaleTargetRef) || has(self.roles) && self.roles.all(r, has(r.scaleTargetRef))")
        .message("name what is scaled in scaleTargetRef, or in that of each role")
        .field_path(".scaleTargetRef"),
    validation = Rule::new("!has(self.scaleTargetRef) || has(self.roles) || (self.scaleTargetRef.kind == 'RoleBasedGroup') == has(self.scaleTargetRef.role)")
        .message("a RoleBasedGroup is scaled by its roles: name one in role; no other kind has roles")
        .field_path(".scaleTargetRef"),
    validation = Rule::new("!has(self.scaleTargetRef) || !has(self.roles) || self.scaleTargetRef.kind == 'RoleBasedGroup' && !has(self.scaleTargetRef.role)")
        .message("with roles it names their RoleBasedGroup, without role; other objects are named by each role")
        .field_path(".scaleTargetRef"),
    validation = Rule::new("!has(self.roles) || !has(self.scaleToZero)")
        .message("roles do not go to zero")
        .field_path(".scaleToZero"),
    validation = Rule::new("!has(self.roles) || self.minReplicas == 1")
        .message("each role has its own minReplicas")
        .field_path(".minReplicas"),
    validation = Rule::new("!has(self.roles) || self.roles.map(r, r.minReplicas).sum() <= self.maxReplicas")
        .message("maxReplicas is for all roles together, and their minReplicas are more than that")
        .field_path(".maxReplicas"),
    validation = Rule::new("!has(self.maxGPUs) || has(self.roles) && self.roles.all(r, has(r.gpusPerReplica))")
        .message("maxGPUs is for all roles together, each of which needs gpusPerReplica")
        .field_path(".maxGPUs"),
    validation = Rule::new("has(self.maxGPUs) || !has(self.roles) || self.roles.all(r, !has(r.gpusPerReplica))")
        .message("gpusPerReplica is what maxGPUs is about: give that too")
        .field_path(".maxGPUs"),
    validation = Rule::new("!has(self.ratio) || has(self.roles) && self.ratio.between.all(n, self.roles.exists(r, r.name == n))")
        .message("a ratio is between two of the roles, by their names")
        .field_path(".ratio"),
    validation = Rule::new("self.engine != 'Custom' || !has(self.metrics) || self.metrics.all(m, !has(m.signal))")
        .message("engine Custom has no signals: give each metric a series or a query, or name the engine")
        .field_path(".metrics"),
    validation = Rule::new("!has(self.metrics) || self.metrics.all(m, !has(m.query)) || has(self.sources) && self.sources.exists(s, has(s.prometheus))")
        .message("a metric with a query needs a prometheus among the sources")
        .field_path(".sources"),
    validation = Rule::new("!has(self.fallback) || self.fallback.replicas <= self.maxReplicas")
        .message("fallback.replicas must not be greater than maxReplicas")
        .field_path(".fallback.replicas")
)]
#[serde(rename_all = "camelCase")]
pub struct LLMAutoscalerSpec {
    /// The object that is scaled: anything in this namespace that has a scale subresource, or a role of a
    /// RoleBasedGroup. With roles it is their RoleBasedGroup, or absent where each role names its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetRef>,

    /// Which pods are one replica, for kinds whose replicas are several pods. LeaderWorkerSets, roles of
    /// RoleBasedGroups and Grove's kinds are known without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_pods: Option<ReplicaPodsSpec>,

    /// The inference engine that runs in the target's pods. It decides which series a signal is read from.
    pub engine: EngineName,

    /// The fewest replicas that there may be. 1 if absent; 0 needs scaleToZero.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100_000))]
    pub min_replicas: i32,

    /// When the last replica goes, where minReplicas is 0. A metric from outside the pods (a query, a source with podSelector)
    /// brings the first one back, or a call: POST /wake/NAMESPACE/NAME on the operator's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_to_zero: Option<ScaleToZeroSpec>,

    /// The most replicas that there may be; not below minReplicas. With roles, of all of them together.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: i32,

    /// The most GPUs that all roles may take together; each says in gpusPerReplica what it takes.
    #[serde(rename = "maxGPUs", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_gpus: Option<i32>,

    /// What decides on the number of replicas. Each metric proposes a number; the highest wins. With roles, each has
    /// its own.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    pub metrics: Vec<MetricSpec>,

    /// Several targets of one service, such as prefill and decode, that are decided upon together. What a role does not say
    /// is as at the top.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 8))]
    pub roles: Option<Vec<RoleSpec>>,

    /// The proportion in which two of the roles are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<RatioSpec>,

    /// Where samples come from, in the order of failover. If absent, the target's own pods are scraped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub sources: Option<Vec<SourceSpec>>,

    /// The PodMonitor that publishes the pods' metrics to Prometheus; if absent, one is kept with the
    /// defaults. Scaling does not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitorSpec>,

    /// How fast and how far the number of replicas may change: exactly as in autoscaling/v2. Without it,
    /// growing is immediate up to the double (or 4), shrinking waits for a window of 300 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<BehaviorSpec>,

    /// What becomes of a number of replicas that somebody else sets. If absent, it is changed at once to what the
    /// metrics ask for, as by a HorizontalPodAutoscaler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual_changes: Option<ManualChangesSpec>,

    /// How many replicas are to be there when no source has had a sample for a while. Without it, as with a
    /// HorizontalPodAutoscaler, the size stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,

    /// Lets replicas finish their requests before they are removed. Without it, as with a HorizontalPodAutoscaler, a
    /// smaller size is written at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainSpec>,
}

fn one() -> i32 {
    1
}

impl LLMAutoscalerSpec {
    /// How pods are scraped: by the first source that says, or with the defaults.
    pub fn scrape(&self) -> ScrapeSpec {
        let given = self.sources.iter().flatten().find_map(|source| source.scrape.as_ref());
        given.cloned().unwrap_or_default()
    }
}

/// When the last replica goes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleToZeroSpec {
    /// For how long nothing must have been asked for, nor anybody have called. 600 if absent.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1, max = 604_800))]
    pub after_seconds: i32,
}

fn ten_minutes() -> i32 {
    600
}

/// How many replicas are to be there when nobody knows how many are needed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FallbackSpec {
    /// For how long every metric must have failed. 180 if absent.
    #[serde(default = "three_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub after_seconds: i32,
    /// At least so many. Where there are more already, they stay.
    #[schemars(range(min = 1, max = 100_000))]
    pub replicas: i32,
}

/// What becomes of a number of replicas that somebody else sets.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ManualChangesSpec {
    /// For how long it is left as it is, also where it is outside of minReplicas and maxReplicas. Each change by
    /// somebody else begins the time anew. Zero replicas switch the scaling off until somebody sets another number.
    #[schemars(range(min = 1, max = 604_800))]
    pub respect_seconds: i32,
}

fn three_minutes() -> i32 {
    180
}

/// How replicas are drained. Those that go are taken out of service first where their pods have the readiness gate
/// llmautoscaler.io/in-service; the smaller size is written when their requests are answered. Load that returns puts them
/// back. Nothing shrinks during a rollout, unless it is stuck.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DrainSpec {
    /// For how long a replica is waited for; then it is removed with the requests that it has. 120 if absent. Longer than
    /// requests take.
    #[serde(default = "two_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub deadline_seconds: i32,
    /// The gauges that count a replica's requests, running and waiting, which are added up. For engine Custom; if absent, those
    /// that the engine is known to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub request_series: Option<Vec<GaugeSpec>>,
}

fn two_minutes() -> i32 {
    120
}

/// Names an object of this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Its API group and version, such as apps/v1.
    #[schemars(length(min = 1, max = 316))]
    pub api_version: String,
    /// Its kind, such as StatefulSet.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The role of a RoleBasedGroup that is scaled, such as decode; for no other kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub role: Option<String>,
}

/// Which pods are one replica.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaPodsSpec {
    /// The pods of the target with the same value of this label are one replica.
    #[schemars(length(min = 1, max = 317))]
    pub group_label: String,
    /// The pods of a replica that publish its metrics. If absent, all do, and what they say is added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector::leaders")]
    pub leader_selector: Option<LabelSelector>,
    /// How many pods a whole replica has; with fewer it is not ready. If absent, those that are there are taken
    /// for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub size: Option<i32>,
}
