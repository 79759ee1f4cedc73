//! The storm, for replicas that start all at once, one after the other, and not at all.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::{engine::Page, engine::Script, wait, workloads::stateful_set};
use serde_json::json;
use tokio::time::Instant;

/// The target value: waiting requests per replica.
const TARGET: u64 = 5;
/// The sizes that the load requires before and in the storm.
const BEFORE: i32 = 2;
const IN_THE_STORM: i32 = 8;
/// The time for which a replica that has just become ready has an empty queue.
const SETTLING: Duration = Duration::from_secs(4);

/// The engines of a StatefulSet. The waiting requests are spread over the loaded engines; the
/// others do not answer.
struct Engines {
    pods: Api<Pod>,
    script: Script,
    namespace: String,
    loading: Duration,
    waiting: AtomicU64,
    /// The largest number of replicas that was ever requested.
    peak: std::sync::Mutex<i32>,
    sets: Api<StatefulSet>,
}

impl Engines {
    /// Creates the StatefulSet, and an autoscaler with a scale-down window of ten seconds.
    async fn start(stage: &Stage, management: &str) -> Result<Arc<Self>> {
        let mut set = stateful_set("a", BEFORE.unsigned_abs(), stage.port())?;
        set.metadata.namespace = Some(stage.namespace.clone());
        set.spec.as_mut().context("no spec")?.pod_management_policy = Some(management.to_owned());
        for ordinal in 0..40 {
            let pod = format!("{}/a-{ordinal}", stage.namespace);
            stage.script.set(&pod, Page::Refuse);
            stage.script.set_ready(&pod, false);
        }
        let engines = Arc::new(Self {
            pods: stage.api(),
            script: stage.script.clone(),
            namespace: stage.namespace.clone(),
            loading: loading()?,
            waiting: AtomicU64::new(0),
            peak: std::sync::Mutex::default(),
            sets: stage.api(),
        });
        engines.load_for(BEFORE);
        engines.sets.create(&PostParams::default(), &set).await?;
        tokio::spawn(play(Arc::downgrade(&engines)));
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 10}});
        stage.until_ready_within("a", BEFORE, engines.loading * 3 + SOON).await?;
        stage
            .autoscaler(
                "a",
                json!({"minReplicas": BEFORE, "maxReplicas": 40, "behavior": behavior}),
            )
            .await?;
        stage.until_condition("a", "SamplesComplete", "True", "AllReplicas").await?;
        stage.stays("a", BEFORE, Duration::from_secs(3)).await?;
        Ok(engines)
    }

    /// Sets the load to the capacity of `replicas` replicas.
    fn load_for(&self, replicas: i32) {
        self.waiting.store(TARGET * u64::from(replicas.unsigned_abs()), Ordering::Relaxed);
    }

    fn peak(&self) -> i32 {
        *self.peak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this many replicas are ready.
    async fn until_serving(&self, replicas: i32, within: Duration) -> Result<()> {
        wait::until(&format!("{replicas} replicas to be ready"), within, async || {
            let ready = self.sets.get("a").await?.status.and_then(|status| status.ready_replicas);
            Ok((ready == Some(replicas)).then_some(()))
        })
        .await
    }

    /// Raises the load to the capacity of eight replicas, and waits until they are requested.
    /// Returns the time of the rise, and a text for the summary.
    async fn storm(&self, stage: &Stage) -> Result<(Instant, String)> {
        let began = Instant::now();
        self.load_for(IN_THE_STORM);
        stage.until_replicas("a", IN_THE_STORM, SOON * 2).await?;
        Ok((began, format!("{IN_THE_STORM} needed, requested after {}", seconds(began))))
    }

    /// Lowers the load, and waits until the target has its first size again. By then no more
    /// replicas than needed may ever have been requested. Returns a text for the summary.
    async fn calm(&self, stage: &Stage, within: Duration) -> Result<String> {
        ensure!(self.peak() <= IN_THE_STORM, "{} were requested", self.peak());
        let began = Instant::now();
        self.load_for(BEFORE);
        stage.until_replicas("a", BEFORE, within).await?;
        let peak = self.peak();
        ensure!(peak <= IN_THE_STORM, "{peak} were requested while the load fell");
        Ok(format!("peak {peak}; back to {BEFORE} {} after the load fell", seconds(began)))
    }

    /// Lists the pods once, and sets the page of each by its age.
    async fn pass(&self, ready_since: &mut HashMap<String, Instant>) -> Result<()> {
        let requested = self.sets.get("a").await?.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        {
            let mut peak = self.peak.lock().unwrap_or_else(PoisonError::into_inner);
            *peak = requested.max(*peak);
        }
        let pods = self.pods.list(&ListParams::default().labels("app=a")).await?.items;
        let age = |pod: &Pod| {
            let created =
                pod.creation_timestamp().map(|time| time.0.as_millisecond()).unwrap_or_default();
            Utc::now() - DateTime::from_timestamp_millis(created).unwrap_or_default()
        };
        let has_ip = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
        let loaded =
            |pod: &&Pod| has_ip(pod) && age(pod).to_std().unwrap_or_default() >= self.loading;
        let loaded: Vec<String> = pods.iter().filter(loaded).map(ResourceExt::name_any).collect();
        let (waiting, count) = (self.waiting.load(Ordering::Relaxed), loaded.len().max(1) as u64);
        for (place, name) in (0..).zip(&loaded) {
            let key = format!("{}/{name}", self.namespace);
            let is_new = !ready_since.contains_key(name);
            let since = *ready_since.entry(name.clone()).or_insert_with(Instant::now);
            // The queues elsewhere are lowered before any queue here is raised, so no request is
            // ever counted twice.
            let share = waiting / count + u64::from(place < waiting % count);
            let share = if since.elapsed() < SETTLING { 0 } else { share };
            self.script.set(&key, Page::waiting(share));
            if is_new {
                self.script.set_ready(&key, true);
            }
        }
        for gone in pods_gone(ready_since, &loaded) {
            let key = format!("{}/{gone}", self.namespace);
            self.script.set(&key, Page::Refuse);
            self.script.set_ready(&key, false);
            ready_since.remove(&gone);
        }
        Ok(())
    }
}

