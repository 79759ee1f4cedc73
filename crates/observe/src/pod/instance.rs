//! The object between a role and its pods: it is what is removed.

use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;
use llm_autoscaler_api::workloads;

/// The RoleInstance of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The version in which its controller writes it.
    pub api_version: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl Instance {
    /// Of a pod that one controls.
    pub fn of(pod: &core::Pod) -> Option<Self> {
        let is_its = |version: &str| {
            version.split_once('/').is_some_and(|(group, _)| group == workloads::RBG_GROUP)
        };
        let owner = pod.owner_references().iter().find(|owner| {
            owner.controller == Some(true)
                && owner.kind == workloads::RBG_INSTANCE
                && is_its(&owner.api_version)
        })?;
        let (api_version, name, uid) =
            (owner.api_version.clone(), owner.name.clone(), owner.uid.clone());
        Some(Self { api_version, name, uid })
    }
}
