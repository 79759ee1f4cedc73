//! A namespace with a target of every kind that the operator has a permission for.

use anyhow::{Context, Result};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{ConfigMap, Pod, Secret},
};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use llm_autoscaler_e2e::{
    SOON, Stage, claims, gated,
    groups::{Groups, scalable, standalone, stateless},
};
use llm_autoscaler_testbed::{Page, http_client, rbg::Kind as Rbg, wait};
use serde_json::{Value, json};

use crate::kinds::{INSTANCES, KINDS, ROLE_SCALER, create_owner};

/// The load of a pod by which every target has three replicas.
const HIGH: Page = Page::Vllm { running: 0, waiting: 30, kv: 0.1 };
/// The load by which every target has one.
const LOW: Page = Page::Vllm { running: 0, waiting: 0, kv: 0.1 };

/// The targets of a stage.
pub(crate) struct World<'a> {
    pub(crate) stage: &'a Stage,
    groups: Groups<'a>,
    /// The token of a caller that may wake autoscalers.
    token: String,
}

impl<'a> World<'a> {
    /// Creates all targets with one replica and their autoscalers, which scale them to three. Two
    /// of the role scaler are scaled to one.
    pub(crate) async fn create(stage: &'a Stage) -> Result<Self> {
        stage.script.set_all(&HIGH);
        let cluster = stage.control_plane();
        cluster.apply_yaml(include_str!("../../fixtures/podmonitor-crd.yaml")).await?;
        let groups = Groups::start(stage).await?;
        for kind in &KINDS {
            kind.install(stage).await?;
        }
        for kind in KINDS.iter().chain([&INSTANCES]).filter(|kind| !is_role_scaler(kind.plural)) {
            kind.create(stage, 1, json!({})).await?;
        }
        for ordinal in 0..2 {
            let pod = format!("{}/{}-{ordinal}", stage.namespace, ROLE_SCALER.plural);
            stage.script.set(&pod, LOW);
        }
        let drain = json!({
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            "drain": {"deadlineSeconds": 60},
        });
        ROLE_SCALER.create(stage, 2, drain).await?;
        let world = Self { stage, groups, token: caller(stage).await? };
        world.create_sets().await?;
        world.create_roles().await?;
        world.create_credentials().await?;
        claims::create(stage, "claimed", 1).await?;
        stage.autoscaler("claimed", json!({})).await?;
        Ok(world)
    }

