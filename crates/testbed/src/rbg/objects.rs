//! The kinds of the stand-in, and accessors of their objects.

use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// A kind of `workloads.x-k8s.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RoleBasedGroup.
    Group,
    /// RoleBasedGroupScalingAdapter.
    Adapter,
    /// RoleInstanceSet.
    InstanceSet,
    /// RoleInstance.
    Instance,
    /// RoleBasedGroupSet.
    GroupSet,
    /// CoordinatedPolicy.
    Policy,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Group,
        Self::Adapter,
        Self::InstanceSet,
        Self::Instance,
        Self::GroupSet,
        Self::Policy,
    ];

    /// Returns the kind's name in objects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Group => "RoleBasedGroup",
            Self::Adapter => "RoleBasedGroupScalingAdapter",
            Self::InstanceSet => "RoleInstanceSet",
            Self::Instance => "RoleInstance",
            Self::GroupSet => "RoleBasedGroupSet",
            Self::Policy => "CoordinatedPolicy",
        }
    }

    /// Returns the resource of version `v1alpha2`, for clients of untyped objects.
    pub fn resource(self) -> ApiResource {
        let kind = GroupVersionKind::gvk("workloads.x-k8s.io", "v1alpha2", self.name());
        ApiResource::from_gvk_with_plural(&kind, self.plural())
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Group => "rolebasedgroups",
            Self::Adapter => "rolebasedgroupscalingadapters",
            Self::InstanceSet => "roleinstancesets",
            Self::Instance => "roleinstances",
            Self::GroupSet => "rolebasedgroupsets",
            Self::Policy => "coordinatedpolicies",
        }
    }

    pub(super) fn crd(self) -> String {
        format!("{}.workloads.x-k8s.io", self.plural())
    }
}

/// Returns a kind of `apps/v1`. The stand-in creates such objects; the controller manager
/// reconciles them.
pub(super) fn apps(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("apps", "v1", kind), plural)
}

/// Returns the namespace of a namespaced object.
pub(super) fn namespace(object: &DynamicObject) -> String {
    object.namespace().unwrap_or_default()
}

/// Returns the number at a path such as `/spec/replicas`.
pub(super) fn number(object: &DynamicObject, pointer: &str) -> Option<i64> {
    object.data.pointer(pointer).and_then(Value::as_i64)
}

/// Returns the text at a path; empty if it is absent.
pub(super) fn text<'a>(object: &'a DynamicObject, pointer: &str) -> &'a str {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the value of a label.
pub(super) fn label<'a>(object: &'a DynamicObject, key: &str) -> Option<&'a str> {
    object.metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str)
}

/// Returns true if the object is being deleted.
pub(super) fn is_leaving(object: &DynamicObject) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// Builds an owner reference, by which the object is deleted with its owner.
pub(super) fn owned_by(owner: &DynamicObject, kind: Kind, controller: bool) -> Value {
    json!([{
        "apiVersion": "workloads.x-k8s.io/v1alpha2",
        "kind": kind.name(),
        "name": owner.name_any(),
        "uid": owner.uid(),
        "controller": controller,
        "blockOwnerDeletion": true,
    }])
}

/// Returns true if one of the object's owners has this UID.
pub(super) fn is_owned_by(object: &DynamicObject, uid: Option<&str>) -> bool {
    object.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == uid)
}

/// Returns the UID of the first owner of a kind.
pub(super) fn owner(object: &DynamicObject, kind: Kind) -> Option<&str> {
    let owners = object.owner_references().iter();
    owners.into_iter().find(|owner| owner.kind == kind.name()).map(|owner| owner.uid.as_str())
}

/// Returns true if a condition is True.
pub(super) fn is_true(object: &DynamicObject, condition: &str) -> bool {
    let conditions = object.data.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|found| found["type"] == condition && found["status"] == "True")
}
