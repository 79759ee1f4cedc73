//! DisaggregatedSets: their LeaderWorkerSets are refused as targets, and their roles are scaled
//! through role scalers. The set's controller is real, the scalers are a stand-in.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, RoleScalers, wait};
use serde_json::{Value, json};

const SET: &str = "disaggregatedset.x-k8s.io/name=pd";
const ROLE: &str = "disaggregatedset.x-k8s.io/role";
const INDEX: &str = "leaderworkerset.sigs.k8s.io/worker-index";
const GATE: &str = "llmautoscaler.io/in-service";
/// The time that groups may take to be created or replaced.
const FOLLOW: Duration = Duration::from_mins(1);

/// A LeaderWorkerSet of a DisaggregatedSet is refused, with the object to scale instead: its owner
/// would undo each size, and delete the pods that had it.
pub(crate) async fn leader_worker_set_of_a_set_is_refused(stage: &Stage) -> Result<()> {
    let set = Disaggregated { stage, gates: &[] };
    set.apply(2, "1").await?;
    set.until_served([2, 2]).await?;
    let before = set.uids().await?;
    let decode = set.leader_worker_set("decode").await?;
    stage.script.set_all(&Page::waiting(50));
    let target = reference("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", &decode.name_any());
    stage.autoscaler("a", json!({"scaleTargetRef": target, "maxReplicas": 8})).await?;

    let refused = stage.until_condition("a", "Stalled", "True", "TargetControlled").await?;
    let expected = "belongs to the DisaggregatedSet pd, which drives its size: nothing is written \
                    to it; scale the DisaggregatedSetRoleScaler pd-ROLE (LeaderWorkerSet v0.10, for \
                    a role with scaling.mode External) instead";
    ensure!(refused.message.contains(expected), "{}", refused.message);
    stage.until_condition("a", "AbleToScale", "False", "TargetControlled").await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let size = set.leader_worker_set("decode").await?.data["spec"]["replicas"].clone();
    ensure!(size == 2, "it was scaled to {size}");
    ensure!(set.uids().await? == before, "pods were replaced");
    Ok(())
}

/// Two roles with groups of two pods keep their ratio by their scalers. The selectors of those find
/// leaders only. Workers are part of their replicas, and are not scraped.
pub(crate) async fn role_scalers_keep_a_ratio(stage: &Stage) -> Result<String> {
    let set = Disaggregated { stage, gates: &[] };
    let _scalers = RoleScalers::start(stage.control_plane(), &stage.namespace).await?;
    set.apply(1, "1").await?;
    set.until_served([1, 1]).await?;
    let metrics = json!([waiting()]);
    let role = |name: &str| json!({"name": name, "scaleTargetRef": scaler(name), "maxReplicas": 4, "metrics": metrics});
    let spec = json!({
        "roles": [role("prefill"), role("decode")],
        "ratio": {"between": ["prefill", "decode"], "min": "500m", "max": "1"},
        "engine": "VLLM",
        "maxReplicas": 8,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        "sources": [{"scrape": {"intervalSeconds": 1}}],
    });
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "pd", "namespace": stage.namespace}, "spec": spec,
    });
    stage.control_plane().apply_yaml(&object.to_string()).await?;
    stage.until_condition("pd", "Ready", "True", "Scaling").await?;

    // 11 waiting requests of one group require three prefill groups, and the ratio as many decode
    // groups.
    set.page("prefill", 0, Page::waiting(11)).await?;
    set.until_sizes([3, 3]).await?;
    set.until_served([3, 3]).await?;
    let what = "the status to count 3 ready groups of each role";
    wait::until(what, SOON, async || {
        let targets = stage.status("pd").await?.targets;
        let ready: Vec<i32> = targets.iter().map(|target| target.ready_replicas).collect();
        Ok((ready == [3, 3]).then_some(()))
    })
    .await?;
    let scrapes = set.requests_of_workers().await?;
    ensure!(scrapes == 0, "workers were scraped {scrapes} times");

    set.page("prefill", 0, Page::idle()).await?;
    set.until_sizes([1, 1]).await?;
    set.until_served([1, 1]).await?;
    Ok("groups of 2 pods, 1:1 -> 3:3 -> 1:1 by pd-prefill and pd-decode".to_owned())
}

