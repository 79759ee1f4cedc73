//! The scale of a target as it was read, and the patch that changes it. Nothing here does I/O.

use k8s_openapi::api::autoscaling::v1 as autoscaling;
use llm_autoscaler_api::{ScaleTargetRef, workloads};
use llm_autoscaler_core::Scale;
use serde_json::{Value, json};

use crate::{kube_api::WritePermit, scale::error::TargetError};

/// The scale of a target as it was read, or as it is after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScaleView {
    /// The requested replicas and the replicas that the controller reports.
    pub scale: Scale,
    /// The selector of the target's pods, as text; empty if there is none.
    pub selector: String,
    /// The UID of the object that is scaled.
    pub uid: String,
    /// The version that was read. A write repeats it, so that no change by another writer is
    /// overwritten.
    pub resource_version: Option<String>,
    /// The field that another size is written to.
    pub location: ScaleLocation,
}

/// The field that a target's size is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScaleLocation {
    /// The target's own scale subresource.
    Subresource,
    /// The scale subresource of a role's adapter, which has this name.
    Adapter(String),
    /// The role itself, at this index of its group's `spec.roles`.
    Role(usize),
}

impl ScaleView {
    /// Reads a scale subresource. A custom resource's leaves `spec.replicas` out when it is 0.
    ///
    /// # Errors
    /// [`TargetError::NotScalable`] for an answer without a UID, which is no object's scale.
    pub(super) fn from_subresource(
        scale: autoscaling::Scale,
        target: &ScaleTargetRef,
    ) -> Result<Self, TargetError> {
        let status = scale.status.unwrap_or_default();
        let Some(uid) = scale.metadata.uid else {
            return Err(TargetError::NotScalable {
                api_version: target.api_version.clone(),
                kind: target.kind.clone(),
            });
        };
        Ok(Self {
            scale: Scale {
                // A custom resource may have anything there, and fewer than none are none.
                current: scale.spec.and_then(|spec| spec.replicas).unwrap_or(0).max(0),
                status: status.replicas,
            },
            selector: workloads::pod_selector(target)
                .or_else(|| status.selector.as_deref().map(workloads::with_workers))
                .unwrap_or_default(),
            uid,
            resource_version: scale.metadata.resource_version,
            location: ScaleLocation::Subresource,
        })
    }
}

impl ScaleView {
    /// Returns the scale with the number of replicas that exist, given the number that the selector
    /// finds. The status of an ordered role counts wanted replicas that do not exist yet; but the
    /// selector of a role is known to find all of its pods and no others.
    pub(crate) fn counted(&self, found: usize) -> Scale {
        match self.location {
            ScaleLocation::Subresource => self.scale,
            ScaleLocation::Adapter(_) | ScaleLocation::Role(_) => {
                Scale { status: i32::try_from(found).unwrap_or(i32::MAX), ..self.scale }
            }
        }
    }
}

/// A write of a size, on the condition that nothing has changed the target since it was read.
#[derive(Clone, Copy)]
pub(super) struct ScaleWrite<'a> {
    pub(super) namespace: &'a str,
    pub(super) target: &'a ScaleTargetRef,
    /// The scale that the decision rests on.
    pub(super) basis: &'a ScaleView,
    /// The size to write.
    pub(super) replicas: i32,
    /// The permission to write in the namespace.
    pub(super) permit: &'a WritePermit,
}

