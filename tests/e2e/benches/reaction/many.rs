//! Measures many autoscalers that step at once.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler};
use kube::api::{DeleteParams, Patch, PatchParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::{Page, wait};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    INTERVALS,
    chain::{self, Chain},
    report,
    sizes::Sizes,
};

/// The timeout of every wait.
const TIMEOUT: Duration = Duration::from_mins(15);
/// The number of requests that this client has in flight at once.
const AT_ONCE: usize = 64;

/// Creates `count` StatefulSets of one replica in one namespace, and measures each kind of
/// autoscaler in turn.
pub(crate) async fn measure(cluster: &Arc<Cluster>, count: usize) -> Result<()> {
    let stage = Stage::create(cluster.clone(), "many").await?;
    let fleet = Fleet {
        sizes: Sizes::watch(stage.api()),
        names: (0..count).map(|i| format!("e{i}")).collect(),
        stage,
    };
    println!("{count} at once; creating as many StatefulSets");
    fleet.each(|name| fleet.stage.create_engine(name, 1)).await?;
    fleet.until_settled().await?;
    report("writes by a client of their own", fleet.write_at_once().await?)?;
    fleet.scale_all(1).await?;
    for interval in INTERVALS {
        fleet.until_settled().await?;
        report(&format!("sampled every {interval} s"), fleet.ours(interval).await?)?;
    }
    let autoscalers = fleet.stage.api::<LLMAutoscaler>();
    autoscalers
        .delete_collection(&DeleteParams::default(), &kube::api::ListParams::default())
        .await?;
    fleet.scale_all(1).await?;
    fleet.until_settled().await?;
    report("Prometheus, adapter, HPA", fleet.theirs().await?)
}

struct Fleet {
    stage: Stage,
    sizes: Sizes,
    names: Vec<String>,
}

impl Fleet {
    async fn each<'a, F: Future<Output = Result<()>>>(
        &'a self,
        act: impl Fn(&'a str) -> F,
    ) -> Result<()> {
        stream::iter(&self.names)
            .map(|name| act(name))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Waits until each StatefulSet requests one replica and has it.
    async fn until_settled(&self) -> Result<()> {
        let sets = self.stage.api::<StatefulSet>();
        let settled = |set: &StatefulSet| {
            let status = set.status.clone().unwrap_or_default();
            set.spec.as_ref().and_then(|spec| spec.replicas) == Some(1)
                && (status.replicas, status.ready_replicas) == (1, Some(1))
        };
        wait::until("one replica of each", TIMEOUT, async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(sets
                .list(&kube::api::ListParams::default())
                .await?
                .iter()
                .all(settled)
                .then_some(()))
        })
        .await
    }

    /// Sets the queues of all pods.
    fn waiting(&self, waiting: u64) {
        self.stage.script.set_all(&Page::waiting(waiting));
    }

    /// Returns the time that each StatefulSet took to request three replicas, counted from `began`.
    async fn times(&self, began: Instant) -> Result<Vec<Duration>> {
        let until = self.names.iter().map(|name| self.sizes.until(name, 3, TIMEOUT));
        let times = futures::future::try_join_all(until).await?;
        Ok(times.into_iter().map(|at| at.saturating_duration_since(began)).collect())
    }

    async fn scale_all(&self, replicas: i32) -> Result<()> {
        let sets = &self.stage.api::<StatefulSet>();
        let patch = &Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let scale = |name| async move {
            sets.patch_scale(name, &PatchParams::default(), patch).await?;
            Ok(())
        };
        self.each(scale).await
    }

    async fn write_at_once(&self) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let (times, ()) = tokio::try_join!(self.times(began), self.scale_all(3))?;
        Ok(times)
    }

    async fn ours(&self, interval: u32) -> Result<Vec<Duration>> {
        let spec = json!({
            "sources": [{"scrape": {"intervalSeconds": interval, "timeoutSeconds": 1}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            "podMonitor": {"mode": "Disabled"},
        });
        self.each(|name| self.stage.autoscaler(name, spec.clone())).await?;
        let autoscalers = self.stage.api::<LLMAutoscaler>();
        wait::until("all to be kept", TIMEOUT, async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let all = autoscalers.list(&kube::api::ListParams::default()).await?;
            let mut kept = all.iter().map(|autoscaler| {
                let status = autoscaler.status.clone().unwrap_or_default();
                status.observed_generation == autoscaler.metadata.generation
                    && status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
            });
            Ok(kept.all(|kept| kept).then_some(()))
        })
        .await?;
        // The controllers react to the changes for a while.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let began = Instant::now();
        self.waiting(11);
        let times = self.times(began).await;
        self.waiting(0);
        times
    }

    async fn theirs(&self) -> Result<Vec<Duration>> {
        let _chain = Chain::start(&self.stage).await?;
        self.each(|name| chain::create_hpa(&self.stage, name)).await?;
        for name in &self.names {
            chain::until_active(&self.stage, name).await?;
        }
        let began = Instant::now();
        self.waiting(11);
        let times = self.times(began).await?;
        let hpas = self.stage.api::<HorizontalPodAutoscaler>();
        hpas.delete_collection(&DeleteParams::default(), &kube::api::ListParams::default()).await?;
        Ok(times)
    }
}
