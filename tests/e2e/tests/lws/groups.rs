//! A LeaderWorkerSet on a stage.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{Page, wait, workloads::leader_worker_set};
use serde_json::json;
use tokio::task::JoinSet;

/// How many pods a group has.
pub const SIZE: u32 = 3;
/// More groups than any scenario should come to.
const MOST: u32 = 8;
/// How long groups may take to come or go: their workers do so after their leader has.
const FOLLOW: Duration = Duration::from_mins(1);

/// A LeaderWorkerSet of groups of three pods. Every worker says that 1000 requests wait; a leader says what a scenario lets it say,
/// and at first that none do.
pub struct Groups<'a> {
    stage: &'a Stage,
    name: &'a str,
    api: Api<DynamicObject>,
    sizes: Arc<Mutex<Vec<i64>>>,
    _watch: JoinSet<()>,
}

impl<'a> Groups<'a> {
    /// Creates it, and waits until all pods serve.
    pub async fn create(stage: &'a Stage, name: &'a str, groups: u32) -> Result<Self> {
        Self::create_with(stage, name, groups, &[]).await
    }

    /// The same with readiness gates for all pods.
    pub async fn create_with(
        stage: &'a Stage,
        name: &'a str,
        groups: u32,
        gates: &[&str],
    ) -> Result<Self> {
        for group in 0..MOST {
            for worker in 1..SIZE {
                stage.script.set(&pod(stage, name, group, worker), Page::waiting(1000));
            }
        }
        let kind = GroupVersionKind::gvk("leaderworkerset.x-k8s.io", "v1", "LeaderWorkerSet");
        let kind = ApiResource::from_gvk_with_plural(&kind, "leaderworkersets");
        let api = Api::namespaced_with(stage.client(), &stage.namespace, &kind);
        let mut object = leader_worker_set(name, groups, SIZE, stage.port());
        object["metadata"]["namespace"] = json!(stage.namespace);
        let gates: Vec<_> = gates.iter().map(|gate| json!({"conditionType": gate})).collect();
        object["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["readinessGates"] =
            gates.into();
        let created = api.create(&PostParams::default(), &serde_json::from_value(object)?).await;
        created
            .with_context(|| format!("creating the LeaderWorkerSet {}/{name}", stage.namespace))?;
        let (sizes, mut watch) = (Arc::default(), JoinSet::new());
        watch.spawn(record(api.clone(), name.to_owned(), Arc::clone(&sizes)));
        let set = Self { stage, name, api, sizes, _watch: watch };
        set.until_size(groups.into()).await?;
        set.until_served(groups).await?;
        Ok(set)
    }

    /// Applies an LLMAutoscaler of the same name for it, with 1 to 8 replicas, 5 waiting requests each, that shrinks at once.
    pub async fn autoscale(&self) -> Result<()> {
        self.autoscale_with(json!({})).await
    }

    /// The same with more in its spec.
    pub async fn autoscale_with(&self, more: serde_json::Value) -> Result<()> {
        let target = json!({"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": self.name});
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        let mut spec = json!({"scaleTargetRef": target, "maxReplicas": MOST, "behavior": behavior});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        self.stage.autoscaler(self.name, spec).await
    }

    /// Makes the leader of one group answer with a page.
    pub fn leader(&self, group: u32, page: Page) {
        self.stage.script.set(&pod(self.stage, self.name, group, 0), page);
    }

    /// Makes a worker ready or not; it still answers.
    pub fn set_worker_ready(&self, group: u32, worker: u32, ready: bool) {
        self.stage.script.set_ready(&pod(self.stage, self.name, group, worker), ready);
    }

    /// Leaves a worker to come pending, as for want of a GPU.
    pub fn leave_pending(&self, group: u32, worker: u32) {
        self.stage.leave_pending(&pod_name(self.name, group, worker));
    }

    /// How often workers of any group have been asked for their pages.
    pub fn requests_of_workers(&self) -> u64 {
        let workers = (0..MOST).flat_map(|group| (1..SIZE).map(move |worker| (group, worker)));
        let asked = workers.map(|(group, worker)| {
            self.stage.script.requests(&pod(self.stage, self.name, group, worker))
        });
        asked.sum()
    }

    /// Every number of groups that it was asked for, in order.
    pub fn sizes(&self) -> Vec<i64> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it is asked for that many groups, and that has been noted.
    pub async fn until_size(&self, groups: i64) -> Result<()> {
        let what = format!("the LeaderWorkerSet {} to be scaled to {groups}", self.name);
        let awaited = wait::until(&what, SOON, async || {
            Ok((self.sizes().last() == Some(&groups)).then_some(()))
        });
        awaited.await.with_context(|| format!("it has been asked for {:?}", self.sizes()))
    }

    /// Watches it for a while, and fails if it is ever asked for another number of groups than now.
    pub async fn stays(&self, how_long: Duration) -> Result<()> {
        let before = self.sizes();
        tokio::time::sleep(how_long).await;
        let after = self.sizes();
        ensure!(before == after, "{} was to keep its size, and was asked for {after:?}", self.name);
        Ok(())
    }

    /// Waits until it has the pods of that many groups and no others, all ready, and says so itself.
    pub async fn until_served(&self, groups: u32) -> Result<()> {
        let names = (0..groups).flat_map(|group| (0..SIZE).map(move |index| (group, index)));
        let mut expected: Vec<_> =
            names.map(|(group, index)| pod_name(self.name, group, index)).collect();
        expected.sort_unstable();
        let what = format!("exactly {expected:?} to be ready");
        let awaited = wait::until(&what, FOLLOW, async || {
            let status = self.api.get(self.name).await?.data["status"].take();
            let counted = status["replicas"] == groups && status["readyReplicas"] == groups;
            Ok((counted && self.ready_pods().await? == Some(expected.clone())).then_some(()))
        });
        match awaited.await {
            Ok(()) => Ok(()),
            Err(error) => {
                let status = self.api.get(self.name).await?.data["status"].take();
                Err(error
                    .context(format!("the LeaderWorkerSet {} has the status {status}", self.name)))
            }
        }
    }

    /// Waits until it says itself that so many groups are ready.
    pub async fn until_counted_ready(&self, groups: u32) -> Result<()> {
        let what = format!("the LeaderWorkerSet {} to have {groups} readyReplicas", self.name);
        wait::until(&what, SOON, async || {
            let data = self.api.get(self.name).await?.data;
            Ok((data["status"]["readyReplicas"] == groups).then_some(()))
        })
        .await
    }

    /// The names of its pods; `None` while one of them is not ready.
    async fn ready_pods(&self) -> Result<Option<Vec<String>>> {
        let its = ListParams::default().labels(&format!("app={}", self.name));
        let pods = self.stage.api::<Pod>().list(&its).await?.items;
        let ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
            conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        Ok(pods.iter().all(ready).then(|| pods.iter().map(ResourceExt::name_any).collect()))
    }
}

fn pod_name(set: &str, group: u32, index: u32) -> String {
    if index == 0 { format!("{set}-{group}") } else { format!("{set}-{group}-{index}") }
}

/// As the script names it.
fn pod(stage: &Stage, set: &str, group: u32, index: u32) -> String {
    format!("{}/{}", stage.namespace, pod_name(set, group, index))
}

/// Notes each size that an object is asked for; a watch misses none.
async fn record(api: Api<DynamicObject>, name: String, sizes: Arc<Mutex<Vec<i64>>>) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut versions = watcher(api, only).default_backoff().applied_objects().boxed();
    loop {
        match versions.try_next().await {
            Ok(Some(version)) => {
                let size = version.data["spec"]["replicas"].as_i64().unwrap_or(1);
                let mut sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
                if sizes.last() != Some(&size) {
                    sizes.push(size);
                }
            }
            Ok(None) => return,
            Err(_) => {} // the watcher comes back by itself
        }
    }
}
