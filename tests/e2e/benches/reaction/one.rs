//! Measures autoscalers that step one at a time, again and again.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use llm_autoscaler_e2e::{Cluster, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    INTERVALS,
    chain::{self, SCRAPED_EVERY},
    keda::{self, POLLED_BY_DEFAULT},
    peers::Peers,
    results::Results,
    sizes::Sizes,
};

/// The namespace.
pub(crate) const NAMESPACE: &str = "one";
/// The timeout of a step.
const TIMEOUT: Duration = Duration::from_mins(5);
/// The number of targets that have the steps of a peer in turn, so that a run ends in minutes. Each
/// has an autoscaler of its own, and steps by itself.
const TARGETS: usize = 10;

/// A kind of autoscaler, and the targets that have its steps in turn.
struct Series {
    title: String,
    /// The names of its targets begin with this.
    prefix: String,
    targets: usize,
    /// The polling interval: steps begin at a random moment of it.
    interval: Duration,
    autoscaler: Autoscaler,
}

#[derive(Clone, Copy)]
enum Autoscaler {
    /// Ours, with an interval in seconds.
    Ours(u32),
    Hpa,
    /// KEDA's, with a polling interval in seconds.
    Keda(u32),
}

/// Runs all series side by side; they hardly influence each other.
pub(crate) async fn measure(
    cluster: &Arc<Cluster>,
    peers: &Peers,
    steps: usize,
    results: &mut Results,
) -> Result<()> {
    println!("one at a time, {steps} steps each");
    let stage = &Stage::create(cluster.clone(), NAMESPACE).await?;
    let sizes = &Sizes::of_stateful_sets(stage);
    let all = all(peers);
    let running = all.iter().map(|series| async move {
        let steps = steps.div_ceil(series.targets);
        let targets = (0..series.targets).map(|number| {
            let name = format!("{}-{number}", series.prefix);
            series.steps_of(stage, sizes, peers, name, steps)
        });
        let times = try_join_all(targets).await?.concat();
        println!("  {}: done", series.title);
        Ok::<_, anyhow::Error>((series.title.clone(), times))
    });
    for (title, times) in try_join_all(running).await? {
        results.add(NAMESPACE, &title, times)?;
    }
    Ok(())
}

/// Returns what is measured.
fn all(peers: &Peers) -> Vec<Series> {
    let mut all = Vec::new();
    for interval in INTERVALS.into_iter().filter(|_| peers.ours) {
        all.push(Series {
            title: format!("sampled every {interval} s"),
            prefix: format!("every-{interval}"),
            // As many as end in some three minutes.
            targets: interval as usize,
            interval: Duration::from_secs(interval.into()),
            autoscaler: Autoscaler::Ours(interval),
        });
    }
    let peer = |title: String, prefix: String, autoscaler| Series {
        title,
        prefix,
        targets: TARGETS,
        interval: SCRAPED_EVERY,
        autoscaler,
    };
    if peers.adapter.is_some() {
        all.push(peer("Prometheus, adapter, HPA".into(), "hpa".into(), Autoscaler::Hpa));
    }
    for polled in [POLLED_BY_DEFAULT, 1].into_iter().filter(|_| peers.keda.is_some()) {
        let title = format!("KEDA, polling every {polled} s");
        all.push(peer(title, format!("keda-{polled}"), Autoscaler::Keda(polled)));
    }
    all
}

impl Series {
    /// Creates a target with its autoscaler. It steps up and back `steps` times. Returns the time
    /// that each step up took.
    async fn steps_of(
        &self,
        stage: &Stage,
        sizes: &Sizes,
        peers: &Peers,
        name: String,
        steps: usize,
    ) -> Result<Vec<Duration>> {
        stage.waiting(&name, 0);
        stage.create_engine(&name, 1).await?;
        self.autoscaler.create(stage, peers, &name).await?;
        let mut times = Vec::with_capacity(steps);
        for _ in 0..steps {
            until_settled(stage, sizes, &name).await?;
            let rest = self.interval + self.interval.mul_f64(fastrand::f64());
            tokio::time::sleep(rest).await;
            let began = Instant::now();
            stage.waiting(&name, 11);
            times.push(sizes.until(&name, 3, TIMEOUT).await? - began);
            stage.waiting(&name, 0);
        }
        Ok(times)
    }
}

impl Autoscaler {
    /// Creates it, and returns when it reads its metric.
    async fn create(self, stage: &Stage, peers: &Peers, name: &str) -> Result<()> {
        let kind = chain::stateful_set();
        match self {
            Self::Ours(interval) => {
                stage.autoscaler(name, spec(interval)).await?;
                stage.until_condition(name, "Ready", "True", "Scaling").await?;
            }
            Self::Hpa => {
                chain::create_hpa(stage, name, &kind).await?;
                chain::until_active(stage, name).await?;
            }
            Self::Keda(polled) => {
                let prometheus = peers.keda_url().unwrap_or_default();
                keda::create(stage, prometheus, name, &kind, polled).await?;
                keda::until_active(stage, name).await?;
            }
        }
        Ok(())
    }
}

/// Returns the fields of an autoscaler of ours with an interval in seconds.
pub(crate) fn spec(interval: u32) -> Value {
    json!({
        "sources": [{"scrape": {"intervalSeconds": interval, "timeoutSeconds": 1}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        "podMonitor": {"mode": "Disabled"},
    })
}

/// Waits until one replica is requested and exists.
async fn until_settled(stage: &Stage, sizes: &Sizes, name: &str) -> Result<()> {
    sizes.until(name, 1, TIMEOUT).await?;
    let sets = stage.api::<StatefulSet>();
    wait::until(&format!("one replica of {name}"), TIMEOUT, async || {
        let status = sets.get(name).await?.status.unwrap_or_default();
        Ok((status.replicas == 1 && status.ready_replicas == Some(1)).then_some(()))
    })
    .await
}