    /// Creates two StatefulSets, of which one has the readiness gate, and a Deployment with it.
    async fn create_sets(&self) -> Result<()> {
        let stage = self.stage;
        stage.create_engine("plain", 1).await?;
        let metadata = json!({"ownerReferences": [create_owner(stage, "plain").await?]});
        let owned = Patch::Merge(json!({"metadata": metadata}));
        stage.api::<StatefulSet>().patch("plain", &PatchParams::default(), &owned).await?;
        stage.autoscaler("plain", json!({"behavior": without_window()})).await?;
        gated::create(stage, "gated", 1, 30).await?;
        gated::autoscaler(stage, "gated", 60, json!({})).await?;
        let port = json!({"name": "http", "containerPort": stage.port()});
        let container = json!({"name": "engine", "image": "engine", "ports": [port]});
        let labels = json!({"app": "deployment"});
        let gates = json!([{"conditionType": gated::GATE}]);
        let spec = json!({"containers": [container], "readinessGates": gates});
        let deployment = json!({
            "metadata": {
                "name": "deployment",
                "ownerReferences": [create_owner(stage, "deployment").await?],
            },
            "spec": {
                "replicas": 1, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        });
        let api = stage.api::<Deployment>();
        api.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "deployment"});
        gated::autoscaler(stage, "deployment", 60, json!({"scaleTargetRef": target})).await
    }

    /// Creates a group with a role that is scaled by its adapter and drains, and one without an
    /// adapter.
    async fn create_roles(&self) -> Result<()> {
        let mut decode = scalable(stateless(standalone(self.stage, "decode", 1)));
        decode["standalonePattern"]["template"]["spec"]["readinessGates"] =
            json!([{"conditionType": gated::GATE}]);
        let role = |role: &str| {
            json!({
                "apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup",
                "name": "pd", "role": role,
            })
        };
        let spec = json!({"scaleTargetRef": role("decode")});
        gated::autoscaler(self.stage, "decode", 60, spec).await?;
        let roles = json!({"roles": [decode, standalone(self.stage, "prefill", 1)]});
        self.groups.create(Rbg::Group, "pd", roles).await?;
        self.stage.autoscaler("prefill", json!({"scaleTargetRef": role("prefill")})).await
    }

    /// Creates an autoscaler that needs a Secret and a ConfigMap for a server that does not exist.
    async fn create_credentials(&self) -> Result<()> {
        let stage = self.stage;
        let secret = json!({"metadata": {"name": "token"}, "stringData": {"token": "x"}});
        let created = serde_json::from_value(secret)?;
        stage.api::<Secret>().create(&PostParams::default(), &created).await?;
        let ca = json!({"metadata": {"name": "ca"}, "data": {"ca.crt": "x"}});
        let created = serde_json::from_value(ca)?;
        stage.api::<ConfigMap>().create(&PostParams::default(), &created).await?;
        stage.create_engine("credentials", 1).await?;
        let authorization = json!({"credentials": {"name": "token", "key": "token"}});
        let ca = json!({"configMap": {"name": "ca", "key": "ca.crt"}});
        let by_token = json!({"url": "http://127.0.0.1:1", "authorization": authorization});
        let by_ca = json!({"url": "https://127.0.0.1:1", "tlsConfig": {"ca": ca}});
        let sources = json!([{"prometheus": by_token}, {"prometheus": by_ca}]);
        stage.autoscaler("credentials", json!({"sources": sources})).await
    }

    /// Waits until every target has the size that its load requires.
    pub(crate) async fn until_scaled(&self) -> Result<()> {
        for kind in KINDS.iter().chain([&INSTANCES]) {
            kind.until_size(self.stage, if is_role_scaler(kind.plural) { 1 } else { 3 }).await?;
        }
        for name in ["plain", "gated"] {
            self.stage.until_replicas(name, 3, SOON).await?;
        }
        for app in DRAINED {
            self.until_pods(app, 3).await?;
        }
        self.until_pods(PREFILL, 3).await
    }

    /// Sets the size of a target as another writer, so that the operator has to write it again.
    pub(crate) async fn disturb(&self, resource: &str) -> Result<()> {
        let cluster = self.stage.control_plane();
        if let Some(kind) = KINDS.iter().chain([&INSTANCES]).find(|kind| kind.plural == resource) {
            return kind.set_size(self.stage, if is_role_scaler(resource) { 2 } else { 1 }).await;
        }
        let namespace = ["-n", &*self.stage.namespace];
        let target = match resource {
            "statefulsets" => "statefulset/plain",
            "deployments" => "deployment/deployment",
            "rolebasedgroupscalingadapters" => "rolebasedgroupscalingadapter/pd-decode",
            "rolebasedgroups" => {
                return self.groups.patch_role("pd", 1, "replicas", json!(1)).await;
            }
            other => anyhow::bail!("there is no target of the resource {other}"),
        };
        let scale = ["scale", "--replicas=1", target];
        cluster.kubectl([&namespace[..], &scale].concat()).await.map(drop)
    }

    /// Gives the pods of a drained target, and future ones, a load; waits for three ready replicas.
    pub(crate) async fn fill(&self, selector: &str) -> Result<()> {
        for pod in self.pods(selector).await? {
            self.stage.script.set(&format!("{}/{pod}", self.stage.namespace), HIGH);
        }
        self.until_pods(selector, 3).await
    }

    /// Takes the load off the pods of a target.
    pub(crate) async fn empty(&self, selector: &str) -> Result<()> {
        for pod in self.pods(selector).await? {
            self.stage.script.set(&format!("{}/{pod}", self.stage.namespace), LOW);
        }
        Ok(())
    }

    /// Waits until a target has this many pods, all ready.
    pub(crate) async fn until_pods(&self, selector: &str, count: usize) -> Result<()> {
        let its = ListParams::default().labels(selector);
        wait::until(&format!("{count} pods of {selector} to be ready"), SOON, async || {
            let pods = self.stage.api::<Pod>().list(&its).await?.items;
            let all = pods.len() == count && pods.iter().all(is_ready);
            Ok(all.then_some(()))
        })
        .await
    }

    async fn pods(&self, selector: &str) -> Result<Vec<String>> {
        let its = ListParams::default().labels(selector);
        let pods = self.stage.api::<Pod>().list(&its).await?;
        Ok(pods.iter().map(ResourceExt::name_any).collect())
    }

    /// Scales the StatefulSet `plain` down and up again.
    pub(crate) async fn down_and_up(&self) -> Result<()> {
        self.stage.page("plain", &LOW);
        self.stage.until_replicas("plain", 1, SOON).await?;
        self.stage.page("plain", &HIGH);
        self.stage.until_replicas("plain", 3, SOON).await
    }

    /// Calls the autoscaler `plain`, and returns the status code of the answer.
    pub(crate) async fn wake(&self) -> Result<u16> {
        let url = format!("{}/{}/plain", self.stage.operator.wake_url(), self.stage.namespace);
        let request = http_client().post(url);
        let request = request.header("authorization", format!("Bearer {}", self.token));
        Ok(request.send().await.context("calling the operator")?.status().as_u16())
    }

    /// Deletes the first pod of the StatefulSet with the readiness gate: the next one has none yet.
    pub(crate) async fn replace_pod(&self) -> Result<()> {
        let delete = ["-n", &self.stage.namespace, "delete", "pod", "gated-0", "--wait=true"];
        self.stage.control_plane().kubectl(delete).await.map(drop)
    }

    /// Sets whether the autoscaler `plain` wants a PodMonitor.
    pub(crate) async fn set_pod_monitor(&self, mode: &str) -> Result<()> {
        let spec = json!({"behavior": without_window(), "podMonitor": {"mode": mode}});
        self.stage.autoscaler("plain", spec).await
    }

    /// Waits until the autoscaler `plain` has a PodMonitor, or none.
    pub(crate) async fn until_pod_monitor(&self, expected: bool) -> Result<()> {
        let get = ["-n", &self.stage.namespace, "get", "podmonitor", "plain", "-o", "name"];
        wait::until(&format!("the PodMonitor to exist: {expected}"), SOON, async || {
            let found = self.stage.control_plane().kubectl(get).await.is_ok();
            Ok((found == expected).then_some(()))
        })
        .await
    }
}

