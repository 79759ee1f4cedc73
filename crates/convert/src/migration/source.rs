//! Autoscalers that a migration stops: what they scale, and how they are stopped and restored.

use std::collections::BTreeMap;

use llm_autoscaler_api::{ScaleTargetRef, workloads::keda};
use serde_json::{Value, json};

use super::{
    record::SavedSource,
    write::{self, Write},
};

/// A kind of autoscaler that a migration knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceKind {
    /// The API group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// The plural, as in the paths of the API.
    pub plural: &'static str,
}

/// The kinds of autoscalers that a migration knows.
pub const SOURCE_KINDS: [SourceKind; 6] = [
    SourceKind {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
    },
    SourceKind {
        group: "keda.sh",
        version: "v1alpha1",
        kind: "ScaledObject",
        plural: "scaledobjects",
    },
    SourceKind {
        group: "autoscaling.aibrix.ai",
        version: "v1alpha1",
        kind: "PodAutoscaler",
        plural: "podautoscalers",
    },
    SourceKind {
        group: "workload.serving.volcano.sh",
        version: "v1alpha1",
        kind: "AutoscalingPolicy",
        plural: "autoscalingpolicies",
    },
    SourceKind {
        group: "workload.serving.volcano.sh",
        version: "v1alpha1",
        kind: "AutoscalingPolicyBinding",
        plural: "autoscalingpolicybindings",
    },
    SourceKind {
        group: "llmd.ai",
        version: "v1alpha1",
        kind: "VariantAutoscaling",
        plural: "variantautoscalings",
    },
];

/// Fields of the metadata that the API server writes, or that end with the object.
const SERVER_FIELDS: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// An object of one of the kinds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a>(pub(super) &'a Value);

impl<'a> Source<'a> {
    fn text(self, path: &str) -> &'a str {
        self.0.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(self, path: &str) -> Option<i64> {
        self.0.pointer(path).and_then(Value::as_i64)
    }

