//! The real HPA on the operator's metrics beside the same HPA on those of Prometheus and
//! prometheus-adapter: the time from a step of the load to the write of the size. The times are
//! told and not judged, because they depend on the machine.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use k8s_openapi::api::{apps::v1::StatefulSet, autoscaling::v2::HorizontalPodAutoscaler};
use kube::api::{DeleteParams, ListParams};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::wait;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    chain,
    setting::{serve, unregister},
    sizes::Sizes,
};

/// The number of targets, which step independently of each other. Each HPA keeps its phase to the
/// scrapes, so that more targets, and not more steps, make a mean over phases.
const TARGETS: usize = 12;
/// The time that a look of the HPA may take, its metric and its write included.
const MARGIN: Duration = Duration::from_secs(2);
/// The timeout of a step.
const TIMEOUT: Duration = Duration::from_mins(5);

/// The HPA looks every 15 s, as by default.
pub(crate) async fn hpa_by_default(stage: &Stage) -> Result<String> {
    race(stage, Duration::from_secs(15), 3).await
}

/// The HPA looks every second.
pub(crate) async fn hpa_each_second(stage: &Stage) -> Result<String> {
    race(stage, Duration::from_secs(1), 3).await
}

async fn race(stage: &Stage, period: Duration, steps: usize) -> Result<String> {
    let names: Vec<String> = (0..TARGETS).map(|target| format!("e{target}")).collect();
    let sizes = Sizes::of_stateful_sets(stage);
    for name in &names {
        stage.waiting(name, 0);
        stage.engine(name, 1).await?;
        stage.autoscaler(name, json!({"mode": "Recommend"})).await?;
    }
    serve(stage).await?;
    let ours = phase(stage, &sizes, &names, period, steps).await?;
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    hpas.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    stage.operator.kill();
    unregister(stage).await?;
    let prometheus = chain::start_prometheus(stage.control_plane(), &[&stage.namespace]).await?;
    let _adapter = chain::start_adapter(stage.control_plane(), &prometheus).await?;
    let theirs = phase(stage, &sizes, &names, period, steps).await?;
    let (ours, theirs) = (Times::of(ours, period), Times::of(theirs, period));
    Ok(format!(
        "HPA every {} s: on the operator's metrics {ours}; on Prometheus (every 15 s) and the \
         adapter {theirs}; {:.1} x faster at the median, {:.1} x on average",
        period.as_secs(),
        theirs.median / ours.median,
        theirs.mean / ours.mean,
    ))
}

/// The times of steps, in seconds.
struct Times {
    median: f64,
    mean: f64,
    longest: f64,
    /// The number of steps that the HPA's next look did not notice yet.
    late: usize,
    count: usize,
}

impl Times {
    fn of(mut times: Vec<Duration>, period: Duration) -> Self {
        times.sort();
        let late = times.iter().filter(|time| **time > period + MARGIN).count();
        let mean = times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64;
        let at = |index: usize| times[index.min(times.len() - 1)].as_secs_f64();
        Self {
            median: at(times.len() / 2),
            mean,
            longest: at(times.len()),
            late,
            count: times.len(),
        }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { median, mean, longest, late, count } = self;
        write!(
            f,
            "median {median:.2} s, mean {mean:.2} s, longest {longest:.2} s, {late} of {count} \
             steps after the HPA's next look"
        )
    }
}

/// Creates an HPA for each target, and lets all of them step up and back. Returns the times up.
async fn phase(
    stage: &Stage,
    sizes: &Sizes,
    names: &[String],
    period: Duration,
    steps: usize,
) -> Result<Vec<Duration>> {
    for name in names {
        chain::create_hpa(stage, name, &chain::stateful_set()).await?;
    }
    for name in names {
        chain::until_active(stage, name).await?;
    }
    let all = names.iter().map(|name| series(stage, sizes, name, period, steps));
    Ok(try_join_all(all).await?.concat())
}

async fn series(
    stage: &Stage,
    sizes: &Sizes,
    name: &str,
    period: Duration,
    steps: usize,
) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(steps);
    for _ in 0..steps {
        sizes.until(name, 1, TIMEOUT).await?;
        let sets = stage.api::<StatefulSet>();
        wait::until(&format!("one replica of {name}"), TIMEOUT, async || {
            let status = sets.get(name).await?.status.unwrap_or_default();
            Ok((status.replicas == 1 && status.ready_replicas == Some(1)).then_some(()))
        })
        .await?;
        // Steps begin at a random moment of the period.
        tokio::time::sleep(period + period.mul_f64(fastrand::f64())).await;
        let began = Instant::now();
        stage.waiting(name, 11);
        times.push(sizes.until(name, 3, TIMEOUT).await? - began);
        stage.waiting(name, 0);
    }
    Ok(times)
}
