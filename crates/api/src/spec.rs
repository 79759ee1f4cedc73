//! `spec` of an `LLMAutoscaler`, version `v1alpha1`.
//!
//! Field names follow `autoscaling/v2` wherever that has one. The docstrings are what `kubectl
//! explain` prints, so they are written for its users.

mod metric;
mod mode;
mod name;
mod pod_monitor;
mod role;
mod selector;
mod slo;
mod source;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

pub use metric::{
    AbsentSeries, GaugeSpec, LabelOperator, LabelRequirement, MetricSpec, MetricTarget,
    SeriesSelector, SeriesSpec, SeriesType,
};
pub use mode::ScalingMode;
pub use name::{EngineName, GatewayName, Name, Named, SignalName, TargetTypeName};
pub use pod_monitor::{PodMonitorMode, PodMonitorSpec};
pub use role::{RatioSpec, RoleSpec};
pub use slo::{Phase, RoleSloSpec, SloSpec};
pub use source::{
    AuthorizationSpec, BasicAuthSpec, HeaderFrom, KeyRef, Port, PrometheusSpec, Scheme, ScrapeSpec,
    SecretOrConfigMap, SourceSpec, TlsSpec,
};

use crate::{behavior::BehaviorSpec, status::LLMAutoscalerStatus};

/// Scales an LLM inference service by the metrics of its engine.
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
    doc = "Scales an LLM inference service by the metrics of its engine. While it has the annotation llmautoscaler.io/paused, or with mode Recommend, the operator does not write to the target.",
    selectable = ".spec.scaleTargetRef.name",
    printcolumn(
        name = "Reference",
        type_ = "string",
        json_path = ".status.reference",
        description = "The target"
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
    validation = Rule::new("has(self.roles) ? !has(self.metrics) : has(self.metrics) || has(self.slo)")
        .message("set metrics or slo, or roles that have metrics or slo of their own")
        .field_path(".metrics"),
    validation = Rule::new("!has(self.roles) || self.roles.exists(r, has(r.slo)) == has(self.slo)")
        .message("with roles, slo is the promise, and the slo of a role says which phase of it the role keeps: set both or neither")
        .field_path(".slo"),
    validation = Rule::new("!has(self.slo) || (has(self.roles) ? self.roles.all(r, !has(r.slo) || (has(r.engine) ? r.engine : self.engine) != 'Custom') : self.engine != 'Custom')")
        .message("engine Custom has no series that are known: slo needs the name of the engine")
        .field_path(".slo"),
    validation = Rule::new("!has(self.slo) || !has(self.sources) || self.sources.exists(s, has(s.scrape) && !has(s.scrape.podSelector))")
        .message("slo needs the pages of the target's own pods: add a source with scrape and without podSelector")
        .field_path(".sources"),
    validation = Rule::new("has(self.scaleTargetRef) || has(self.roles) && self.roles.all(r, has(r.scaleTargetRef))")
        .message("name the object to scale in scaleTargetRef, or in the scaleTargetRef of each role")
        .field_path(".scaleTargetRef"),
    validation = Rule::new("!has(self.scaleTargetRef) || has(self.roles) || (self.scaleTargetRef.kind == 'RoleBasedGroup') == has(self.scaleTargetRef.role)")
        .message("a RoleBasedGroup is scaled by its roles: name one in role; no other kind has roles")
        .field_path(".scaleTargetRef"),
    validation = Rule::new("!has(self.scaleTargetRef) || !has(self.roles) || self.scaleTargetRef.kind == 'RoleBasedGroup' && !has(self.scaleTargetRef.role)")
        .message("with roles, scaleTargetRef names their RoleBasedGroup and sets no role; name other objects in each role")
        .field_path(".scaleTargetRef"),
    validation = Rule::new("!has(self.roles) || !has(self.scaleToZero)")
        .message("roles cannot be scaled to zero: remove scaleToZero")
        .field_path(".scaleToZero"),
    validation = Rule::new("!has(self.roles) || self.minReplicas == 1")
        .message("with roles, set minReplicas in each role")
        .field_path(".minReplicas"),
    validation = Rule::new("!has(self.roles) || self.roles.map(r, r.minReplicas).sum() <= self.maxReplicas")
        .message("maxReplicas applies to all roles together, and must not be less than the sum of their minReplicas")
        .field_path(".maxReplicas"),
    validation = Rule::new("!has(self.maxGPUs) || has(self.roles) && self.roles.all(r, has(r.gpusPerReplica))")
        .message("maxGPUs applies to all roles together: set gpusPerReplica in each role")
        .field_path(".maxGPUs"),
    validation = Rule::new("!has(self.ratio) || has(self.roles) && self.ratio.between.all(n, self.roles.exists(r, r.name == n))")
        .message("ratio.between must name two of the roles")
        .field_path(".ratio"),
    validation = Rule::new("self.engine != 'Custom' || !has(self.metrics) || self.metrics.all(m, !has(m.signal)) || has(self.sources) && self.sources.exists(s, has(s.scrape) && has(s.scrape.gateway))")
        .message("engine Custom has no signals: set series or query in each metric, or name the engine, or the gateway of a source")
        .field_path(".metrics"),
    validation = Rule::new("!has(self.metrics) || self.metrics.all(m, !has(m.query)) || has(self.sources) && self.sources.exists(s, has(s.prometheus))")
        .message("a metric with a query needs a prometheus among the sources")
        .field_path(".sources"),
    validation = Rule::new("!has(self.sources) || self.sources.all(s, !has(s.roles) || has(self.roles) && s.roles.all(n, self.roles.exists(r, r.name == n)))")
        .message("the roles of a source must be names of roles")
        .field_path(".sources"),
    validation = Rule::new("!has(self.fallback) || self.fallback.replicas <= self.maxReplicas")
        .message("fallback.replicas must not be greater than maxReplicas")
        .field_path(".fallback.replicas")
)]
#[serde(rename_all = "camelCase")]
pub struct LLMAutoscalerSpec {
    /// The object to scale: any object in this namespace that has a scale subresource, or a role of
    /// a RoleBasedGroup. With roles, name the RoleBasedGroup that they belong to, or leave this out
    /// and name an object in each role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetRef>,

