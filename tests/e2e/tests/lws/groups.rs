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

/// The number of pods of a group.
pub(crate) const SIZE: u32 = 3;
/// An upper bound of the number of groups in any scenario.
const MOST: u32 = 8;
/// The time that groups may take to be created or deleted: workers follow after their leader.
const FOLLOW: Duration = Duration::from_mins(1);

/// A LeaderWorkerSet with groups of three pods. Every worker reports 1000 waiting requests. A
/// leader reports the number that a scenario sets, at first zero.
pub(crate) struct Groups<'a> {
    stage: &'a Stage,
    name: &'a str,
    api: Api<DynamicObject>,
    sizes: Arc<Mutex<Vec<i64>>>,
    _watch: JoinSet<()>,
}

impl<'a> Groups<'a> {
    /// Creates the LeaderWorkerSet, and waits until all pods are ready.
    pub(crate) async fn create(stage: &'a Stage, name: &'a str, groups: u32) -> Result<Self> {
        Self::create_with(stage, name, groups, &[]).await
    }

    /// Like [`Groups::create`], with readiness gates in all pods.
    pub(crate) async fn create_with(
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

    /// Applies an LLMAutoscaler of the same name for it: 1 to 8 replicas, 5 waiting requests each,
    /// without a window for scale-downs.
    pub(crate) async fn autoscale(&self) -> Result<()> {
        self.autoscale_with(json!({})).await
    }

    /// Like [`Groups::autoscale`], with further fields in the spec.
    pub(crate) async fn autoscale_with(&self, more: serde_json::Value) -> Result<()> {
        let target = json!({
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "name": self.name,
        });
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
        let mut spec = json!({"scaleTargetRef": target, "maxReplicas": MOST, "behavior": behavior});
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        self.stage.autoscaler(self.name, spec).await
    }

    /// Makes the leader of a group answer with a page.
    pub(crate) fn leader(&self, group: u32, page: Page) {
        self.stage.script.set(&pod(self.stage, self.name, group, 0), page);
    }

    /// Sets the readiness of a worker. A worker that is not ready still answers.
    pub(crate) fn set_worker_ready(&self, group: u32, worker: u32, ready: bool) {
        self.stage.script.set_ready(&pod(self.stage, self.name, group, worker), ready);
    }

    /// Leaves a future worker pending, as without a free GPU.
    pub(crate) fn leave_pending(&self, group: u32, worker: u32) {
        self.stage.leave_pending(&pod_name(self.name, group, worker));
    }

    /// Returns the number of scrapes of workers in all groups.
    pub(crate) fn requests_of_workers(&self) -> u64 {
        let workers = (0..MOST).flat_map(|group| (1..SIZE).map(move |worker| (group, worker)));
        let scrapes = workers.map(|(group, worker)| {
            self.stage.script.requests(&pod(self.stage, self.name, group, worker))
        });
        scrapes.sum()
    }

    /// Returns every number of groups that was requested, in order.
    pub(crate) fn sizes(&self) -> Vec<i64> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this many groups are requested and the record has it.
    pub(crate) async fn until_size(&self, groups: i64) -> Result<()> {
        let what = format!("the LeaderWorkerSet {} to be scaled to {groups}", self.name);
        let awaited = wait::until(&what, SOON, async || {
            Ok((self.sizes().last() == Some(&groups)).then_some(()))
        });
        awaited.await.with_context(|| format!("the requested sizes are {:?}", self.sizes()))
    }

    /// Watches the set for a while, and fails if it ever requests another number of groups than
    /// now.
    pub(crate) async fn stays(&self, how_long: Duration) -> Result<()> {
        let before = self.sizes();
        tokio::time::sleep(how_long).await;
        let after = self.sizes();
        ensure!(before == after, "{} had to keep its size, and requested {after:?}", self.name);
        Ok(())
    }

    /// Waits until the set has exactly the pods of this many groups, all are ready, and its status
    /// says so.
    pub(crate) async fn until_served(&self, groups: u32) -> Result<()> {
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

    /// Waits until the set's status counts this many ready groups.
    pub(crate) async fn until_counted_ready(&self, groups: u32) -> Result<()> {
        let what = format!("the LeaderWorkerSet {} to have {groups} readyReplicas", self.name);
        wait::until(&what, SOON, async || {
            let data = self.api.get(self.name).await?.data;
            Ok((data["status"]["readyReplicas"] == groups).then_some(()))
        })
        .await
    }

    /// Returns the names of the set's pods; `None` while one of them is not ready.
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

/// Returns the name of a pod in the script.
fn pod(stage: &Stage, set: &str, group: u32, index: u32) -> String {
    format!("{}/{}", stage.namespace, pod_name(set, group, index))
}

/// Records each size that an object requests; the watch misses none.
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
            Err(_) => {} // the watcher recovers on its own
        }
    }
}