/// The highest group of a role drains, and a rollout, in which the role has two LeaderWorkerSets,
/// is waited for.
pub(crate) async fn role_drains_and_waits_for_a_rollout(stage: &Stage) -> Result<String> {
    let label = "llmautoscaler.io/aggregate-to-targets=true";
    let permission = "llm-autoscaler-in-service";
    let granting = ["label", "--overwrite", "clusterrole", permission, label];
    stage.control_plane().kubectl(granting).await?;
    let set = Disaggregated { stage, gates: &[GATE] };
    let _scalers = RoleScalers::start(stage.control_plane(), &stage.namespace).await?;
    stage.script.set_all(&Page::waiting(5));
    set.apply(3, "1").await?;
    set.until_served([3, 3]).await?;
    let spec = json!({
        "scaleTargetRef": scaler("decode"),
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        "drain": {"deadlineSeconds": 120},
    });
    stage.autoscaler("decode", spec).await?;
    stage.until_condition("decode", "Draining", "False", "Idle").await?;
    stage.script.set_all(&Page::waiting(2));
    set.until_out(&["2", "2"]).await?;

    // The pods of the new template do not become ready, so the rollout stops at the first group.
    let unready = Disaggregated { stage, gates: &[GATE, "example.com/never"] };
    unready.apply(3, "2").await?;
    let held = stage.until_condition("decode", "Draining", "False", "RolloutInProgress").await?;
    ensure!(held.message.contains("replicas are updated"), "{}", held.message);
    set.until_out(&[]).await?;
    set.until_sizes([3, 3]).await?;

    set.apply(3, "3").await?;
    // At its end the drain begins again, with the highest group of the new LeaderWorkerSet.
    set.until_only("decode").await?;
    set.until_out(&["2", "2"]).await?;
    stage.script.set_all(&Page::waiting(3));
    set.page("decode", 2, Page::idle()).await?;
    set.until_sizes([3, 2]).await?;
    set.until_served([3, 2]).await?;
    stage.until_condition("decode", "Draining", "False", "Drained").await?;
    Ok("group 2 drained, given up for the rollout, drained again: 3 -> 2".to_owned())
}

/// The DisaggregatedSet `pd` of a stage, with the roles `prefill` and `decode` in groups of two
/// pods.
struct Disaggregated<'a> {
    stage: &'a Stage,
    /// The readiness gates of its pods.
    gates: &'a [&'a str],
}

