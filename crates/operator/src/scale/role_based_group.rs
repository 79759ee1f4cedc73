//! Roles of RoleBasedGroups (workloads.x-k8s.io), which have no scale subresource of their own.
//!
//! A role with a scaling adapter is scaled through the adapter's; one without by a JSON patch of the group, which tests that it
//! still is the role that was read. Adapters are read as objects and not through their scale: that fails until they are
//! bound, echoes the desired number as the current one, and has a selector that is empty or cannot be read in many cases.

use std::collections::BTreeMap;

use kube::api::{DynamicObject, Patch};
use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::Scale;
use serde::Deserialize;
use serde_json::json;

use crate::{
    kube_api::{CallError, within},
    scale::client::{
        Place, ScaleView, ScaleWrite, TargetError, Targets, deadline, params, sibling,
    },
};
use llm_autoscaler_observe::workload::{RolloutProgress, Workload};

/// What is read of a group.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Group {
    spec: GroupSpec,
    status: GroupStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GroupSpec {
    roles: Vec<Role>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Role {
    name: String,
    replicas: Option<i32>,
    annotations: BTreeMap<String, String>,
    pod_management_policy: String,
    scaling_adapter: ScalingAdapter,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScalingAdapter {
    enable: bool,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct GroupStatus {
    role_statuses: Vec<RoleStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RoleStatus {
    name: String,
    replicas: i32,
    ready_replicas: i32,
    updated_replicas: Option<i32>,
}

/// What is read of an adapter.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Adapter {
    spec: AdapterSpec,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct AdapterSpec {
    replicas: Option<i32>,
    scale_target_ref: AdapterTarget,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AdapterTarget {
    name: String,
    role: String,
}

impl Targets {
    /// Reads the size of a role, by its group or by its adapter.
    pub(super) async fn get_role(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<ScaleView, TargetError> {
        if target.kind == workloads::RBG_ADAPTER {
            let (adapter, view) = self.get_adapter(namespace, target).await?;
            let AdapterTarget { name, role } = &adapter.spec.scale_target_ref;
            let group = sibling(target, workloads::RBG_KIND, name);
            let (object, group) = self.get_group(namespace, &group).await?;
            // By the role, so that it is the same target by whichever name it is called.
            let uid = role_uid(&object, role);
            return Ok(with_status(ScaleView { uid, ..view }, &group, role));
        }
        let wanted = target.role.as_deref().unwrap_or_default();
        let (object, group) = self.get_group(namespace, target).await?;
        let Some(index) = group.spec.roles.iter().position(|role| role.name == wanted) else {
            let roles = group.spec.roles.into_iter().map(|role| role.name).collect();
            return Err(TargetError::NoSuchRole {
                group: target.name.clone(),
                role: wanted.to_owned(),
                roles,
            });
        };
        let role = &group.spec.roles[index];
        let uid = role_uid(&object, wanted);
        let view = if role.scaling_adapter.enable {
            let adapter =
                sibling(target, workloads::RBG_ADAPTER, &format!("{}-{wanted}", target.name));
            match self.get_adapter(namespace, &adapter).await {
                Err(error) if error.is_gone() => {
                    return Err(TargetError::NotYet(format!(
                        "the scaling adapter {} of role {wanted} has not been created yet",
                        adapter.name
                    )));
                }
                result => ScaleView { uid, ..result?.1 },
            }
        } else {
            // A role without a number has one replica.
            let current = role.replicas.unwrap_or(1);
            ScaleView {
                scale: Scale { current, status: current },
                selector: workloads::role_selector(&target.name, wanted),
                uid,
                resource_version: object.metadata.resource_version,
                place: Place::Role(index),
            }
        };
        Ok(with_status(view, &group, wanted))
    }

    /// Whether a role is being rolled out, and whom a smaller size of it removes. Where its instances have numbers, these begin
    /// with 0.
    pub(super) async fn role_workload(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<Workload, TargetError> {
        let (group, role) = if target.kind == workloads::RBG_ADAPTER {
            let AdapterTarget { name, role } =
                self.get_adapter(namespace, target).await?.0.spec.scale_target_ref;
            (sibling(target, workloads::RBG_KIND, &name), role)
        } else {
            (target.clone(), target.role.clone().unwrap_or_default())
        };
        let (object, group) = self.get_group(namespace, &group).await?;
        let status = group.status.role_statuses.iter().find(|status| status.name == role);
        let rollout = status.and_then(|status| {
            let RoleStatus { replicas, ready_replicas, .. } = *status;
            let updated = status.updated_replicas.filter(|updated| *updated < replicas)?;
            let generation = object.metadata.generation.unwrap_or_default();
            let (wanted, ready) = (replicas.into(), ready_replicas.into());
            Some(RolloutProgress { updated: updated.into(), wanted, ready, generation })
        });
        let found = group.spec.roles.iter().find(|found| found.name == role);
        let victims = found.map(|role| workloads::role_victims(&role.annotations));
        let is_ordered =
            found.is_some_and(|role| role.pod_management_policy == workloads::ORDERED_READY);
        Ok(Workload { first_ordinal: Some(0), victims, is_ordered, rollout, is_given_up: false })
    }

    async fn get_group(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<(DynamicObject, Group), TargetError> {
        let api = self.api(namespace, target).await?;
        let object = deadline(api.get(&target.name)).await?;
        let labels = object.metadata.labels.iter().flatten();
        if let Some((_, set)) = labels.into_iter().find(|(key, _)| *key == workloads::RBG_SET_LABEL)
        {
            return Err(TargetError::Refused(format!(
                "the RoleBasedGroup {} belongs to the RoleBasedGroupSet {set}, which undoes every change of its roles: scale the \
                 set instead",
                target.name
            )));
        }
        let group = read(&object, target)?;
        Ok((object, group))
    }

    async fn get_adapter(
        &self,
        namespace: &str,
        target: &ScaleTargetRef,
    ) -> Result<(Adapter, ScaleView), TargetError> {
        let api = self.api(namespace, target).await?;
        let object = deadline(api.get(&target.name)).await?;
        let adapter: Adapter = read(&object, target)?;
        let AdapterTarget { name, role } = &adapter.spec.scale_target_ref;
        let owners = object.metadata.owner_references.iter().flatten();
        if !owners.into_iter().any(|owner| owner.kind == workloads::RBG_KIND && owner.name == *name)
        {
            return Err(TargetError::Refused(format!(
                "the scaling adapter {} was not created for a role with scalingAdapter.enable, so its controller ignores it",
                target.name
            )));
        }
        let Some(current) = adapter.spec.replicas else {
            let problem =
                format!("the scaling adapter {} is not bound to its role yet", target.name);
            return Err(TargetError::NotYet(problem));
        };
        let view = ScaleView {
            scale: Scale { current, status: current },
            selector: workloads::role_selector(name, role),
            uid: object.metadata.uid.unwrap_or_default(),
            resource_version: object.metadata.resource_version,
            place: Place::Adapter(target.name.clone()),
        };
        Ok((adapter, view))
    }

    /// Writes the size of a role through its adapter.
    pub(super) async fn set_adapter(
        &self,
        write: &ScaleWrite<'_>,
        adapter: &str,
    ) -> Result<ScaleView, TargetError> {
        let target = sibling(write.target, workloads::RBG_ADAPTER, adapter);
        let api = self.api(write.namespace, &target).await?;
        let patch = Patch::Merge(write.scale_patch());
        let scale = within(write.deadline, api.patch_scale(adapter, &params(), &patch)).await?;
        Ok(write.written(scale.metadata.resource_version))
    }

    /// Writes the size of a role in its group, if the group is still the one that was read.
    pub(super) async fn set_role(
        &self,
        write: &ScaleWrite<'_>,
        index: usize,
    ) -> Result<ScaleView, TargetError> {
        let ScaleWrite { namespace, target, seen, replicas, deadline } = *write;
        let api = self.api(namespace, target).await?;
        let patch = json!([
            {"op": "test", "path": format!("/spec/roles/{index}/name"), "value": target.role},
            {"op": "test", "path": "/metadata/resourceVersion", "value": seen.resource_version},
            {"op": "add", "path": format!("/spec/roles/{index}/replicas"), "value": replicas},
        ]);
        let patch = serde_json::from_value(patch)
            .map_err(|error| CallError::Api(kube::Error::SerdeError(error)))?;
        let patch = Patch::Json::<()>(patch);
        match within(deadline, api.patch(&target.name, &params(), &patch)).await {
            // A test that fails, and nothing else that this patch could be refused for.
            Err(error) if error.status() == Some(422) => Err(TargetError::Conflict),
            Err(error) if error.status() == Some(403) => {
                Err(TargetError::RoleForbidden(error.to_string()))
            }
            result => Ok(write.written(result?.metadata.resource_version)),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(
    object: &DynamicObject,
    target: &ScaleTargetRef,
) -> Result<T, TargetError> {
    T::deserialize(&object.data).map_err(|error| {
        TargetError::Refused(format!("the {} {} cannot be read: {error}", target.kind, target.name))
    })
}

/// What tells a role from all others.
fn role_uid(group: &DynamicObject, role: &str) -> String {
    format!("{}/{role}", group.metadata.uid.as_deref().unwrap_or_default())
}

/// The number of replicas that the controller sees is the role's in the status of its group.
fn with_status(view: ScaleView, group: &Group, role: &str) -> ScaleView {
    let status = group.status.role_statuses.iter().find(|status| status.name == role);
    let status = status.map_or(view.scale.status, |status| status.replicas);
    ScaleView { scale: Scale { status, ..view.scale }, ..view }
}
