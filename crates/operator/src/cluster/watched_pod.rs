//! A pod as the watch reads it: without its `managedFields`. These are not needed, and take more
//! time and memory to parse than everything else.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{
    api::core::v1 as core,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use kube::{Resource, core::NamespaceResourceScope};
use serde::{Deserialize, Deserializer};

/// A pod without its `managedFields`.
#[derive(Clone, Debug)]
pub(crate) struct WatchedPod(pub(super) core::Pod);

/// The metadata that are read.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Option<core::PodSpec>,
    status: Option<core::PodStatus>,
}

impl<'de> Deserialize<'de> for WatchedPod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner_references: metadata.owner_references,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            ..ObjectMeta::default()
        };
        Ok(Self(core::Pod { metadata, spec, status }))
    }
}

impl Resource for WatchedPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        core::Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        core::Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        core::Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        core::Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.0.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.0.metadata
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_observe::pod::Pod;
    use serde_json::json;

    use super::*;

    /// A field that is read by `Pod` and left out here would be missing in clusters only.
    #[test]
    fn nothing_is_lost_that_a_decision_depends_on() {
        let controller = json!({
            "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleInstance", "name": "i",
            "uid": "u-2", "controller": true,
        });
        let object = json!({
            "metadata": {
                "name": "a-0", "namespace": "ns", "uid": "u-1", "resourceVersion": "7",
                "labels": {"app": "a"},
                "annotations": {
                    "controller.kubernetes.io/pod-deletion-cost": "-2147483648",
                    "leaderworkerset.sigs.k8s.io/size": "4",
                },
                "ownerReferences": [controller],
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-01T00:01:00Z",
                "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:metadata": {}}}],
            },
            "spec": {
                "nodeName": "n", "terminationGracePeriodSeconds": 45,
                "readinessGates": [{"conditionType": "llmautoscaler.io/in-service"}],
                "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8000}]}],
            },
            "status": {
                "phase": "Running", "podIP": "10.0.0.1", "startTime": "2026-01-01T00:00:05Z",
                "conditions": [{
                    "type": "Ready", "status": "False",
                    "lastTransitionTime": "2026-01-01T00:00:50Z",
                }],
            },
        });
        let whole: core::Pod = serde_json::from_value(object.clone()).unwrap();
        let watched: WatchedPod = serde_json::from_value(object).unwrap();
        assert_eq!(Pod::of(&watched.0), Pod::of(&whole));
        let pod = Pod::of(&watched.0).unwrap();
        assert!(pod.role_instance.is_some() && pod.replica.deleting && !pod.annotations.is_empty());
        assert_eq!(watched.meta().resource_version.as_deref(), Some("7"));
    }
}
