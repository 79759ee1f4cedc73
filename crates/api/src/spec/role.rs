//! `spec.roles` and `spec.ratio`: several targets of one service.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    DrainSpec, EngineName, FallbackSpec, LLMAutoscalerSpec, MetricSpec, ReplicaPodsSpec,
    RoleSloSpec, ScaleTargetRef, SourceSpec, one,
};
use crate::{behavior::BehaviorSpec, quantity::Quantity};

/// A target among several of a service, such as prefill or decode. Unset fields are inherited from
/// the top level of the spec.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas")
        .message("minReplicas must not be greater than maxReplicas")
        .field_path(".minReplicas"),
    validation = Rule::new("has(self.metrics) || has(self.slo)")
        .message("a role needs metrics, or slo with its phase")
        .field_path(".metrics"),
    validation = Rule::new("!has(self.scaleTargetRef) || (self.scaleTargetRef.kind == 'RoleBasedGroup') == has(self.scaleTargetRef.role)")
        .message("a RoleBasedGroup is scaled by its roles: name one in role; no other kind has roles")
        .field_path(".scaleTargetRef")
)]
#[serde(rename_all = "camelCase")]
pub struct RoleSpec {
    /// The name of the role: its key in the status, and the name of the role in the RoleBasedGroup
    /// that the top level names.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The object to scale. If absent, the role of this name in the RoleBasedGroup that the top
    /// level names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetRef>,
    /// The role's engine, if it differs from the top level's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineName>,
    /// The grouping of pods into replicas, for workload kinds the operator does not know. If
    /// absent, as at the top level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_pods: Option<ReplicaPodsSpec>,
    /// The lower limit for the number of replicas. Defaults to 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_replicas: i32,
    /// The upper limit for the number of replicas. Defaults to the limit for all roles together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: Option<i32>,
    /// The number of GPUs that one replica takes, with all of its pods. It counts towards maxGPUs,
    /// which needs it, and is that of the bill. If absent, as at the top level.
    #[serde(rename = "gpusPerReplica", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub gpus_per_replica: Option<i32>,
    /// The part of the promise at the top level that the role keeps. Each of the metrics beside it
    /// is a floor: the highest number is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<RoleSloSpec>,
    /// The metrics that decide the number of replicas. Each metric proposes a number, and the
    /// highest one is used.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    pub metrics: Vec<MetricSpec>,
    /// The speed at which the number of replicas may change. If absent, as at the top level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<BehaviorSpec>,
    /// The number of replicas to keep when no metric has been available for a while. If absent, as
    /// at the top level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,
    /// The way to drain replicas. If absent, as at the top level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainSpec>,
}

/// The proportion of two roles: the number of replicas of the first for each replica of the second.
/// Outside of the range, the role that has too few replicas gets more; if it cannot, the other role
/// gets fewer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("has(self.min) || has(self.max)").message("set min, max or both"),
    validation = Rule::new("self.between.size() != 2 || self.between[0] != self.between[1]")
        .message("a ratio is between two different roles")
        .field_path(".between"),
    validation = Rule::new("!has(self.min) || !has(self.max) || !isQuantity(string(self.min)) || !isQuantity(string(self.max)) || quantity(string(self.min)).compareTo(quantity(string(self.max))) <= 0")
        .message("min must not be greater than max")
        .field_path(".min")
)]
#[serde(rename_all = "camelCase")]
pub struct RatioSpec {
    /// The names of the two roles.
    #[schemars(length(min = 2, max = 2), inner(length(min = 1, max = 63)))]
    pub between: Vec<String>,
    /// The lower limit of the proportion: a number, or a quantity such as "0.5" or 500m.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("min must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Quantity>,
    /// The upper limit of the proportion.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("max must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Quantity>,
}

impl LLMAutoscalerSpec {
    /// Returns the sources of a role, in their order; `None` if the spec has none.
    fn sources_of(&self, role: &str) -> Option<Vec<SourceSpec>> {
        let sources = self.sources.as_ref()?;
        Some(sources.iter().filter(|source| source.is_of(role)).cloned().collect())
    }

    /// Returns the spec that a role would have as the only target. Unset fields of the role are
    /// taken from the top level.
    #[must_use]
    pub fn of_role(&self, role: &RoleSpec) -> Self {
        let by_name = |group: &ScaleTargetRef| ScaleTargetRef {
            role: Some(role.name.clone()),
            ..group.clone()
        };
        Self {
            scale_target_ref: role
                .scale_target_ref
                .clone()
                .or_else(|| self.scale_target_ref.as_ref().map(by_name)),
            mode: self.mode,
            replica_pods: role.replica_pods.clone().or_else(|| self.replica_pods.clone()),
            engine: role.engine.unwrap_or(self.engine),
            min_replicas: role.min_replicas,
            max_replicas: role.max_replicas.unwrap_or(self.max_replicas),
            slo: role.slo.as_ref().zip(self.slo.as_ref()).map(|(own, slo)| own.part_of(slo)),
            metrics: role.metrics.clone(),
            sources: self.sources_of(&role.name),
            behavior: role.behavior.clone().or_else(|| self.behavior.clone()),
            fallback: role.fallback.clone().or_else(|| self.fallback.clone()),
            drain: role.drain.clone().or_else(|| self.drain.clone()),
            pod_monitor: self.pod_monitor.clone(),
            manual_changes: self.manual_changes.clone(),
            scale_to_zero: None,
            max_gpus: None,
            gpus_per_replica: role.gpus_per_replica.or(self.gpus_per_replica),
            roles: None,
            ratio: None,
        }
    }

    /// Returns the targets as KIND/NAME or KIND/NAME/ROLE, separated by commas. Several roles of
    /// one RoleBasedGroup are named by the group.
    pub fn reference(&self) -> String {
        let roles = self.roles.iter().flatten();
        let own: Vec<String> = roles
            .map(|role| self.of_role(role).scale_target_ref)
            .chain(self.roles.is_none().then(|| self.scale_target_ref.clone()))
            .flatten()
            .map(|target| target.to_string())
            .collect();
        match &self.scale_target_ref {
            // Roles of one group are named by the group.
            Some(group)
                if self.roles.iter().flatten().all(|role| role.scale_target_ref.is_none()) =>
            {
                group.to_string()
            }
            _ => own.join(", "),
        }
    }
}

impl std::fmt::Display for ScaleTargetRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, name, role, .. } = self;
        write!(f, "{kind}/{name}")?;
        role.iter().try_for_each(|role| write!(f, "/{role}"))
    }
}
