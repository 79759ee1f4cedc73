//! A pod as the watch reads it: with the fields that a [`Pod`] is made of, and no others.
//! `managedFields` alone take more time and memory to parse than all of these, and environments,
//! volumes, probes and tolerations as much again.
//!
//! [`Pod`]: llm_autoscaler_observe::pod::Pod

mod fields;

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{
    api::core::v1 as core,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use kube::{Resource, core::NamespaceResourceScope};
use serde::{Deserialize, Deserializer};

/// A pod without the fields that nothing depends on.
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
    spec: Option<fields::Spec>,
    status: Option<fields::Status>,
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
        let (spec, status) = (spec.map(Into::into), status.map(Into::into));
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
    use serde_json::{Value, json};

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
            "spec": spec(),
            "status": status(),
        });
        let whole: core::Pod = serde_json::from_value(object.clone()).unwrap();
        let watched: WatchedPod = serde_json::from_value(object).unwrap();
        assert_eq!(Pod::of(&watched.0), Pod::of(&whole));
        let pod = Pod::of(&watched.0).unwrap();
        assert!(pod.role_instance.is_some() && pod.replica.deleting && !pod.annotations.is_empty());
        assert_eq!(watched.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(*pod.claims, ["all-gpus", "x-own"]);
        assert_eq!(*pod.extended_resources, [("nvidia.com/gpu".to_owned(), 7)]);
        assert_eq!((pod.restarts, pod.unnamed_ports.len(), pod.ports.len()), (5, 1, 1));
        assert!(pod.trouble.is_some() && pod.service.has_gate() && pod.is_scheduled);
    }

    /// Each part matters by itself, which the whole may hide.
    #[test]
    fn parts_of_a_pod_are_read_like_the_whole() {
        let table = [
            (Value::Null, Value::Null),
            (spec(), Value::Null),
            (json!({"containers": null}), json!({})),
            (json!({"containers": []}), json!({"phase": "Running", "podIP": "10.0.0.1"})),
            (spec(), json!({"phase": "Failed", "containerStatuses": [ended()]})),
            (spec(), json!({"initContainerStatuses": [waiting("CrashLoopBackOff")]})),
            (spec(), json!({"containerStatuses": [waiting("ErrImagePull")]})),
            (spec(), json!({"conditions": [condition("PodScheduled", "False")]})),
            (spec(), json!({"conditions": [condition("Ready", "True")]})),
            // One such pod must not end the watch of all others.
            (spec(), json!({"conditions": [{"type": "Ready"}, {"status": null}]})),
            (spec(), json!({"containerStatuses": [{"restartCount": null}, {}]})),
        ];
        for (spec, status) in table {
            let metadata = json!({"name": "a", "namespace": "ns", "uid": "u"});
            let object = json!({"metadata": metadata, "spec": spec, "status": status});
            let whole: core::Pod = serde_json::from_value(object.clone()).unwrap();
            let watched: WatchedPod = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(Pod::of(&watched.0), Pod::of(&whole), "{object}");
        }
    }

    fn spec() -> Value {
        let gpus = |count: &str| json!({"nvidia.com/gpu": count, "cpu": "4"});
        json!({
            "nodeName": "n", "terminationGracePeriodSeconds": 45, "hostname": "a",
            "readinessGates": [
                {"conditionType": "llmautoscaler.io/in-service"}, {"conditionType": "other"},
            ],
            "initContainers": [
                {"name": "i", "resources": {"limits": gpus("2")}, "restartPolicy": "Always"},
                {"name": "j", "resources": {"requests": gpus("3")}},
            ],
            "containers": [
                {
                    "name": "c", "image": "i", "env": [{"name": "A", "value": "b"}],
                    "ports": [{"name": "http", "containerPort": 8000}, {"containerPort": 9000}],
                    "resources": {"requests": gpus("4"), "limits": gpus("4")},
                },
                {"name": "d", "resources": {"limits": gpus("1")}},
            ],
            "resourceClaims": [
                {"name": "shared", "resourceClaimName": "all-gpus"},
                {"name": "own", "resourceClaimTemplateName": "one-gpu"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
        })
    }

    fn status() -> Value {
        json!({
            "phase": "Running", "podIP": "10.0.0.1", "startTime": "2026-01-01T00:00:05Z",
            "conditions": [condition("Ready", "False"), condition("PodScheduled", "True")],
            "containerStatuses": [ended(), waiting("CrashLoopBackOff")],
            "resourceClaimStatuses": [{"name": "own", "resourceClaimName": "x-own"}],
            "hostIP": "10.0.0.9", "qosClass": "Burstable",
        })
    }

    fn condition(type_: &str, status: &str) -> Value {
        json!({
            "type": type_, "status": status, "reason": "Unschedulable", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:50Z", "lastProbeTime": null,
        })
    }

    fn ended() -> Value {
        json!({
            "name": "c", "image": "i", "imageID": "i@sha256:0", "ready": false, "restartCount": 2,
            "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:03:00Z"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
        })
    }

    fn waiting(reason: &str) -> Value {
        json!({
            "name": "d", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": reason, "message": "back-off"}},
        })
    }
}
