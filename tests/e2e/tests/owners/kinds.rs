//! Targets and autoscalers of other projects' kinds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, wait};
use serde_json::{Value, json};

/// The time for noticing other autoscalers, which are listed every 30 s.
const LISTED: Duration = Duration::from_mins(1);

/// Kinds that only own workloads have no scale; the message says that something else has one.
pub(crate) async fn kinds_without_a_scale_are_refused(stage: &Stage) -> Result<()> {
    for (api_version, kind) in [
        ("serving.kserve.io/v1beta1", "InferenceService"),
        ("serving.kserve.io/v1alpha2", "LLMInferenceService"),
        ("ray.io/v1", "RayService"),
        ("ray.io/v1", "RayCluster"),
    ] {
        let name = kind.to_lowercase();
        let target = json!({"apiVersion": api_version, "kind": kind, "name": "qwen3"});
        stage.autoscaler(&name, json!({"scaleTargetRef": target})).await?;
        let stalled = stage.until_condition(&name, "Stalled", "True", "FailedGetScale").await?;
        let expected = format!(
            "{kind} in {api_version} has no scale subresource; scale an object that has one"
        );
        ensure!(stalled.message.contains(&expected), "{}", stalled.message);
    }
    Ok(())
}

/// A ModelServing of Kthena is scaled by its groups: its selector finds one entry pod of each.
pub(crate) async fn serving_groups_of_kthena(stage: &Stage) -> Result<String> {
    let name = "modelserving.volcano.sh/name";
    let entry = "modelserving.volcano.sh/entry";
    let served = Served {
        stage,
        group: "workload.serving.volcano.sh",
        kind: "ModelServing",
        plural: "modelservings",
    };
    let container = json!({"name": "engine", "image": "engine"});
    let template = json!({"spec": {"containers": [container]}});
    let role = json!({"name": "decode", "entryTemplate": template, "workerReplicas": 1});
    served.create(json!({"replicas": 1, "template": {"roles": [role]}})).await?;
    let selector = format!("{name}=qwen3,{entry}=true");
    served.status(json!({"replicas": 1, "labelSelector": selector})).await?;
    served.pod("qwen3-0-decode-0-0", json!({name: "qwen3", entry: "true"})).await?;
    served.pod("qwen3-0-decode-0-1", json!({name: "qwen3"})).await?;
    stage.script.set_all(&Page::waiting(11));
    stage.autoscaler("qwen3", json!({"scaleTargetRef": served.reference()})).await?;
    served.until_size(3).await?;
    let worker = format!("{}/qwen3-0-decode-0-1", stage.namespace);
    ensure!(stage.script.requests(&worker) == 0, "the worker was scraped");
    Ok("1 -> 3 groups".to_owned())
}

/// A StormService is scaled by its RoleSets. Its selector finds all of their pods, which
/// `replicaPods` groups.
pub(crate) async fn role_sets_of_aibrix(stage: &Stage) -> Result<String> {
    let served = Served {
        stage,
        group: "orchestration.aibrix.ai",
        kind: "StormService",
        plural: "stormservices",
    };
    let selector = json!({"matchLabels": {"app": "qwen3"}});
    served.create(json!({"replicas": 1, "selector": selector, "template": {}})).await?;
    let selector = "storm-service-name=qwen3";
    served.status(json!({"replicas": 1, "scalingTargetSelector": selector})).await?;
    for role in ["prefill", "decode"] {
        let labels = json!({
            "storm-service-name": "qwen3", "roleset-name": "qwen3-roleset-0", "role-name": role,
        });
        served.pod(&format!("qwen3-{role}"), labels).await?;
    }
    stage.script.set_all(&Page::waiting(6));
    let target = served.reference();
    stage.autoscaler("whole", json!({"scaleTargetRef": target})).await?;
    stage.until_condition("whole", "Advisory", "True", "ReplicasMismatch").await?;
    let grouped = json!({"groupLabel": "roleset-name"});
    stage.autoscaler("whole", json!({"scaleTargetRef": target, "replicaPods": grouped})).await?;
    // Both pods of the replica report 6, so it has 12 waiting requests.
    served.until_size(3).await?;
    wait::until("one ready replica", SOON, async || {
        let ready = stage.status("whole").await?.targets.first().map(|found| found.ready_replicas);
        Ok((ready == Some(1)).then_some(()))
    })
    .await?;
    Ok("two pods of a RoleSet are one replica: 1 -> 3".to_owned())
}

/// A target of a PodAutoscaler is left to it.
pub(crate) async fn pod_autoscaler_of_aibrix_owns_its_target(stage: &Stage) -> Result<()> {
    let reference = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"});
    let object = json!({
        "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
        "kind": "PodAutoscaler",
        "metadata": {"name": "apa", "namespace": stage.namespace},
        "spec": {"scaleTargetRef": reference, "maxReplicas": 5, "scalingStrategy": "APA"},
    });
    stage.control_plane().apply_yaml(&object.to_string()).await?;
    stage.engine("a", 1).await?;
    stage.autoscaler("a", json!({})).await?;
    let expected = "StatefulSet/a is scaled by the PodAutoscaler apa";
    wait::until("the PodAutoscaler to be noticed", LISTED, async || {
        let conditions = stage.status("a").await?.conditions;
        let is_told = |c: &_| is_taken(c, expected);
        Ok(conditions.iter().any(is_told).then_some(()))
    })
    .await?;
    stage.waiting("a", 11);
    stage.stays("a", 1, Duration::from_secs(3)).await
}

fn is_taken(
    condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
    expected: &str,
) -> bool {
    condition.reason == "TargetTaken" && condition.message.starts_with(expected)
}

/// The object `qwen3` of a kind with a scale.
struct Served<'a> {
    stage: &'a Stage,
    group: &'a str,
    kind: &'a str,
    plural: &'a str,
}

impl Served<'_> {
    fn reference(&self) -> Value {
        let api_version = format!("{}/v1alpha1", self.group);
        json!({"apiVersion": api_version, "kind": self.kind, "name": "qwen3"})
    }

    fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, "v1alpha1", self.kind);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }

    fn api(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.stage.client(), &self.stage.namespace, &self.resource())
    }

    async fn create(&self, spec: Value) -> Result<()> {
        let mut object = DynamicObject::new("qwen3", &self.resource());
        object.data = json!({"spec": spec});
        let created = self.api().create(&PostParams::default(), &object).await;
        created.map(drop).with_context(|| format!("creating the {}", self.kind))
    }

    async fn status(&self, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({"status": status}));
        self.api().patch_status("qwen3", &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Creates a pod, and waits until it is ready.
    async fn pod(&self, name: &str, labels: Value) -> Result<()> {
        let port = json!({"name": "http", "containerPort": self.stage.port()});
        let container = json!({"name": "engine", "image": "engine", "ports": [port]});
        let pod = json!({
            "metadata": {"name": name, "labels": labels}, "spec": {"containers": [container]},
        });
        let pods = self.stage.api::<Pod>();
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        wait::until(&format!("{name} to be ready"), SOON, async || {
            let status = pods.get(name).await?.status.unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            Ok(conditions.any(|c| c.type_ == "Ready" && c.status == "True").then_some(()))
        })
        .await
    }

    async fn until_size(&self, size: i64) -> Result<()> {
        wait::until(&format!("the {} to have {size} replicas", self.kind), SOON, async || {
            let replicas = self.api().get("qwen3").await?.data["spec"]["replicas"].as_i64();
            Ok((replicas == Some(size)).then_some(()))
        })
        .await
    }
}