fn seconds(since: Instant) -> String {
    format!("{:.0} s", since.elapsed().as_secs_f64())
}

fn pods_gone(known: &HashMap<String, Instant>, loaded: &[String]) -> Vec<String> {
    known.keys().filter(|name| !loaded.contains(name)).cloned().collect()
}

/// Updates the pages until the engines are dropped.
async fn play(engines: std::sync::Weak<Engines>) {
    let mut ready_since = HashMap::new();
    while let Some(engines) = engines.upgrade() {
        if let Err(error) = engines.pass(&mut ready_since).await {
            eprintln!("startup: {error:#}");
        }
        drop(engines);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn loading() -> Result<Duration> {
    let seconds = std::env::var("LOADING").unwrap_or_else(|_| "60".to_owned());
    Ok(Duration::from_secs(seconds.parse().with_context(|| format!("LOADING={seconds}"))?))
}

/// All missing replicas load at the same time, and no more replicas than the load requires are
/// requested meanwhile.
pub(crate) async fn replicas_start_in_parallel(stage: &Stage) -> Result<String> {
    let engines = Engines::start(stage, "Parallel").await?;
    let (began, grown) = engines.storm(stage).await?;
    stage.until_ready_within("a", IN_THE_STORM, engines.loading * 2 + SOON).await?;
    let ready = seconds(began);
    stage.stays("a", IN_THE_STORM, Duration::from_secs(5)).await?;
    let learned = stage.status("a").await?.targets[0].start_up_seconds.clone();
    ensure!(learned.len() == 5, "{learned:?}");
    let slowest = learned.iter().max().copied().unwrap_or_default();
    let (least, most) = (engines.loading.as_secs(), engines.loading.as_secs() + 15);
    ensure!((least..=most).contains(&u64::from(slowest.unsigned_abs())), "{learned:?}");

    let back = engines.calm(stage, SOON).await?;
    Ok(format!("{grown}, all ready after {ready}; {back}"))
}

/// The load ends while all missing replicas load. Their samples are unknown, so nothing is removed
/// before most of them report; then the surplus is removed.
pub(crate) async fn load_ends_before_replicas_start(stage: &Stage) -> Result<String> {
    let engines = Engines::start(stage, "Parallel").await?;
    let (_, grown) = engines.storm(stage).await?;
    engines.load_for(0);
    stage.until_condition("a", "ScalingLimited", "True", "NoQuorum").await?;
    let back = engines.calm(stage, engines.loading + SOON).await?;
    Ok(format!("{grown}, no longer needed before one was ready; {back}"))
}

/// An `OrderedReady` StatefulSet creates a pod when the previous one is ready: pods that do not
/// exist yet count as capacity on its way, too.
pub(crate) async fn replicas_start_one_by_one(stage: &Stage) -> Result<String> {
    let engines = Engines::start(stage, "OrderedReady").await?;
    let (began, grown) = engines.storm(stage).await?;
    let advisory = stage.until_condition("a", "Advisory", "True", "StartsInTurn").await?;
    ensure!(advisory.message.contains("podManagementPolicy: Parallel"), "{}", advisory.message);
    engines.until_serving(5, engines.loading * 8).await?;
    let ready = seconds(began);
    // The load falls while one of them loads and two do not exist yet. The scale-down does not wait
    // for them.
    let back = engines.calm(stage, SOON * 2).await?;
    Ok(format!("{grown}, 5 ready after {ready}; {back}"))
}

/// There is no GPU for half of the replicas. They count as capacity on its way until they are known
/// to be stuck, and the scale-down works when the load falls.
pub(crate) async fn half_of_the_replicas_are_unschedulable(stage: &Stage) -> Result<String> {
    for ordinal in 4..40 {
        stage.leave_pending(&format!("a-{ordinal}"));
    }
    let engines = Engines::start(stage, "Parallel").await?;
    let (began, grown) = engines.storm(stage).await?;
    engines.until_serving(4, engines.loading * 2 + SOON).await?;
    let ready = seconds(began);
    stage.stays("a", IN_THE_STORM, Duration::from_secs(5)).await?;

    // The scheduler has reported this for six minutes.
    for ordinal in 4..IN_THE_STORM {
        unschedulable(stage, &format!("a-{ordinal}")).await?;
    }
    let stuck = stage.until_condition("a", "ReplicasStuck", "True", "Unschedulable").await?;
    ensure!(stuck.message.contains("a-4: no node has room for it"), "{}", stuck.message);
    stage.stays("a", IN_THE_STORM, Duration::from_secs(5)).await?;
    let back = engines.calm(stage, SOON).await?;
    Ok(format!("{grown}, 4 ready after {ready} and no node for the others; {back}"))
}

/// Marks a pod as unschedulable, as a scheduler does.
async fn unschedulable(stage: &Stage, pod: &str) -> Result<()> {
    let since = (Utc::now() - TimeDelta::minutes(6)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = json!({"status": {"conditions": [{
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "lastTransitionTime": since,
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }]}});
    stage
        .api::<Pod>()
        .patch_status(pod, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    Ok(())
}
