//! `spec.roles` and `spec.ratio`: several targets of one service.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    DrainSpec, EngineName, FallbackSpec, LLMAutoscalerSpec, MetricSpec, ReplicaPodsSpec,
    ScaleTargetRef, SourceSpec, one,
};
use crate::{behavior::BehaviorSpec, quantity::Quantity};

/// One of several targets of a service, such as prefill or decode. What it does not say is as at the top.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas")
        .message("minReplicas must not be greater than maxReplicas")
        .field_path(".minReplicas"),
    validation = Rule::new("!has(self.scaleTargetRef) || (self.scaleTargetRef.kind == 'RoleBasedGroup') == has(self.scaleTargetRef.role)")
        .message("a RoleBasedGroup is scaled by its roles: name one in role; no other kind has roles")
        .field_path(".scaleTargetRef")
)]
#[serde(rename_all = "camelCase")]
pub struct RoleSpec {
    /// Its name: a key in the status, and the role of the RoleBasedGroup that is named at the top.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The object that is scaled; if absent, the role of this name of the RoleBasedGroup that is named at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetRef>,
    /// Its engine, where it has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineName>,
    /// Which pods are one replica, where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica_pods: Option<ReplicaPodsSpec>,
    /// The fewest replicas that there may be. 1 if absent.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_replicas: i32,
    /// The most replicas that there may be; if absent, as many as all roles together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: Option<i32>,
    /// How many GPUs one replica takes, all of its pods together: what maxGPUs is about.
    #[serde(rename = "gpusPerReplica", default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub gpus_per_replica: Option<i32>,
    /// What decides on its number of replicas. Each metric proposes a number; the highest wins.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 8))]
    pub metrics: Vec<MetricSpec>,
    /// Where its samples come from, where that is not as at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub sources: Option<Vec<SourceSpec>>,
    /// How fast and how far it may change, where that is not as at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<BehaviorSpec>,
    /// How many replicas are to be there when no source has had a sample for a while, where that is not as at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,
    /// Whether and how its scale-downs drain, where that is not as at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainSpec>,
}

/// The proportion of two roles: how many replicas of the first there are for one of the second. Out of the range the
/// smaller of the two is made larger; where it cannot be, the larger stays as small as that.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("has(self.min) || has(self.max)").message("give min, max or both"),
    validation = Rule::new("self.between.size() != 2 || self.between[0] != self.between[1]")
        .message("a ratio is between two different roles")
        .field_path(".between"),
    validation = Rule::new("!has(self.min) || !has(self.max) || !isQuantity(string(self.min)) || !isQuantity(string(self.max)) || quantity(string(self.min)).compareTo(quantity(string(self.max))) <= 0")
        .message("min must not be greater than max")
        .field_path(".min")
)]
#[serde(rename_all = "camelCase")]
pub struct RatioSpec {
    /// The two roles, by name.
    #[schemars(length(min = 2, max = 2), inner(length(min = 1, max = 63)))]
    pub between: Vec<String>,
    /// At least so many of the first for one of the second: a number, or a quantity such as "0.5" or 500m.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("min must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Quantity>,
    /// At most so many of the first for one of the second.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("max must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Quantity>,
}

impl LLMAutoscalerSpec {
    /// The spec that one of its roles would have by itself.
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
            replica_pods: role.replica_pods.clone().or_else(|| self.replica_pods.clone()),
            engine: role.engine.unwrap_or(self.engine),
            min_replicas: role.min_replicas,
            max_replicas: role.max_replicas.unwrap_or(self.max_replicas),
            metrics: role.metrics.clone(),
            sources: role.sources.clone().or_else(|| self.sources.clone()),
            behavior: role.behavior.clone().or_else(|| self.behavior.clone()),
            fallback: role.fallback.clone().or_else(|| self.fallback.clone()),
            drain: role.drain.clone().or_else(|| self.drain.clone()),
            pod_monitor: self.pod_monitor.clone(),
            manual_changes: self.manual_changes.clone(),
            scale_to_zero: None,
            max_gpus: None,
            roles: None,
            ratio: None,
        }
    }

    /// What is scaled, as KIND/NAME or KIND/NAME/ROLE; several separated by commas.
    pub fn reference(&self) -> String {
        let roles = self.roles.iter().flatten();
        let own: Vec<String> = roles
            .map(|role| self.of_role(role).scale_target_ref)
            .chain(self.roles.is_none().then(|| self.scale_target_ref.clone()))
            .flatten()
            .map(|target| target.to_string())
            .collect();
        match &self.scale_target_ref {
            // One group is told by its name.
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
