//! A hundred scale-downs under load, with `drain` and without: which requests are cut off?
//!
//! 25 StatefulSets shrink from five replicas to one, a replica at a time, while five clients keep each busy through its Service's
//! address with requests of 30 s. Pods end 5 s after they are told to, as engines do that do not wait for requests.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    Front, Load, LoadGenerator,
    engine::{Emulated, Engine, EngineConfig},
    front::Balance,
    wait,
};
use serde_json::json;

use crate::gated;

const SETS: u32 = 25;
const REPLICAS: u32 = 5;
const CLIENTS: u64 = 5;
/// Time to end, in seconds.
const GRACE: i64 = 5;
const DEADLINE: i32 = 120;
/// A token comes every two seconds, to all requests of a replica at once.
const STEP: Duration = Duration::from_secs(2);
const TOKENS: u32 = 15;
const REQUEST: Duration = Duration::from_secs(30);

/// What came of one of the two runs.
struct Outcome {
    scale_downs: u64,
    answered: usize,
    cut_off: usize,
    first: Option<String>,
    late: u64,
    /// From the first scale-down to the last.
    took: Duration,
}

/// The table, and no request cut off with `drain`.
pub async fn a_hundred_scale_downs(stage: &Stage) -> Result<String> {
    gated::permit(stage).await?;
    let drained = run(stage, "with", true).await?;
    let plain = run(stage, "without", false).await?;
    let mut table = String::from(
        "\n    |                            | with drain | without drain |\n    |---|---|---|\n",
    );
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        let _ = writeln!(table, "    | {name:<26} | {:>10} | {:>13} |", of(&drained), of(&plain));
    };
    row("scale-downs", &|outcome| outcome.scale_downs.to_string());
    row("requests answered", &|outcome| outcome.answered.to_string());
    row("requests cut off", &|outcome| outcome.cut_off.to_string());
    row("ended by the deadline", &|outcome| format!("{} %", 100 * outcome.late / outcome.scale_downs.max(1)));
    row("seconds from 5 to 1", &|outcome| outcome.took.as_secs().to_string());
    println!("{table}");
    ensure!(drained.scale_downs == 100, "{table}");
    ensure!(drained.cut_off == 0, "{}{table}", drained.first.unwrap_or_default());
    ensure!(20 * drained.late <= drained.scale_downs, "{table}");
    Ok(format!("{table}\n    without drain the first failed with: {}", plain.first.unwrap_or_default()))
}

async fn run(stage: &Stage, prefix: &str, drains: bool) -> Result<Outcome> {
    let names: Vec<String> = (0..SETS).map(|number| format!("{prefix}-{number}")).collect();
    let config =
        EngineConfig { step_base: STEP, step_per_sequence: Duration::ZERO, ..EngineConfig::default() };
    stage.assign(prefix, Engine::Emulated(Emulated { config, ..Emulated::default() }));
    try_join_all(names.iter().map(|name| set(stage, name, drains))).await?;
    for name in &names {
        stage.until_ready_within(name, REPLICAS.cast_signed(), Duration::from_mins(2)).await?;
    }
    let loads = try_join_all(names.iter().map(|name| Busy::start(stage, name))).await?;
    // Until everybody has sent a request, and some have been answered.
    tokio::time::sleep(REQUEST + REQUEST / 6).await;

    let late = gated::drains(stage, "deadline").await?;
    let began = Instant::now();
    try_join_all(names.iter().map(|name| keep(stage, name, 1, drains))).await?;
    wait::until("all to be scaled to 1", Duration::from_mins(9), async || {
        // Not as often as could be: the machine is busy.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sizes = try_join_all(names.iter().map(|name| stage.replicas(name))).await?;
        Ok(sizes.iter().all(|size| *size == 1).then_some(()))
    })
    .await?;
    let took = began.elapsed();
    // Whatever was removed last is gone by then, and its requests with it.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let ended = join_all(loads.into_iter().map(Busy::stop)).await;
    let scale_downs = names.len() as u64 * u64::from(REPLICAS - 1);
    let late = gated::drains(stage, "deadline").await? - late;
    let answered = ended.iter().map(|(answered, ..)| answered).sum();
    let cut_off = ended.iter().map(|(_, cut_off, _)| cut_off).sum();
    let first = ended.into_iter().find_map(|(.., first)| first);
    try_join_all(names.iter().map(|name| stage.delete_engine(name))).await?;
    Ok(Outcome { scale_downs, answered, cut_off, first, late, took })
}

async fn set(stage: &Stage, name: &str, drains: bool) -> Result<()> {
    keep(stage, name, REPLICAS, drains).await?;
    gated::create(stage, name, REPLICAS, GRACE).await
}

/// One replica is enough for ten requests, and there are five; they go one at a time.
async fn keep(stage: &Stage, name: &str, min: u32, drains: bool) -> Result<()> {
    let down = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]});
    let mut spec = json!({
        "minReplicas": min,
        "maxReplicas": REPLICAS,
        "metrics": [{"signal": "InFlightRequests", "target": {"type": "AverageValue", "averageValue": "10"}}],
        "behavior": {"scaleDown": down},
    });
    if drains {
        spec["drain"] = json!({"deadlineSeconds": DEADLINE});
    }
    stage.autoscaler(name, spec).await
}

/// The clients of one StatefulSet, and its Service's address.
struct Busy {
    _front: Front,
    clients: Vec<(Arc<LoadGenerator>, tokio::task::JoinHandle<llm_autoscaler_testbed::load::Summary>)>,
}

impl Busy {
    async fn start(stage: &Stage, name: &str) -> Result<Self> {
        let front =
            Front::start(stage.client(), &stage.namespace, &format!("app={name}"), Balance::LeastOutstanding)
                .await?;
        let client = |seed: u64| {
            let load = Load {
                requests: 1_000_000,
                input_tokens: 10,
                output_tokens: TOKENS,
                concurrency: 1,
                seed,
                ..Load::default()
            };
            let generator = Arc::new(LoadGenerator::new(&front.url(), load));
            let running = generator.clone();
            // Not all at once.
            let delay = REQUEST.mul_f64(fastrand::f64());
            let task = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                running.run().await
            });
            (generator, task)
        };
        let clients = (0..CLIENTS).map(client).collect();
        Ok(Self { _front: front, clients })
    }

    /// Lets the requests in flight end. Returns how many were answered and how many were not, and why the first was not.
    async fn stop(self) -> (usize, usize, Option<String>) {
        self.clients.iter().for_each(|(generator, _)| generator.stop());
        let mut total = (0, 0, None);
        for (_, task) in self.clients {
            if let Ok(summary) = task.await {
                total.0 += summary.successful;
                total.1 += summary.failed;
                total.2 = total.2.or(summary.first_failure);
            }
        }
        total
    }
}
