//! The labels of a group's objects.

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::objects::namespace;

pub(super) const GROUP: &str = "rbg.workloads.x-k8s.io/group-name";
pub(super) const GROUP_UID: &str = "rbg.workloads.x-k8s.io/group-uid";
pub(super) const ROLE: &str = "rbg.workloads.x-k8s.io/role-name";
pub(super) const INSTANCE: &str = "rbg.workloads.x-k8s.io/role-instance-name";
pub(super) const INSTANCE_INDEX: &str = "rbg.workloads.x-k8s.io/role-instance-index";
pub(super) const INSTANCE_ID: &str = "rbg.workloads.x-k8s.io/role-instance-id";
pub(super) const INSTANCE_OWNER: &str = "rbg.workloads.x-k8s.io/role-instance-owner";
pub(super) const ROLE_TYPE: &str = "rbg.workloads.x-k8s.io/role-type";
pub(super) const REVISION: &str = "controller-revision-hash";
pub(super) const COMPONENT: &str = "rbg.workloads.x-k8s.io/component-name";
pub(super) const COMPONENT_ID: &str = "rbg.workloads.x-k8s.io/component-id";
pub(super) const COMPONENT_SIZE: &str = "rbg.workloads.x-k8s.io/component-size";
pub(super) const COMPONENT_INDEX: &str = "rbg.workloads.x-k8s.io/component-index";
pub(super) const GROUP_SET: &str = "rbg.workloads.x-k8s.io/groupset-name";
pub(super) const GROUP_SET_INDEX: &str = "rbg.workloads.x-k8s.io/groupset-index";
pub(super) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";

/// The annotation of a role that selects its workload kind.
pub(super) const WORKLOAD_TYPE: &str = "rbg.workloads.x-k8s.io/role-workload-type";

/// The annotation of a role, and of its RoleInstanceSet, that decides if its instances are
/// numbered.
pub(super) const PATTERN: &str = "rbg.workloads.x-k8s.io/role-instance-pattern";

/// The annotation of a RoleInstance with its deletion cost; the cheapest instances are deleted
/// first.
pub(super) const DELETION_COST: &str = "controller.kubernetes.io/instance-deletion-cost";

/// Returns the labels of a role's workload and of all its pods.
pub(super) fn of_role(group: &DynamicObject, role: &str) -> Value {
    json!({GROUP: group.name_any(), GROUP_UID: group_uid(group), ROLE: role})
}

/// Returns these labels as a selector, as a RoleInstanceSet publishes it.
pub(super) fn selector(group: &DynamicObject, role: &str) -> String {
    format!("{GROUP}={},{GROUP_UID}={},{ROLE}={role}", group.name_any(), group_uid(group))
}

/// Returns the value of the label for the group's UID, which is a hash of its name.
fn group_uid(group: &DynamicObject) -> String {
    let name = format!("{}/{}", namespace(group), group.name_any());
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let start = hash.as_ref().first_chunk().map_or(0, |start| u32::from_be_bytes(*start));
    format!("{start:08x}")
}
