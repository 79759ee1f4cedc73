//! The RoleInstance, which is the object between a role of a RoleBasedGroup and its pods. A smaller
//! size removes RoleInstances.

use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use llm_autoscaler_api::{
    names::{is_api_version, is_object_name},
    workloads,
};

/// The RoleInstance that controls a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleInstance {
    /// The `apiVersion` of the owner reference.
    pub api_version: String,
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
}

impl RoleInstance {
    /// Reads it from the owner references of a pod. The API server does not check their names,
    /// which become a part of the paths of calls, so a reference with a wrong name counts as none.
    pub fn of(pod: &core::Pod) -> Option<Self> {
        let is_its = |version: &str| {
            version.split_once('/').is_some_and(|(group, _)| group == workloads::RBG_GROUP)
        };
        let owner = pod.owner_references().iter().find(|owner| {
            owner.controller == Some(true)
                && owner.kind == workloads::RBG_INSTANCE
                && is_its(&owner.api_version)
                && is_api_version(&owner.api_version)
                && is_object_name(&owner.name)
        })?;
        let (api_version, name, uid) =
            (owner.api_version.clone(), owner.name.clone(), owner.uid.clone());
        Some(Self { api_version, name, uid })
    }
}