impl Disaggregated<'_> {
    /// Applies the set with this many groups of each role, and this version of its template.
    async fn apply(&self, groups: u32, version: &str) -> Result<()> {
        let container = json!({
            "name": "engine", "image": "vllm/vllm-openai",
            "ports": [{"name": "http", "containerPort": self.stage.port()}],
            "env": [{"name": "VERSION", "value": version}],
        });
        let role = |name: &str| {
            let gates: Vec<_> =
                self.gates.iter().map(|gate| json!({"conditionType": gate})).collect();
            let template = json!({"spec": {"containers": [container], "readinessGates": gates}});
            let workers = json!({"size": 2, "workerTemplate": template});
            json!({
                "name": name, "scaling": {"mode": "External"},
                "spec": {"replicas": groups, "leaderWorkerTemplate": workers},
            })
        };
        let object = json!({
            "apiVersion": "disaggregatedset.x-k8s.io/v1",
            "kind": "DisaggregatedSet",
            "metadata": {"name": "pd"},
            "spec": {"roles": [role("prefill"), role("decode")]},
        });
        let params = PatchParams::apply("user").force();
        let api = self.api("disaggregatedset.x-k8s.io", "DisaggregatedSet", "disaggregatedsets");
        api.patch("pd", &params, &Patch::Apply(object)).await.context("applying the set")?;
        Ok(())
    }

    fn api(&self, group: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(group, "v1", kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        Api::namespaced_with(self.stage.client(), &self.stage.namespace, &resource)
    }

    /// Returns the only LeaderWorkerSet of a role.
    async fn leader_worker_set(&self, role: &str) -> Result<DynamicObject> {
        let api = self.api("leaderworkerset.x-k8s.io", "LeaderWorkerSet", "leaderworkersets");
        let its = ListParams::default().labels(&format!("{SET},{ROLE}={role}"));
        let mut found = api.list(&its).await?.items;
        ensure!(found.len() == 1, "{role} has {} LeaderWorkerSets", found.len());
        found.pop().context("none")
    }

    async fn pods(&self) -> Result<Vec<Pod>> {
        Ok(self.stage.api::<Pod>().list(&ListParams::default().labels(SET)).await?.items)
    }

    async fn uids(&self) -> Result<BTreeSet<Option<String>>> {
        Ok(self.pods().await?.iter().map(ResourceExt::uid).collect())
    }

    /// Makes the leader of a group answer with a page.
    async fn page(&self, role: &str, group: u32, page: Page) -> Result<()> {
        let set = self.leader_worker_set(role).await?.name_any();
        self.stage.script.set(&format!("{}/{set}-{group}", self.stage.namespace), page);
        Ok(())
    }

    /// Waits until the roles have exactly this many groups, one LeaderWorkerSet each, and all pods
    /// are ready.
    async fn until_served(&self, groups: [usize; 2]) -> Result<()> {
        wait::until(&format!("{groups:?} groups to be ready"), FOLLOW, async || {
            let mut ready = BTreeMap::from([("prefill", 0), ("decode", 0)]);
            let pods = self.pods().await?;
            for pod in &pods {
                let role = pod.labels().get(ROLE).map_or("", String::as_str);
                if has_condition(pod, "Ready", "True") {
                    *ready.entry(role).or_default() += 1;
                }
            }
            let all = pods.len() == 2 * (groups[0] + groups[1]);
            let counted = [ready["prefill"], ready["decode"]] == groups.map(|count| 2 * count);
            let mut alone = true;
            for role in ["prefill", "decode"] {
                alone &= self.leader_worker_set(role).await.is_ok();
            }
            Ok((all && counted && alone).then_some(()))
        })
        .await
    }

    /// Waits until a role has one LeaderWorkerSet.
    async fn until_only(&self, role: &str) -> Result<()> {
        wait::until(&format!("one LeaderWorkerSet of {role}"), FOLLOW, async || {
            Ok(self.leader_worker_set(role).await.ok().map(drop))
        })
        .await
    }

    /// Waits until exactly the decode pods of these groups are out of service.
    async fn until_out(&self, groups: &[&str]) -> Result<()> {
        let what = format!("the pods of the groups {groups:?} to be out of service");
        wait::until(&what, FOLLOW, async || {
            let pods = self.pods().await?;
            let out = pods.iter().filter(|pod| has_condition(pod, GATE, "False"));
            let group = "leaderworkerset.sigs.k8s.io/group-index";
            let found = out.map(|pod| pod.labels().get(group).map_or("", String::as_str));
            Ok((found.collect::<Vec<_>>() == groups).then_some(()))
        })
        .await
    }

    /// Waits until the scalers request these numbers of groups.
    async fn until_sizes(&self, groups: [i64; 2]) -> Result<()> {
        let api = self.api(
            "disaggregatedset.x-k8s.io",
            "DisaggregatedSetRoleScaler",
            "disaggregatedsetrolescalers",
        );
        wait::until(&format!("the scalers to request {groups:?}"), SOON, async || {
            let mut sizes = Vec::new();
            for name in ["pd-prefill", "pd-decode"] {
                sizes.extend(api.get(name).await?.data["spec"]["replicas"].as_i64());
            }
            Ok((sizes == groups).then_some(()))
        })
        .await
    }

    /// Returns the number of scrapes of workers.
    async fn requests_of_workers(&self) -> Result<u64> {
        let pods = self.pods().await?;
        let workers =
            pods.iter().filter(|pod| pod.labels().get(INDEX).is_none_or(|index| index != "0"));
        let name = |pod: &Pod| format!("{}/{}", self.stage.namespace, pod.name_any());
        Ok(workers.map(|pod| self.stage.script.requests(&name(pod))).sum())
    }
}

fn has_condition(pod: &Pod, type_: &str, status: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|c| c.type_ == type_ && c.status == status)
}

fn reference(api_version: &str, kind: &str, name: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name})
}

fn scaler(role: &str) -> Value {
    let (version, kind) = ("disaggregatedset.x-k8s.io/v1", "DisaggregatedSetRoleScaler");
    reference(version, kind, &format!("pd-{role}"))
}

/// Returns the metric of five waiting requests for each group.
fn waiting() -> Value {
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    json!({"signal": "WaitingRequests", "target": target})
}