/// The selectors of the pods of targets that mark the replicas of a scale-down.
pub(crate) const DRAINED: [&str; 2] = [
    "app=deployment",
    "rbg.workloads.x-k8s.io/group-name=pd,rbg.workloads.x-k8s.io/role-name=decode",
];
const PREFILL: &str =
    "rbg.workloads.x-k8s.io/group-name=pd,rbg.workloads.x-k8s.io/role-name=prefill";

fn is_role_scaler(plural: &str) -> bool {
    plural == ROLE_SCALER.plural
}

fn without_window() -> Value {
    json!({"scaleDown": {"stabilizationWindowSeconds": 0}})
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Creates a service account that may wake autoscalers, and returns a token of it.
async fn caller(stage: &Stage) -> Result<String> {
    let (cluster, namespace) = (stage.control_plane(), &*stage.namespace);
    let account = format!("--serviceaccount={namespace}:gateway");
    let role = "--clusterrole=llm-autoscaler-caller";
    for command in [
        &["create", "serviceaccount", "gateway"][..],
        &["create", "rolebinding", "caller", role, &account],
    ] {
        cluster.kubectl([&["-n", namespace], command].concat()).await?;
    }
    let create = ["-n", namespace, "create", "token", "gateway", "--audience=llm-autoscaler"];
    Ok(cluster.kubectl(create).await?.trim().to_owned())
}
