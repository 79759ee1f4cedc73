//! Measures many autoscalers that step at once.
//!
//! Their targets are of a kind that nothing controls, with a pod each that is an object and no
//! more. So the two cores have the autoscalers and the API server to run, and no pods that come and
//! go.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{Cluster, Stage, fleets::Fleets};
use llm_autoscaler_testbed::{PageServer, wait};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    INTERVALS,
    chain::{self, SCRAPED_EVERY, SERIES},
    keda::{self, POLLED_BY_DEFAULT},
    one::spec,
    peers::Peers,
    results::Results,
    sizes::Sizes,
};

/// The namespace of those that are compared with the peers.
pub(crate) const MANY: &str = "many";
/// The namespace of those that have no peers.
pub(crate) const MORE: &str = "more";
/// The timeout of every wait.
const TIMEOUT: Duration = Duration::from_mins(15);
/// The number of requests that this client has in flight at once.
const AT_ONCE: usize = 64;
/// The time for which the controllers react to changes.
const QUIET: Duration = Duration::from_secs(10);

/// Creates `count` targets of one replica in one namespace, and measures each kind of autoscaler in
/// turn.
pub(crate) async fn measure(
    cluster: &Arc<Cluster>,
    peers: &Peers,
    namespace: &str,
    count: usize,
    results: &mut Results,
) -> Result<()> {
    println!("{count} at once; creating as many targets");
    let server = PageServer::start(&page(0))?;
    // More than the operator takes of one namespace by default.
    let limit = format!("--autoscalers-per-namespace={count}");
    let stage = Stage::create_with(cluster.clone(), namespace, &[&limit]).await?;
    let fleets = Fleets::install(&stage, server.port()).await?;
    let (api, names) = (fleets.api(), (0..count).map(|i| format!("e{i}")).collect());
    let crowd =
        Crowd { sizes: Sizes::watch(api.clone(), "size"), api, names, server, stage: &stage };
    // Pods of both namespaces have addresses of their own.
    let first = if namespace == MANY { 0 } else { 100_000 };
    let create = |name| create(&fleets, name, first);
    crowd.each(create).await?;
    tokio::time::sleep(QUIET).await;
    let scenario = &format!("{count} at once");
    if peers.ours {
        results.add(scenario, "bare writes", crowd.write_at_once().await?)?;
        crowd.reset().await?;
        for interval in INTERVALS {
            let title = format!("sampled every {interval} s");
            results.add(scenario, &title, crowd.ours(interval).await?)?;
        }
    }
    if peers.adapter.is_some() {
        results.add(scenario, "Prometheus, adapter, HPA", crowd.chain().await?)?;
    }
    if let Some(prometheus) = peers.keda_url() {
        let title = format!("KEDA, polling every {POLLED_BY_DEFAULT} s");
        results.add(scenario, &title, crowd.keda(prometheus).await?)?;
    }
    Ok(())
}

/// Creates a target with its pod. The name of the pod begins with that of the target.
async fn create(fleets: &Fleets<'_>, name: &str, first: u32) -> Result<()> {
    let number: u32 = name.trim_start_matches('e').parse()?;
    fleets.create(name, 1).await?;
    fleets.create_pod(&format!("{name}-0"), name, first + number).await
}

/// Returns the page of an engine with a queue.
fn page(waiting: u32) -> String {
    format!("# TYPE {SERIES} gauge\n{SERIES}{{engine=\"0\",model_name=\"m\"}} {waiting}\n")
}

/// Targets that step together.
struct Crowd<'a> {
    stage: &'a Stage,
    server: PageServer,
    api: Api<DynamicObject>,
    sizes: Sizes,
    names: Vec<String>,
}

impl Crowd<'_> {
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

    /// Returns the time that each target took to request three replicas after the step.
    async fn step(&self) -> Result<Vec<Duration>> {
        let began = Instant::now();
        self.server.set(&page(11));
        self.times(began).await
    }

    /// Returns the time that each target took to request three replicas, counted from `began`.
    async fn times(&self, began: Instant) -> Result<Vec<Duration>> {
        let until = self.names.iter().map(|name| self.sizes.until(name, 3, TIMEOUT));
        let times = futures::future::try_join_all(until).await?;
        Ok(times.into_iter().map(|at| at.saturating_duration_since(began)).collect())
    }

    async fn scale_all(&self, replicas: i32) -> Result<()> {
        let patch = &Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let scale = |name| async move {
            self.api.patch_scale(name, &PatchParams::default(), patch).await?;
            Ok(())
        };
        self.each(scale).await
    }

    async fn write_at_once(&self) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let (times, ()) = tokio::try_join!(self.times(began), self.scale_all(3))?;
        Ok(times)
    }

    /// Ends a step, once nothing scales the targets any more.
    async fn reset(&self) -> Result<()> {
        self.server.set(&page(0));
        self.scale_all(1).await?;
        for name in &self.names {
            self.sizes.until(name, 1, TIMEOUT).await?;
        }
        tokio::time::sleep(QUIET).await;
        Ok(())
    }

    async fn ours(&self, interval: u32) -> Result<Vec<Duration>> {
        println!("  creating those that sample every {interval} s");
        let mut fields = spec(interval);
        fields["scaleTargetRef"] = kind();
        let create = |name| {
            let mut spec = fields.clone();
            spec["scaleTargetRef"]["name"] = json!(name);
            self.stage.autoscaler(name, spec)
        };
        self.each(create).await?;
        let autoscalers = self.stage.api::<LLMAutoscaler>();
        wait::until("all to be kept", TIMEOUT, async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(autoscalers.list(&ListParams::default()).await?.iter().all(is_ready).then_some(()))
        })
        .await?;
        // The controllers react to the changes for a while.
        tokio::time::sleep(QUIET).await;
        let times = self.step().await?;
        let all = ListParams::default();
        autoscalers.delete_collection(&DeleteParams::default(), &all).await?;
        wait::until("the autoscalers to be gone", TIMEOUT, async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(autoscalers.list(&all).await?.items.is_empty().then_some(()))
        })
        .await?;
        self.reset().await?;
        Ok(times)
    }

    async fn chain(&self) -> Result<Vec<Duration>> {
        println!("  creating HPAs");
        let kind = kind();
        self.each(|name| chain::create_hpa(self.stage, name, &kind)).await?;
        for name in &self.names {
            chain::until_active(self.stage, name).await?;
        }
        println!("  the HPAs are active");
        let times = self.step().await?;
        self.delete_hpas().await?;
        // Prometheus has the old queues until its next scrape.
        tokio::time::sleep(SCRAPED_EVERY).await;
        self.reset().await?;
        Ok(times)
    }

    async fn keda(&self, prometheus: &str) -> Result<Vec<Duration>> {
        println!("  creating ScaledObjects");
        let kind = kind();
        let create = |name| keda::create(self.stage, prometheus, name, &kind, POLLED_BY_DEFAULT);
        self.each(create).await?;
        for name in &self.names {
            keda::until_active(self.stage, name).await?;
        }
        println!("  their HPAs are active");
        self.step().await
    }

    async fn delete_hpas(&self) -> Result<()> {
        let hpas = self.stage.api::<HorizontalPodAutoscaler>();
        hpas.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Ok(())
    }
}

/// Returns a reference to a target, without its name.
fn kind() -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Fleet"})
}

fn is_ready(autoscaler: &LLMAutoscaler) -> bool {
    let status = autoscaler.status.clone().unwrap_or_default();
    status.observed_generation == autoscaler.metadata.generation
        && status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}