impl ScaleWrite<'_> {
    /// Returns the merge patch of a scale subresource. With the resourceVersion it fails with a
    /// conflict where another writer came first.
    pub(super) fn subresource_patch(&self) -> Value {
        json!({
            "metadata": {"resourceVersion": self.basis.resource_version},
            "spec": {"replicas": self.replicas},
        })
    }

    /// Returns the configuration by which the operator applies the size to a scale subresource.
    /// With the resourceVersion it fails with a conflict where another writer came first.
    pub(super) fn subresource_apply(&self) -> Value {
        json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": self.target.name,
                "namespace": self.namespace,
                "resourceVersion": self.basis.resource_version,
            },
            "spec": {"replicas": self.replicas},
        })
    }

    /// Returns the JSON patch that scales the role at `index` of a group. It tests that the role
    /// still is the target. With the resourceVersion it fails with a conflict where another writer
    /// came first.
    pub(super) fn group_patch(&self, index: usize) -> Value {
        let (role, version) = (&self.target.role, &self.basis.resource_version);
        json!([
            {"op": "test", "path": format!("/spec/roles/{index}/name"), "value": role},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": format!("/spec/roles/{index}/replicas"), "value": self.replicas},
        ])
    }

    /// Returns the scale after the write, which has made this version of the object.
    pub(super) fn view_after(&self, resource_version: Option<String>) -> ScaleView {
        let scale = Scale { current: self.replicas, ..self.basis.scale };
        ScaleView { scale, resource_version, ..self.basis.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(api_version: &str, kind: &str, role: Option<&str>) -> ScaleTargetRef {
        ScaleTargetRef {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "qwen3".to_owned(),
            role: role.map(str::to_owned),
        }
    }

    fn subresource(uid: Option<&str>, spec: &Value, status: &Value) -> autoscaling::Scale {
        let metadata = json!({"name": "qwen3", "uid": uid, "resourceVersion": "7"});
        let scale = json!({"metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value(scale).unwrap()
    }

    #[test]
    fn a_scale_subresource_is_read_as_its_kind_fills_it_in() {
        let set = target("apps/v1", "StatefulSet", None);
        let groups = target("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", None);
        let scaler = target("disaggregatedset.x-k8s.io/v1", workloads::ROLE_SCALER, None);
        // target, spec, status; requested and reported replicas, selector
        let table = [
            (
                &set,
                json!({"replicas": 3}),
                json!({"replicas": 2, "selector": "app=a"}),
                (3, 2, "app=a"),
            ),
            // A custom resource at zero, without a selector.
            (&set, json!({}), json!({"replicas": 0}), (0, 0, "")),
            // The selector of a LeaderWorkerSet's scale finds its leaders only.
            (
                &groups,
                json!({"replicas": 1}),
                json!({"replicas": 1, "selector": "leader=true"}),
                (1, 1, "leaderworkerset.sigs.k8s.io/name=qwen3"),
            ),
            (
                &scaler,
                json!({"replicas": 4}),
                json!({"replicas": 5, "selector": "n=a,leaderworkerset.sigs.k8s.io/worker-index=0"}),
                (4, 5, "n=a"),
            ),
        ];
        for (target, spec, status, (current, reported, selector)) in table {
            let scale = subresource(Some("u"), &spec, &status);
            let expected = ScaleView {
                scale: Scale { current, status: reported },
                selector: selector.to_owned(),
                uid: "u".to_owned(),
                resource_version: Some("7".to_owned()),
                location: ScaleLocation::Subresource,
            };
            assert_eq!(ScaleView::from_subresource(scale, target).unwrap(), expected);
        }
        let nameless = subresource(None, &json!({}), &json!({"replicas": 0}));
        let error = ScaleView::from_subresource(nameless, &set).unwrap_err();
        assert!(matches!(error, TargetError::NotScalable { .. }), "{error:?}");
    }

    #[test]
    fn a_patch_names_the_version_that_was_read() {
        let target = target("workloads.x-k8s.io/v1alpha1", "RoleBasedGroup", Some("decode"));
        let basis = ScaleView {
            scale: Scale { current: 2, status: 1 },
            selector: "app=a".to_owned(),
            uid: "u".to_owned(),
            resource_version: Some("7".to_owned()),
            location: ScaleLocation::Role(1),
        };
        let permit = &WritePermit::unlimited();
        let (namespace, target, basis) = ("ns", &target, &basis);
        let write = ScaleWrite { namespace, target, basis, replicas: 3, permit };
        let of_subresource = json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 3}});
        assert_eq!(write.subresource_patch(), of_subresource);
        let applied = write.subresource_apply();
        assert_eq!(applied["spec"], of_subresource["spec"]);
        assert_eq!(applied["metadata"]["resourceVersion"], json!("7"));
        let of_group = json!([
            {"op": "test", "path": "/spec/roles/1/name", "value": "decode"},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "add", "path": "/spec/roles/1/replicas", "value": 3},
        ]);
        assert_eq!(write.group_patch(1), of_group);
        let after = write.view_after(Some("8".to_owned()));
        assert_eq!(after.scale, Scale { current: 3, status: 1 });
        assert_eq!(after.resource_version.as_deref(), Some("8"));
        assert_eq!(after.counted(2), Scale { current: 3, status: 2 });
        let own = ScaleView { location: ScaleLocation::Subresource, ..after.clone() };
        assert_eq!(own.counted(2), after.scale);
        assert_eq!((after.uid, after.location), ("u".to_owned(), ScaleLocation::Role(1)));
    }
}
