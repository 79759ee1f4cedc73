//! The fields of a pod's spec and status that are read.

use k8s_openapi::{api::core::v1 as core, apimachinery::pkg::apis::meta::v1::Time};
use serde::Deserialize;

/// The fields of a spec.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    node_name: Option<String>,
    termination_grace_period_seconds: Option<i64>,
    readiness_gates: Option<Vec<core::PodReadinessGate>>,
    init_containers: Option<Vec<Container>>,
    containers: Option<Vec<Container>>,
    resource_claims: Option<Vec<core::PodResourceClaim>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    ports: Option<Vec<core::ContainerPort>>,
    resources: Option<core::ResourceRequirements>,
    restart_policy: Option<String>,
}

/// The fields of a status.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    start_time: Option<Time>,
    conditions: Option<Vec<Condition>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    resource_claim_statuses: Option<Vec<core::PodResourceClaimStatus>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    type_: Option<String>,
    status: Option<String>,
    reason: Option<String>,
    last_transition_time: Option<Time>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    restart_count: Option<i32>,
    state: Option<core::ContainerState>,
}

impl From<Spec> for core::PodSpec {
    fn from(read: Spec) -> Self {
        let containers = |read: Vec<Container>| read.into_iter().map(Into::into).collect();
        Self {
            node_name: read.node_name,
            termination_grace_period_seconds: read.termination_grace_period_seconds,
            readiness_gates: read.readiness_gates,
            init_containers: read.init_containers.map(containers),
            containers: read.containers.map(containers).unwrap_or_default(),
            resource_claims: read.resource_claims,
            ..Self::default()
        }
    }
}

impl From<Container> for core::Container {
    fn from(Container { ports, resources, restart_policy }: Container) -> Self {
        Self { ports, resources, restart_policy, ..Self::default() }
    }
}

impl From<Status> for core::PodStatus {
    fn from(read: Status) -> Self {
        let conditions = |read: Vec<Condition>| read.into_iter().map(Into::into).collect();
        let statuses = |read: Vec<ContainerStatus>| read.into_iter().map(Into::into).collect();
        Self {
            phase: read.phase,
            pod_ip: read.pod_ip,
            start_time: read.start_time,
            conditions: read.conditions.map(conditions),
            init_container_statuses: read.init_container_statuses.map(statuses),
            container_statuses: read.container_statuses.map(statuses),
            resource_claim_statuses: read.resource_claim_statuses,
            ..Self::default()
        }
    }
}

impl From<Condition> for core::PodCondition {
    fn from(Condition { type_, status, reason, last_transition_time }: Condition) -> Self {
        let (type_, status) = (type_.unwrap_or_default(), status.unwrap_or_default());
        Self { type_, status, reason, last_transition_time, ..Self::default() }
    }
}

impl From<ContainerStatus> for core::ContainerStatus {
    fn from(ContainerStatus { restart_count, state }: ContainerStatus) -> Self {
        Self { restart_count: restart_count.unwrap_or_default(), state, ..Self::default() }
    }
}
