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

/// Requests that wait for each replica that there should be.
const TARGET: u64 = 5;
/// What the load needs at first, and in the storm.
const BEFORE: i32 = 2;
const IN_THE_STORM: i32 = 8;
/// For how long a replica that has just begun to serve has an empty queue.
const SETTLING: Duration = Duration::from_secs(4);

/// The engines of one StatefulSet: what waits is shared by those that have loaded; the others do not answer.
struct Engines {
    pods: Api<Pod>,
    script: Script,
    namespace: String,
    loading: Duration,
    waiting: AtomicU64,
    /// The most replicas that were ever asked for.
    peak: std::sync::Mutex<i32>,
    sets: Api<StatefulSet>,
}

impl Engines {
    /// Creates the StatefulSet, and an autoscaler that shrinks after ten seconds.
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

    /// The load that so many replicas can take.
    fn load_for(&self, replicas: i32) {
        self.waiting.store(TARGET * u64::from(replicas.unsigned_abs()), Ordering::Relaxed);
    }

    fn peak(&self) -> i32 {
        *self.peak.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many replicas are ready.
    async fn until_serving(&self, replicas: i32, within: Duration) -> Result<()> {
        wait::until(&format!("{replicas} replicas to be ready"), within, async || {
            let ready = self.sets.get("a").await?.status.and_then(|status| status.ready_replicas);
            Ok((ready == Some(replicas)).then_some(()))
        })
        .await
    }

    /// Lets the load grow to what eight replicas can take, and waits until they are asked for. Returns when it grew, and
    /// what there is to say.
    async fn storm(&self, stage: &Stage) -> Result<(Instant, String)> {
        let began = Instant::now();
        self.load_for(IN_THE_STORM);
        stage.until_replicas("a", IN_THE_STORM, SOON * 2).await?;
        Ok((began, format!("{IN_THE_STORM} needed, asked for after {}", seconds(began))))
    }

    /// Lets the load fall, and waits until the target has its first size again. Nothing more than was needed may have been
    /// asked for until then. Returns what there is to say.
    async fn calm(&self, stage: &Stage, within: Duration) -> Result<String> {
        ensure!(self.peak() <= IN_THE_STORM, "{} were asked for", self.peak());
        let began = Instant::now();
        self.load_for(BEFORE);
        stage.until_replicas("a", BEFORE, within).await?;
        let peak = self.peak();
        ensure!(peak <= IN_THE_STORM, "{peak} were asked for while the load fell");
        Ok(format!("peak {peak}; back to {BEFORE} {} after the load fell", seconds(began)))
    }

    /// Looks at the pods once, and lets each be what its age makes it.
    async fn pass(&self, ready_since: &mut HashMap<String, Instant>) -> Result<()> {
        let asked = self.sets.get("a").await?.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        {
            let mut peak = self.peak.lock().unwrap_or_else(PoisonError::into_inner);
            *peak = asked.max(*peak);
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
            // What waits elsewhere is less before anything waits here: nothing is ever counted twice.
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

/// Plays the engines until nobody holds them any more.
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

/// All replicas that are missing load at the same time, and nothing more than the load needs is asked for meanwhile.
pub async fn all_at_once(stage: &Stage) -> Result<String> {
    let engines = Engines::start(stage, "Parallel").await?;
    let (began, asked) = engines.storm(stage).await?;
    stage.until_ready_within("a", IN_THE_STORM, engines.loading * 2 + SOON).await?;
    let ready = seconds(began);
    stage.stays("a", IN_THE_STORM, Duration::from_secs(5)).await?;
    let learned = stage.status("a").await?.targets[0].start_up_seconds.clone();
    ensure!(learned.len() == 5, "{learned:?}");
    let slowest = learned.iter().max().copied().unwrap_or_default();
    let (least, most) = (engines.loading.as_secs(), engines.loading.as_secs() + 15);
    ensure!((least..=most).contains(&u64::from(slowest.unsigned_abs())), "{learned:?}");

    let back = engines.calm(stage, SOON).await?;
    Ok(format!("{asked}, all ready after {ready}; {back}"))
}

/// The load ends while all that are missing load. What they would say is not known, so nobody goes before most of them say it; then
/// all go who are too many.
pub async fn over_before_they_load(stage: &Stage) -> Result<String> {
    let engines = Engines::start(stage, "Parallel").await?;
    let (_, asked) = engines.storm(stage).await?;
    engines.load_for(0);
    stage.until_condition("a", "ScalingLimited", "True", "NoQuorum").await?;
    let back = engines.calm(stage, engines.loading + SOON).await?;
    Ok(format!("{asked}, and not needed any more before one was ready; {back}"))
}

/// An `OrderedReady` StatefulSet makes a pod when the one before it is ready: those that wait for their turn are capacity on the
/// way, too.
pub async fn one_after_the_other(stage: &Stage) -> Result<String> {
    let engines = Engines::start(stage, "OrderedReady").await?;
    let (began, asked) = engines.storm(stage).await?;
    let advisory = stage.until_condition("a", "Advisory", "True", "StartsInTurn").await?;
    ensure!(advisory.message.contains("podManagementPolicy: Parallel"), "{}", advisory.message);
    engines.until_serving(5, engines.loading * 8).await?;
    let ready = seconds(began);
    // The load falls while one of them loads and two have not even begun. Nobody waits for them, however long that takes.
    let back = engines.calm(stage, SOON * 2).await?;
    Ok(format!("{asked}, 5 ready after {ready}; {back}"))
}

/// There is no GPU left for the half of the replicas. They are capacity on the way until it is clear that they are not, and when
/// the load falls nothing is stuck.
pub async fn no_room(stage: &Stage) -> Result<String> {
    for ordinal in 4..40 {
        stage.leave_pending(&format!("a-{ordinal}"));
    }
    let engines = Engines::start(stage, "Parallel").await?;
    let (began, asked) = engines.storm(stage).await?;
    engines.until_serving(4, engines.loading * 2 + SOON).await?;
    let ready = seconds(began);
    stage.stays("a", IN_THE_STORM, Duration::from_secs(5)).await?;

    // The scheduler has been saying so for six minutes.
    for ordinal in 4..IN_THE_STORM {
        unschedulable(stage, &format!("a-{ordinal}")).await?;
    }
    let stuck = stage.until_condition("a", "ReplicasStuck", "True", "Unschedulable").await?;
    ensure!(stuck.message.contains("a-4: no node has room for it"), "{}", stuck.message);
    stage.stays("a", IN_THE_STORM, Duration::from_secs(5)).await?;
    let back = engines.calm(stage, SOON).await?;
    Ok(format!("{asked}, 4 ready after {ready} and no node for the others; {back}"))
}

/// As a scheduler reports it.
async fn unschedulable(stage: &Stage, pod: &str) -> Result<()> {
    let since = (Utc::now() - TimeDelta::minutes(6)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since,
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }]}});
    stage
        .api::<Pod>()
        .patch_status(pod, &PatchParams::default(), &Patch::Strategic(status))
        .await?;
    Ok(())
}