    /// Scale: the operator writes the number of replicas to the target. Recommend: it writes
    /// nothing but the status of this object, which has the number that it would write; the target
    /// may belong to a HorizontalPodAutoscaler, a ScaledObject or another LLMAutoscaler.
    #[serde(default)]
    pub mode: ScalingMode,

    /// The grouping of pods into replicas, for workload kinds with several pods in a replica that
    /// the operator does not know. It knows LeaderWorkerSets, roles of RoleBasedGroups and the
    /// kinds of Grove.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_pods: Option<ReplicaPodsSpec>,

    /// The inference engine that runs in the target's pods. It determines the series from which
    /// each signal is read.
    pub engine: EngineName,

    /// The lower limit for the number of replicas. Defaults to 1; 0 requires scaleToZero.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 100_000))]
    pub min_replicas: i32,

    /// When to remove the last replica, where minReplicas is 0. The first replica comes back for a
    /// metric that is known without the target's pods and changes when a request comes, such as
    /// ArrivalRate of a source with a gateway, a counter as a series of other pods, or a query of
    /// one; or for a wake call: POST /wake/NAMESPACE/NAME on the operator's wake port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_to_zero: Option<ScaleToZeroSpec>,

    /// The upper limit for the number of replicas; cannot be lower than minReplicas. With roles,
    /// the limit for all roles together.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: i32,

    /// The upper limit for the number of GPUs that all roles take together. Each role sets
    /// gpusPerReplica.
    #[serde(rename = "maxGPUs", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_gpus: Option<i32>,

    /// The number of GPUs that one replica takes, with all of its pods, for the bill. If absent,
    /// the GPUs that its pods request, or have by ResourceClaims, are summed. Set it where pods
    /// have only a share of one.
    #[serde(rename = "gpusPerReplica", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub gpus_per_replica: Option<i32>,

    /// The promise to the users by which the size follows from what the engine is learned to do.
    /// Each of the metrics beside it is a floor: the highest number is used. With roles, the slo of
    /// a role says which phase of the requests it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<SloSpec>,

    /// The metrics that decide the number of replicas. Each metric proposes a number, and the
    /// highest one is used. With roles, each role has metrics of its own.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    pub metrics: Vec<MetricSpec>,

    /// Several targets of one service, such as prefill and decode, that are scaled together. Unset
    /// fields of a role are inherited from the top level of the spec.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 8))]
    pub roles: Option<Vec<RoleSpec>>,

    /// The proportion that is kept between two of the roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<RatioSpec>,

    /// The sources of samples, in the order of failover; at most four for each role. If absent, the
    /// target's own pods are scraped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub sources: Option<Vec<SourceSpec>>,

