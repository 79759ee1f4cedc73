//! The fields of groups and adapters that the scale of a role is read from. Nothing here does I/O.

use std::collections::BTreeMap;

use kube::{ResourceExt, api::DynamicObject};
use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::Scale;
use llm_autoscaler_observe::workload::{RolloutProgress, Workload};
use serde::{Deserialize, de::DeserializeOwned};

use crate::scale::{
    error::TargetError,
    view::{ScaleLocation, ScaleView},
};

/// A RoleBasedGroup.
pub(super) struct Group {
    name: String,
    uid: String,
    generation: i64,
    resource_version: Option<String>,
    roles: Vec<Role>,
    statuses: Vec<RoleStatus>,
}

/// A scaling adapter that is bound to its role.
pub(super) struct Adapter {
    /// The name of the adapter's group.
    pub(super) group: String,
    /// The name of the adapter's role.
    pub(super) role: String,
    /// The scale, with the adapter's own UID and without the status of the role.
    pub(super) view: ScaleView,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct GroupFields {
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

#[derive(Deserialize, Default)]
#[serde(default)]
struct AdapterFields {
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

impl Group {
    /// Parses a group.
    ///
    /// # Errors
    /// [`TargetError::Refused`] if a RoleBasedGroupSet owns the group, or a field has another type.
    pub(super) fn parse(
        object: DynamicObject,
        target: &ScaleTargetRef,
    ) -> Result<Self, TargetError> {
        if let Some(set) = object.labels().get(workloads::RBG_SET_LABEL) {
            return Err(TargetError::Refused(format!(
                "the RoleBasedGroup {} belongs to the RoleBasedGroupSet {set}, which undoes every \
                 change of its roles: scale roles of groups that are in no set",
                target.name
            )));
        }
        let GroupFields { spec, status } = parse_fields(&object, target)?;
        Ok(Self {
            name: target.name.clone(),
            uid: object.metadata.uid.unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            resource_version: object.metadata.resource_version,
            roles: spec.roles,
            statuses: status.role_statuses,
        })
    }

    fn index(&self, role: &str) -> Result<usize, TargetError> {
        self.roles.iter().position(|found| found.name == role).ok_or_else(|| {
            TargetError::NoSuchRole {
                group: self.name.clone(),
                role: role.to_owned(),
                roles: self.roles.iter().map(|role| role.name.clone()).collect(),
            }
        })
    }

    fn status(&self, role: &str) -> Option<&RoleStatus> {
        self.statuses.iter().find(|status| status.name == role)
    }

    /// Returns whether a role has a scaling adapter.
    ///
    /// # Errors
    /// [`TargetError::NoSuchRole`].
    pub(super) fn has_adapter(&self, role: &str) -> Result<bool, TargetError> {
        Ok(self.roles[self.index(role)?].scaling_adapter.enable)
    }

    /// Returns the scale of a role without an adapter. A role without a number has one replica.
    ///
    /// # Errors
    /// [`TargetError::NoSuchRole`].
    pub(super) fn role_view(&self, role: &str) -> Result<ScaleView, TargetError> {
        let index = self.index(role)?;
        let current = self.roles[index].replicas.unwrap_or(1);
        Ok(ScaleView {
            scale: Scale { current, status: current },
            selector: workloads::role_selector(&self.name, role),
            uid: String::new(),
            resource_version: self.resource_version.clone(),
            location: ScaleLocation::Role(index),
        })
    }

    /// Completes the scale of a role by two facts of the group. The UID is made of the group and
    /// the role, so that a role is one target whether its group or its adapter is referred to. The
    /// replicas that the controller reports are in the group's status.
    pub(super) fn complete(&self, view: ScaleView, role: &str) -> ScaleView {
        let status = self.status(role).map_or(view.scale.status, |status| status.replicas);
        let scale = Scale { status, ..view.scale };
        ScaleView { uid: format!("{}/{role}", self.uid), scale, ..view }
    }

    /// Returns a reference to the workload of a role, if the group has the role. It has the group's
    /// name and the role's.
    pub(super) fn workload_reference(&self, role: &str) -> Option<ScaleTargetRef> {
        let found = self.roles.iter().find(|found| found.name == role)?;
        let (api_version, kind) = workloads::role_workload(&found.annotations)?;
        let name = format!("{}-{role}", self.name);
        Some(ScaleTargetRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name,
            role: None,
        })
    }

    /// Returns the rollout of a role, as its group's status has it, and the rule by which a smaller
    /// size removes its replicas. Ordinals of instances begin at 0.
    pub(super) fn workload(&self, role: &str) -> Workload {
        let spec = self.roles.iter().find(|found| found.name == role);
        Workload {
            first_ordinal: Some(0),
            victims: spec.map(|role| workloads::role_victims(&role.annotations)),
            is_ordered: spec
                .is_some_and(|role| role.pod_management_policy == workloads::ORDERED_READY),
            rollout: self.status(role).and_then(|status| status.rollout(self.generation)),
            is_given_up: false,
        }
    }
}

impl RoleStatus {
    /// Returns the rollout of the role, if fewer of its replicas are updated than it has.
    fn rollout(&self, generation: i64) -> Option<RolloutProgress> {
        let updated = self.updated_replicas.filter(|updated| *updated < self.replicas)?;
        let (wanted, ready) = (self.replicas.into(), self.ready_replicas.into());
        Some(RolloutProgress { updated: updated.into(), wanted, ready, generation })
    }
}

impl Adapter {
    /// Parses a scaling adapter.
    ///
    /// # Errors
    /// [`TargetError::Refused`] if no group has created the adapter, and [`TargetError::NotYet`] if
    /// it is not bound to its role.
    pub(super) fn parse(
        object: DynamicObject,
        target: &ScaleTargetRef,
    ) -> Result<Self, TargetError> {
        let AdapterFields { spec } = parse_fields(&object, target)?;
        let AdapterTarget { name: group, role } = spec.scale_target_ref;
        let mut owners = object.owner_references().iter();
        if !owners.any(|owner| owner.kind == workloads::RBG_KIND && owner.name == group) {
            return Err(TargetError::Refused(format!(
                "the scaling adapter {} was not created for a role with scalingAdapter.enable, so \
                 its controller ignores it",
                target.name
            )));
        }
        let Some(current) = spec.replicas else {
            let problem =
                format!("the scaling adapter {} is not bound to its role yet", target.name);
            return Err(TargetError::NotYet(problem));
        };
        let view = ScaleView {
            scale: Scale { current, status: current },
            selector: workloads::role_selector(&group, &role),
            uid: object.metadata.uid.unwrap_or_default(),
            resource_version: object.metadata.resource_version,
            location: ScaleLocation::Adapter(target.name.clone()),
        };
        Ok(Self { group, role, view })
    }
}

fn parse_fields<T: DeserializeOwned>(
    object: &DynamicObject,
    target: &ScaleTargetRef,
) -> Result<T, TargetError> {
    T::deserialize(&object.data).map_err(|error| {
        TargetError::Refused(format!("the {} {} cannot be read: {error}", target.kind, target.name))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn target(kind: &str, name: &str) -> ScaleTargetRef {
        ScaleTargetRef {
            api_version: "workloads.x-k8s.io/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            role: None,
        }
    }

    fn object(metadata: Value, fields: &Value) -> DynamicObject {
        let mut object = json!({"apiVersion": "workloads.x-k8s.io/v1alpha1", "kind": "X"});
        object["metadata"] = metadata;
        object["spec"] = fields["spec"].clone();
        object["status"] = fields["status"].clone();
        serde_json::from_value(object).unwrap()
    }

    fn group() -> Group {
        let metadata = json!({"name": "g", "uid": "u", "generation": 4, "resourceVersion": "7"});
        let fields = json!({
            "spec": {"roles": [
                {"name": "prefill", "scalingAdapter": {"enable": true}, "replicas": 2},
                {"name": "decode", "podManagementPolicy": "OrderedReady"},
                {"name": "embed", "annotations": {
                    "rbg.workloads.x-k8s.io/role-workload-type": "apps/v1/StatefulSet",
                }},
            ]},
            "status": {"roleStatuses": [
                {"name": "prefill", "replicas": 3, "readyReplicas": 2, "updatedReplicas": 1},
                {"name": "decode", "replicas": 0, "readyReplicas": 0, "updatedReplicas": 0},
            ]},
        });
        Group::parse(object(metadata, &fields), &target(workloads::RBG_KIND, "g")).unwrap()
    }

    #[test]
    fn a_role_without_a_number_has_one_replica_and_reports_its_status() {
        let group = group();
        assert!(group.has_adapter("prefill").unwrap() && !group.has_adapter("decode").unwrap());
        let view = group.complete(group.role_view("decode").unwrap(), "decode");
        let expected = ScaleView {
            scale: Scale { current: 1, status: 0 },
            selector: workloads::role_selector("g", "decode"),
            uid: "u/decode".to_owned(),
            resource_version: Some("7".to_owned()),
            location: ScaleLocation::Role(1),
        };
        assert_eq!(view, expected);
        let error = group.role_view("router").unwrap_err().to_string();
        assert_eq!(
            error,
            "the RoleBasedGroup g has no role router; its roles are prefill, decode, embed"
        );
    }

    #[test]
    fn the_workload_of_a_role_is_named_by_its_kind() {
        let group = group();
        let of = |role: &str| {
            let found = group.workload_reference(role)?;
            Some((found.api_version, found.kind, found.name))
        };
        let reference = |parts: [&str; 3]| {
            let [api_version, kind, name] = parts.map(str::to_owned);
            Some((api_version, kind, name))
        };
        let instances = ["workloads.x-k8s.io/v1alpha2", "RoleInstanceSet", "g-decode"];
        assert_eq!(of("decode"), reference(instances));
        assert_eq!(of("embed"), reference(["apps/v1", "StatefulSet", "g-embed"]));
        assert_eq!(of("router"), None);
    }

    #[test]
    fn a_role_rolls_out_while_fewer_replicas_are_updated_than_it_has() {
        let group = group();
        let prefill = group.workload("prefill");
        let rollout = RolloutProgress { updated: 1, wanted: 3, ready: 2, generation: 4 };
        assert_eq!((prefill.rollout, prefill.is_ordered), (Some(rollout), false));
        let decode = group.workload("decode");
        assert_eq!((decode.rollout, decode.is_ordered), (None, true));
        let unknown = group.workload("router");
        assert_eq!((unknown.rollout, unknown.victims), (None, None));
    }

    #[test]
    fn a_group_of_a_set_is_refused() {
        let metadata = json!({"name": "g", "labels": {workloads::RBG_SET_LABEL: "fleet"}});
        let object = object(metadata, &json!({"spec": {"roles": []}, "status": {}}));
        let refused = Group::parse(object, &target(workloads::RBG_KIND, "g"));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("the RoleBasedGroupSet fleet"), "{error}");
    }

    #[test]
    fn an_adapter_is_read_once_its_group_has_created_and_bound_it() {
        let bound = json!({"replicas": 2, "scaleTargetRef": {"name": "g", "role": "prefill"}});
        let unbound = json!({"scaleTargetRef": {"name": "g", "role": "prefill"}});
        // owner, spec; the scale, or the error
        let table = [
            (Some("g"), &bound, Ok(2)),
            (Some("g"), &unbound, Err("is not bound to its role yet")),
            (Some("other"), &bound, Err("its controller ignores it")),
            (None, &bound, Err("its controller ignores it")),
        ];
        for (owner, spec, expected) in table {
            let owners = owner.map(|name| {
                json!([{"apiVersion": "v", "kind": workloads::RBG_KIND, "name": name, "uid": "o"}])
            });
            let metadata = json!({"name": "g-prefill", "uid": "a", "ownerReferences": owners});
            let object = object(metadata, &json!({"spec": spec}));
            let adapter = Adapter::parse(object, &target(workloads::RBG_ADAPTER, "g-prefill"));
            match (adapter, expected) {
                (Ok(adapter), Ok(current)) => {
                    assert_eq!(adapter.view.scale, Scale { current, status: current });
                    let location = ScaleLocation::Adapter("g-prefill".to_owned());
                    assert_eq!(adapter.view.location, location);
                    let view = group().complete(adapter.view, &adapter.role);
                    assert_eq!((&*view.uid, view.scale.status), ("u/prefill", 3));
                }
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (found, _) => panic!("{owner:?} {spec}: {:?}", found.map(|found| found.view)),
            }
        }
    }
}
