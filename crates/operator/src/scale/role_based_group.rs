//! Roles of RoleBasedGroups (workloads.x-k8s.io), which have no scale subresource of their own.
//!
//! A role with a scaling adapter is scaled through the adapter's scale subresource. A role without
//! one is scaled by a JSON patch of its group, which tests that the role still is the one that was
//! read. Adapters are read as objects, not through their scale: that fails until they are bound,
//! echoes the desired number as the current one, and has a selector that is empty or cannot be
//! parsed in many cases.

mod objects;

use kube::api::Patch;
use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_observe::workload::Workload;

use crate::{
    kube_api::{CallError, within},
    scale::{
        client::{ScaleClient, patch_params, within_deadline},
        error::TargetError,
        kinds::same_version,
        role_based_group::objects::{Adapter, Group},
        view::{ScaleView, ScaleWrite},
    },
};

impl ScaleClient {
    /// Reads the size of a role, which is named by its group or by its adapter.
    pub(super) async fn get_role(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<ScaleView, TargetError> {
        if target.kind == workloads::RBG_ADAPTER {
            let adapter = self.get_adapter(namespace, target).await?;
            let group = same_version(target, workloads::RBG_KIND, &adapter.group);
            let group = self.get_group(namespace, &group).await?;
            return Ok(group.complete(adapter.view, &adapter.role));
        }
        let role = target.role.as_deref().unwrap_or_default();
        let group = self.get_group(namespace, target).await?;
        if !group.has_adapter(role)? {
            return Ok(group.complete(group.role_view(role)?, role));
        }
        let name = format!("{}-{role}", target.name);
        let adapter = same_version(target, workloads::RBG_ADAPTER, &name);
        match self.get_adapter(namespace, &adapter).await {
            Ok(adapter) => Ok(group.complete(adapter.view, role)),
            Err(error) if error.is_gone() => Err(TargetError::NotYet(format!(
                "the scaling adapter {name} of role {role} has not been created yet"
            ))),
            Err(error) => Err(error),
        }
    }

    /// Reads the rollout of a role, and the rule by which a smaller size removes its replicas.
    pub(super) async fn get_role_workload(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Workload, TargetError> {
        if target.kind == workloads::RBG_ADAPTER {
            let Adapter { group, role, .. } = self.get_adapter(namespace, target).await?;
            let group = same_version(target, workloads::RBG_KIND, &group);
            return Ok(self.get_group(namespace, &group).await?.workload(&role));
        }
        let role = target.role.as_deref().unwrap_or_default();
        Ok(self.get_group(namespace, target).await?.workload(role))
    }

    async fn get_group(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Group, TargetError> {
        let api = self.api(namespace, target).await?;
        Group::parse(within_deadline(api.get(&target.name)).await?, target)
    }

    async fn get_adapter(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Adapter, TargetError> {
        let api = self.api(namespace, target).await?;
        Adapter::parse(within_deadline(api.get(&target.name)).await?, target)
    }

    /// Writes the size of a role to the scale of its adapter, which has this name.
    pub(super) async fn patch_adapter(
        &self,
        write: &ScaleWrite<'_>,
        name: &str,
    ) -> Result<ScaleView, TargetError> {
        let target = same_version(write.target, workloads::RBG_ADAPTER, name);
        let api = self.api(write.namespace, &target).await?;
        let patch = Patch::Merge(write.subresource_patch());
        let params = patch_params();
        let scale = within(write.deadline, api.patch_scale(name, &params, &patch)).await?;
        Ok(write.view_after(scale.metadata.resource_version))
    }

    /// Writes the size of a role to its group, at this index of `spec.roles`.
    pub(super) async fn patch_group(
        &self,
        write: &ScaleWrite<'_>,
        index: usize,
    ) -> Result<ScaleView, TargetError> {
        let ScaleWrite { namespace, target, deadline, .. } = *write;
        let api = self.api(namespace, target).await?;
        let patch = serde_json::from_value(write.group_patch(index))
            .map_err(|error| CallError::Api(kube::Error::SerdeError(error)))?;
        let patch = Patch::Json::<()>(patch);
        match within(deadline, api.patch(&target.name, &patch_params(), &patch)).await {
            // Only a failed test makes the API server answer this patch with 422.
            Err(error) if error.status() == Some(422) => Err(TargetError::Conflict),
            Err(error) if error.status() == Some(403) => {
                Err(TargetError::RoleForbidden(error.to_string()))
            }
            result => Ok(write.view_after(result?.metadata.resource_version)),
        }
    }
}
