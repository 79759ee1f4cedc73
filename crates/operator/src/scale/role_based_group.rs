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
    kube_api::CallError,
    scale::{
        client::{ScaleClient, patch_params},
        error::TargetError,
        kinds::same_version,
        role_based_group::objects::{Adapter, Group},
        view::{ScaleView, ScaleWrite},
    },
    telemetry::WriteKind,
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
    ///
    /// The rollout is read from the role's workload. The number of updated replicas in the group's
    /// status is written only together with another number of replicas or of ready ones, so it is
    /// outdated while a rollout waits for a pod that is out of service.
    pub(super) async fn get_role_workload(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Workload, TargetError> {
        let (group, role) = if target.kind == workloads::RBG_ADAPTER {
            let Adapter { group, role, .. } = self.get_adapter(namespace, target).await?;
            (same_version(target, workloads::RBG_KIND, &group), role)
        } else {
            (target.clone(), target.role.clone().unwrap_or_default())
        };
        let group = self.get_group(namespace, &group).await?;
        let stated = group.workload(&role);
        let Some(workload) = group.workload_reference(&role) else { return Ok(stated) };
        match self.get_own_workload(namespace, &workload).await {
            Ok(found) => Ok(Workload {
                victims: stated.victims,
                is_ordered: stated.is_ordered || found.is_ordered,
                ..found
            }),
            // It may not have been created yet, or the operator may not read it.
            Err(error) if error.is_gone() || error.is_forbidden() => {
                self.log_refusal(namespace, &workload.name, &error);
                Ok(stated)
            }
            Err(error) => Err(error),
        }
    }

    async fn get_group(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Group, TargetError> {
        let api = self.api(namespace, target).await?;
        Group::parse(self.reads.run(namespace, api.get(&target.name)).await?, target)
    }

    async fn get_adapter(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Adapter, TargetError> {
        let api = self.api(namespace, target).await?;
        Adapter::parse(self.reads.run(namespace, api.get(&target.name)).await?, target)
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
        let call = api.patch_scale(name, &params, &patch);
        let scale = self.writes.send(WriteKind::Scale, write.permit, call).await?;
        Ok(write.view_after(scale.metadata.resource_version))
    }

    /// Writes the size of a role to its group, at this index of `spec.roles`.
    pub(super) async fn patch_group(
        &self,
        write: &ScaleWrite<'_>,
        index: usize,
    ) -> Result<ScaleView, TargetError> {
        let ScaleWrite { namespace, target, permit, .. } = *write;
        let api = self.api(namespace, target).await?;
        let patch = serde_json::from_value(write.group_patch(index))
            .map_err(|error| CallError::Api(kube::Error::SerdeError(error)))?;
        let patch = Patch::Json::<()>(patch);
        let params = patch_params();
        match self
            .writes
            .send(WriteKind::Scale, permit, api.patch(&target.name, &params, &patch))
            .await
        {
            Err(error) if is_failed_test(&error) => {
                Err(TargetError::Conflict("another role is at the role's place".to_owned()))
            }
            Err(error) if lacks_permission(&error) => {
                Err(TargetError::RoleForbidden(error.to_string()))
            }
            result => Ok(write.view_after(result?.metadata.resource_version)),
        }
    }
}

/// Returns whether a JSON patch could not be applied, because one of its tests failed. Every other
/// refusal with 422, as by a CRD's rules or an admission policy, names the object in its details.
fn is_failed_test(error: &CallError) -> bool {
    let CallError::Api(kube::Error::Api(status)) = error else { return false };
    let names_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    status.code == 422 && !names_object
}

/// Returns whether RBAC forbids the patch. Admission webhooks answer 403 as well.
fn lacks_permission(error: &CallError) -> bool {
    error.status() == Some(403) && error.to_string().contains("cannot patch resource")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_patch_is_a_conflict_only_where_a_test_of_it_failed() {
        let admission = "rolebasedgroups.workloads.x-k8s.io \"pd\" is forbidden: ValidatingAdmissionPolicy \
             'max5' with binding 'max5' denied request: at most 5";
        let webhook = "admission webhook \"vrolebasedgroup.kb.io\" denied the request: partition: 2 \
                       must be less than replicas 1";
        let rbac = "rolebasedgroups.workloads.x-k8s.io \"pd\" is forbidden: User \"o\" cannot patch \
                    resource \"rolebasedgroups\" in API group \"workloads.x-k8s.io\"";
        let generic = "the server rejected our request due to an error in our request";
        // code, message, name in the details; a failed test, a lack of permission
        let table = [
            (422, generic, "", [true, false]),
            (422, admission, "pd", [false, false]),
            (422, "RoleBasedGroup \"pd\" is invalid: spec.roles[0]", "pd", [false, false]),
            (403, webhook, "", [false, false]),
            (403, rbac, "pd", [false, true]),
            (409, "the object has been modified", "pd", [false, false]),
        ];
        for (code, message, name, expected) in table {
            let details = json!({"name": name});
            let status = json!({"code": code, "message": message, "details": details});
            let status: Status = serde_json::from_value(status).unwrap();
            let error = CallError::Api(kube::Error::Api(Box::new(status)));
            let found = [is_failed_test(&error), lacks_permission(&error)];
            assert_eq!(found, expected, "{code} {message}");
        }
    }
}
