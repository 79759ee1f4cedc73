//! Kinds with a scale that have no controller here: a scenario writes the status that one would
//! write.

use anyhow::{Context, Result};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};

/// A kind of workload, with the label by which the operator finds its pods where that is not the
/// selector of its scale.
pub(crate) struct Kind {
    group: &'static str,
    version: &'static str,
    name: &'static str,
    /// The resource, which is the name of the kind's object too.
    pub plural: &'static str,
    label: &'static str,
}

const fn kind([group, version, name, plural]: [&'static str; 4], label: &'static str) -> Kind {
    Kind { group, version, name, plural, label }
}

/// The kinds of `target_roles.yaml`, without those that the API server or a stand-in for their
/// controller has.
pub(crate) const KINDS: [Kind; 10] = [
    kind(
        ["leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet", "leaderworkersets"],
        "leaderworkerset.sigs.k8s.io/name",
    ),
    ROLE_SCALER,
    kind(
        [
            "nvidia.com",
            "v1beta1",
            "DynamoGraphDeploymentScalingAdapter",
            "dynamographdeploymentscalingadapters",
        ],
        "app",
    ),
    kind(
        ["grove.io", "v1alpha1", "PodCliqueScalingGroup", "podcliquescalinggroups"],
        "grove.io/podcliquescalinggroup",
    ),
    kind(["grove.io", "v1alpha1", "PodClique", "podcliques"], "grove.io/podclique"),
    kind(["grove.io", "v1alpha1", "PodCliqueSet", "podcliquesets"], "app"),
    kind(["workload.serving.volcano.sh", "v1alpha1", "ModelServing", "modelservings"], "app"),
    kind(["orchestration.aibrix.ai", "v1alpha1", "StormService", "stormservices"], "app"),
    kind(["kaito.sh", "v1alpha1", "InferenceSet", "inferencesets"], "app"),
    kind(["kubeai.org", "v1", "Model", "models"], "model"),
];

/// The kind of which scale-downs are tried, because then LeaderWorkerSets are listed.
pub(crate) const ROLE_SCALER: Kind = kind(
    [
        "disaggregatedset.x-k8s.io",
        "v1",
        "DisaggregatedSetRoleScaler",
        "disaggregatedsetrolescalers",
    ],
    "app",
);

/// RoleInstanceSets have the CRD of the stand-in for RoleBasedGroups, whose controller leaves those
/// alone that no group owns.
pub(crate) const INSTANCES: Kind =
    kind(["workloads.x-k8s.io", "v1alpha2", "RoleInstanceSet", "roleinstancesets"], "app");

/// Creates the owner of an object, which does not control it.
pub(crate) async fn create_owner(stage: &Stage, name: &str) -> Result<OwnerReference> {
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let created: ConfigMap = stage.api().create(&PostParams::default(), &map).await?;
    created.owner_ref(&()).context("an object that was created has a UID")
}

impl Kind {
    /// Installs a CRD with a scale.
    pub(crate) async fn install(&self, stage: &Stage) -> Result<()> {
        let Self { group, version, name: kind, plural, .. } = self;
        let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let name = format!("{plural}.{group}");
        let scale = json!({
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        });
        let properties = json!({"spec": open, "status": open});
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural},
                "versions": [{
                    "name": version, "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
                    "subresources": {"status": {}, "scale": scale},
                }],
            },
        });
        let cluster = stage.control_plane();
        cluster.apply_yaml(&crd.to_string()).await?;
        let crd = format!("crd/{name}");
        let wait = ["wait", "--for=condition=Established", &crd, "--timeout=30s"];
        wait::until(&format!("{name} to be served"), SOON, async || {
            Ok(cluster.kubectl(wait).await.ok().map(drop))
        })
        .await
    }

    /// Creates an object of this size with as many pods, and its autoscaler. It has an owner, so
    /// that its metadata is read: that of an object without any is known by the watch.
    pub(crate) async fn create(&self, stage: &Stage, size: i64, spec: Value) -> Result<()> {
        let mut object = DynamicObject::new(self.plural, &self.resource());
        object.data = json!({"spec": {"replicas": size}});
        object.metadata.owner_references = Some(vec![create_owner(stage, self.plural).await?]);
        let created = self.api(stage).create(&PostParams::default(), &object).await;
        created.with_context(|| format!("creating the {}", self.name))?;
        let selector = format!("app={}", self.plural);
        // RoleInstanceSets have it under another name.
        let status = json!({"replicas": size, "selector": selector, "labelSelector": selector});
        let patch = Patch::Merge(json!({"status": status}));
        self.api(stage).patch_status(self.plural, &PatchParams::default(), &patch).await?;
        for ordinal in 0..size {
            self.create_pod(stage, ordinal).await?;
        }
        let mut all = json!({"scaleTargetRef": self.reference()});
        for (field, value) in spec.as_object().context("a spec is an object")? {
            all[field] = value.clone();
        }
        stage.autoscaler(self.plural, all).await
    }

    async fn create_pod(&self, stage: &Stage, ordinal: i64) -> Result<()> {
        let port = json!({"name": "http", "containerPort": stage.port()});
        let container = json!({"name": "engine", "image": "engine", "ports": [port]});
        let labels = json!({"app": self.plural, self.label: self.plural});
        let pod = json!({
            "metadata": {"name": format!("{}-{ordinal}", self.plural), "labels": labels},
            "spec": {"containers": [container]},
        });
        let pods = stage.api::<Pod>();
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        Ok(())
    }

    /// Sets the size of the object, as another writer.
    pub(crate) async fn set_size(&self, stage: &Stage, size: i64) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": size}}));
        self.api(stage).patch(self.plural, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until the object requests this many replicas.
    pub(crate) async fn until_size(&self, stage: &Stage, size: i64) -> Result<()> {
        let api = self.api(stage);
        wait::until(&format!("{} to be scaled to {size}", self.plural), SOON, async || {
            let found = api.get(self.plural).await?.data["spec"]["replicas"].as_i64();
            Ok((found == Some(size)).then_some(()))
        })
        .await
    }

    fn reference(&self) -> Value {
        let api_version = format!("{}/{}", self.group, self.version);
        json!({"apiVersion": api_version, "kind": self.name, "name": self.plural})
    }

    fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, self.version, self.name);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    fn api(&self, stage: &Stage) -> Api<DynamicObject> {
        Api::namespaced_with(stage.client(), &stage.namespace, &self.resource())
    }
}