    /// The PodMonitor that makes Prometheus scrape the pods. If absent, one is created with the
    /// defaults. Scaling does not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitorSpec>,

    /// The speed at which the number of replicas may change, exactly as in autoscaling/v2. If
    /// absent, a scale-up is immediate, at most to double the size or to 4 replicas, and a
    /// scale-down uses a stabilization window of 300 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<BehaviorSpec>,

    /// The time to respect a number of replicas that another writer sets, such as kubectl scale. If
    /// absent, it is changed at once to what the metrics ask for, as a HorizontalPodAutoscaler
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual_changes: Option<ManualChangesSpec>,

    /// The number of replicas to keep when no metric has been available for a while. If absent, the
    /// size stays as it is, as with a HorizontalPodAutoscaler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,

    /// Lets replicas finish their requests before they are removed. If absent, a smaller size is
    /// written at once, as a HorizontalPodAutoscaler does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainSpec>,
}

fn one() -> i32 {
    1
}

impl LLMAutoscalerSpec {
    /// Returns how pods are scraped: by the first scrape source of the spec, or with the defaults.
    pub fn scrape(&self) -> ScrapeSpec {
        let given = self.sources.iter().flatten().find_map(|source| source.scrape.as_ref());
        given.cloned().unwrap_or_default()
    }
}

/// When to remove the last replica.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleToZeroSpec {
    /// The time for which the target must be idle (no requests and no wake calls) before it is
    /// scaled to zero. The scale-down window runs at the same time, and the longer one decides.
    /// Defaults to 600.
    #[serde(default = "ten_minutes")]
    #[schemars(range(min = 1, max = 604_800))]
    pub after_seconds: i32,
}

fn ten_minutes() -> i32 {
    600
}

/// The number of replicas to keep when no metric is available.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FallbackSpec {
    /// The time for which every metric must have failed before the fallback takes effect. Defaults
    /// to 180.
    #[serde(default = "three_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub after_seconds: i32,
    /// The number of replicas to have at least. If there are more already, they stay.
    #[schemars(range(min = 1, max = 100_000))]
    pub replicas: i32,
}

/// The treatment of a number of replicas that another writer sets.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ManualChangesSpec {
    /// The time for which the number is left as it is, even if it is outside of minReplicas and
    /// maxReplicas. Each further change by another writer starts the time anew. Zero replicas
    /// switch scaling off until another writer sets a different number.
    #[schemars(range(min = 1, max = 604_800))]
    pub respect_seconds: i32,
}

fn three_minutes() -> i32 {
    180
}

/// The way to drain replicas. Pods that have the readiness gate llmautoscaler.io/in-service are
/// taken out of service first, and the smaller size is written once their requests are answered. If
/// load returns, they are put back in service. Nothing shrinks during a rollout, unless the rollout
/// is stuck.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DrainSpec {
    /// The longest time to wait for the requests of a replica. After that, it is removed together
    /// with its requests. Defaults to 120; choose more than your longest requests take.
    #[serde(default = "two_minutes")]
    #[schemars(range(min = 1, max = 86_400))]
    pub deadline_seconds: i32,
    /// The gauges that count the running and waiting requests of a replica; their values are
    /// summed. Needed for engine Custom. If absent, the gauges that the engine is known to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub request_series: Option<Vec<GaugeSpec>>,
}

fn two_minutes() -> i32 {
    120
}

/// Names an object in this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// The API group and version of the object, such as apps/v1.
    #[schemars(
        length(min = 1, max = 316),
        regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub api_version: String,
    /// The kind of the object, such as StatefulSet.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$")
    )]
    pub kind: String,
    /// The name of the object.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// The role to scale, such as decode, where the object is a RoleBasedGroup. Not allowed for
    /// other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub role: Option<String>,
}

/// The grouping of pods into replicas.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaPodsSpec {
    /// The label that groups pods: the pods of the target with the same value of this label are one
    /// replica.
    #[schemars(length(min = 1, max = 317))]
    pub group_label: String,
    /// The pods of a replica that expose its metrics. If absent, all of its pods do, and their
    /// values are summed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "selector::leaders")]
    pub leader_selector: Option<LabelSelector>,
    /// The number of pods of a complete replica; with fewer, a replica is not ready. If absent,
    /// every replica is taken as complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub size: Option<i32>,
}
