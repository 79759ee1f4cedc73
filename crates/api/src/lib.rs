//! The `LLMAutoscaler` resource: its types, its checks, and the texts of its conditions and events.
//!
//! ```text
//! spec ──parse_spec()──> core::Policy, sources    core::Decision ──messages──> conditions, events
//! ```
//!
//! The types are what users write and read. [`parse_spec`] parses a spec into what the core decides
//! by, and [`messages`] renders a decision in the HPA's own sentences. [`conditions`] lists every
//! condition and reason, [`workloads`] holds what is known about kinds of targets, and
//! [`PodMonitorBuilder`] renders the PodMonitor of a target.
//!
//! Invariant: there is no network and no clock here; every function is pure.

#![allow(
    unreachable_pub,
    reason = "deriving `KubeSchema` repeats each type where it is not reachable"
)]

mod behavior;
pub mod bill;
pub mod conditions;
pub mod exported;
mod gpu_resources;
mod lenient;
pub mod memory;
pub mod messages;
pub mod names;
mod parse;
mod pause;
mod pod_monitor;
pub mod quantity;
mod resource_claim;
mod schema;
pub mod selector;
mod spec;
mod status;
pub mod time;
pub mod workloads;

pub use behavior::{BehaviorSpec, PolicySpec, PolicyType, RulesSpec, SelectPolicy};
pub use bill::{BillEntryStatus, BillStatus};
pub use gpu_resources::GpuResources;
pub use parse::{
    Access, Advice, Asked, DataKind, DrainConfig, GatewayQueue, MetricConfig, ParsedRole,
    ParsedSpec, PodMonitorConfig, PrometheusConfig, ScrapeConfig, SloConfig, SloMeasures,
    SourceConfig, SourceMeasure, SpecError, TargetConfig, ValueRef, VitalMeasures, WEDGED_AFTER,
    parse_spec, parse_target,
};
pub use pause::PAUSED;
pub use pod_monitor::{POD_MONITOR, PodMonitorBuilder, pod_monitor_name};
pub use quantity::{Quantity, QuantityError};
pub use resource_claim::allocated_gpus;
pub use schema::{SchemaDifference, unknown_spec_fields};
pub use spec::{
    AbsentSeries, AuthorizationSpec, BasicAuthSpec, DrainSpec, EngineName, FallbackSpec,
    GatewayName, GaugeSpec, HeaderFrom, KeyRef, LLMAutoscaler, LLMAutoscalerSpec, LabelOperator,
    LabelRequirement, ManualChangesSpec, MetricSpec, MetricTarget, Name, Named, Phase,
    PodMonitorMode, PodMonitorSpec, Port, PrometheusSpec, RatioSpec, ReplicaPodsSpec, RoleSloSpec,
    RoleSpec, ScaleTargetRef, ScaleToZeroSpec, ScalingMode, Scheme, ScrapeSpec, SecretOrConfigMap,
    SeriesSelector, SeriesSpec, SeriesType, SignalName, SloSpec, SourceSpec, TargetTypeName,
    TlsSpec,
};
pub use status::{
    ChangeRecord, DecisionStatus, LLMAutoscalerStatus, LearnedRecord, ManualChangeStatus,
    MetricStatus, PastDecision, RecommendationBill, RecommendationDifference, RecommendationStatus,
    ReplicasStatus, SloStatus, TargetStatus, UNOBSERVED,
};

/// The operator's field managers, which are its names in `metadata.managedFields`. They are public
/// API: GitOps tools are configured to ignore fields that these own.
pub mod managers {
    /// Owns `spec.replicas` of targets.
    pub const SCALE: &str = "llm-autoscaler-scale";
    /// Owns `status` of `LLMAutoscalers`, but for the field of [`WAKE`].
    pub const STATUS: &str = "llm-autoscaler-status";
    /// Owns `status.lastWakeTime` of `LLMAutoscalers`: whichever copy of the operator gets a call.
    pub const WAKE: &str = "llm-autoscaler-wake";
    /// Owns the certificate authority of the metrics API, and the caBundles of its APIServices.
    pub const METRICS: &str = "llm-autoscaler-metrics";
    /// Owns the objects that the operator creates.
    pub const CHILDREN: &str = "llm-autoscaler-children";
    /// Writes for `llm-autoscaler migrate`: the mode of an `LLMAutoscaler`, its record of the
    /// migration, and the pause of a ScaledObject.
    pub const MIGRATE: &str = "llm-autoscaler-migrate";
    /// Owns the condition `llmautoscaler.io/in-service` of pods, and their deletion cost.
    pub const PODS: &str = "llm-autoscaler-pods";
}