    pub(super) fn kind(self) -> &'a str {
        self.text("/kind")
    }

    pub(super) fn name(self) -> &'a str {
        self.text("/metadata/name")
    }

    pub(super) fn uid(self) -> &'a str {
        self.text("/metadata/uid")
    }

    /// Returns the kind and the name, for messages.
    pub(super) fn label(self) -> String {
        write::label(self.0)
    }

    /// Returns whether the two are versions of one object, or one of its later namesakes.
    pub(super) fn is_named_like(self, other: Source) -> bool {
        (self.kind(), self.name()) == (other.kind(), other.name())
    }

    pub(super) fn is_scaled_object(self) -> bool {
        self.kind() == "ScaledObject"
    }

    pub(super) fn is_being_deleted(self) -> bool {
        self.0.pointer("/metadata/deletionTimestamp").is_some()
    }

    /// Returns the objects that the autoscaler scales.
    pub(super) fn targets(self) -> Vec<ScaleTargetRef> {
        const BELOW: [&str; 4] = [
            "/spec/scaleTargetRef",
            "/spec/homogeneousTarget/target/targetRef",
            "/spec/scalingConfiguration/target/targetRef",
            "/spec/optimizerConfiguration/params",
        ];
        let several = self.0.pointer("/spec/heterogeneousTarget/params");
        let several = several.or_else(|| self.0.pointer(BELOW[3])).and_then(Value::as_array);
        let each = several.into_iter().flatten().filter_map(|it| it.pointer("/target/targetRef"));
        let one = BELOW[..3].iter().filter_map(|path| self.0.pointer(path));
        one.chain(each).filter_map(|reference| self.target(reference)).collect()
    }

    fn target(self, reference: &Value) -> Option<ScaleTargetRef> {
        let (api_version, kind) = match self.kind() {
            "ScaledObject" => ("apps/v1", "Deployment"),
            "AutoscalingPolicy" | "AutoscalingPolicyBinding" => {
                ("workload.serving.volcano.sh/v1alpha1", "ModelServing")
            }
            _ => ("", ""),
        };
        let text = |key: &str, default: &str| {
            let given = reference.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            given.unwrap_or(default).to_owned()
        };
        Some(ScaleTargetRef {
            api_version: text("apiVersion", api_version),
            kind: text("kind", kind),
            name: reference.get("name")?.as_str()?.to_owned(),
            role: None,
        })
    }

    /// Returns the lower and the upper bound of the size, as far as the object has them.
    pub(super) fn bounds(self) -> (i64, i64) {
        const BELOW: [&str; 3] = ["/spec", "/spec/homogeneousTarget", "/spec/scalingConfiguration"];
        let (lower, upper) = match self.kind() {
            "ScaledObject" => (0, 100),
            _ => (1, i64::MAX),
        };
        let find = |names: [&str; 2]| {
            let mut paths = BELOW.iter().flat_map(|at| names.map(|name| format!("{at}/{name}")));
            paths.find_map(|path| self.number(&path))
        };
        let least = find(["minReplicas", "minReplicaCount"]).unwrap_or(lower);
        (least, find(["maxReplicas", "maxReplicaCount"]).unwrap_or(upper))
    }

    /// Returns the controller that has created the object, as its kind, name and UID.
    pub(super) fn controller(self) -> Option<(String, String, String)> {
        let owners = self.0.pointer("/metadata/ownerReferences")?.as_array()?;
        let owner = owners.iter().find(|owner| owner["controller"] == true)?;
        let text = |key: &str| owner[key].as_str().unwrap_or_default().to_owned();
        Some((text("kind"), text("name"), text("uid")))
    }

    pub(super) fn annotations(self) -> BTreeMap<String, String> {
        let all = self.0.pointer("/metadata/annotations").and_then(Value::as_object);
        let text =
            |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        all.into_iter().flatten().filter_map(text).collect()
    }

    /// Returns the tool that seems to keep the object, and would create it again.
    pub(super) fn tool(self) -> Option<&'static str> {
        let labels = self.0.pointer("/metadata/labels");
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        let annotations = self.annotations();
        let has = |key: &str| annotations.contains_key(key);
        let table = [
            (label("kustomize.toolkit.fluxcd.io/name").is_some(), "Flux"),
            (label("helm.toolkit.fluxcd.io/name").is_some(), "Flux"),
            (label("argocd.argoproj.io/instance").is_some(), "Argo CD"),
            (has("argocd.argoproj.io/tracking-id"), "Argo CD"),
            (label("app.kubernetes.io/managed-by") == Some("Helm"), "Helm"),
            (has("kubectl.kubernetes.io/last-applied-configuration"), "kubectl apply"),
        ];
        table.into_iter().find(|(is_so, _)| *is_so).map(|(_, tool)| tool)
    }

    /// Returns whether the autoscaler is there and writes no size: a ScaledObject that is paused.
    pub(super) fn has_stopped(self) -> bool {
        let status = self.0.get("status");
        self.is_scaled_object() && keda::has_stopped(&self.annotations(), status)
    }

    /// Returns whether KEDA sets the size that was there before it when the object is deleted.
    pub(super) fn restores_on_deletion(self) -> bool {
        const PATH: &str = "/spec/advanced/restoreToOriginalReplicaCount";
        self.0.pointer(PATH) == Some(&Value::Bool(true))
    }

    /// Returns the object for the record.
    pub(super) fn saved(self) -> SavedSource {
        let mut manifest = self.0.clone();
        if let Some(object) = manifest.as_object_mut() {
            object.remove("status");
        }
        let metadata = manifest.get_mut("metadata").and_then(Value::as_object_mut);
        if let Some(metadata) = metadata {
            for field in SERVER_FIELDS {
                metadata.remove(field);
            }
            // KEDA adds its own again.
            metadata.remove("finalizers");
        }
        SavedSource { uid: self.uid().to_owned(), manifest }
    }

    /// Returns the write that stops the autoscaler, on the condition that it is as it was seen.
    pub(super) fn stop(self) -> Write {
        if !self.is_scaled_object() {
            return Write::Delete { object: self.0.clone() };
        }
        let mut patch = json!({"metadata": {
            "resourceVersion": self.text("/metadata/resourceVersion"),
            "annotations": {keda::PAUSED: "true"},
        }});
        if self.restores_on_deletion() {
            patch["spec"] = json!({"advanced": {"restoreToOriginalReplicaCount": false}});
        }
        Write::Patch { object: self.0.clone(), patch }
    }

    /// Returns the write that makes a paused ScaledObject what it was; `None` if it is that.
    pub(super) fn resume(self, before: Source) -> Option<Write> {
        let paused = (self.annotations().remove(keda::PAUSED), self.restores_on_deletion());
        let was = (before.annotations().remove(keda::PAUSED), before.restores_on_deletion());
        if paused == was {
            return None;
        }
        let mut patch = json!({"metadata": {
            "resourceVersion": self.text("/metadata/resourceVersion"),
            "annotations": {keda::PAUSED: was.0},
        }});
        if paused.1 != was.1 {
            patch["spec"] = json!({"advanced": {"restoreToOriginalReplicaCount": was.1}});
        }
        Some(Write::Patch { object: self.0.clone(), patch })
    }
}
