//! A service of emulated engines, and a load of which all is known.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    Emulated, Engine, Front, Load, LoadGenerator, engine::EngineConfig, front::Balance, wait,
};
use serde_json::json;
use tokio::time::sleep;

/// The interval of scrapes.
pub(crate) const SCRAPES: Duration = Duration::from_secs(1);
/// The two loads, one after the other: prompt tokens, generated tokens, and requests in flight.
const LOADS: [(u32, u32, usize); 2] = [(300, 40, 10), (900, 20, 6)];
/// The time for the last scrapes after the load.
const AFTER: Duration = Duration::from_secs(8);

/// The load that was sent, and the time in which that happened.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) from: DateTime<Utc>,
    pub(crate) to: DateTime<Utc>,
    /// The requests of each half.
    pub(crate) halves: [usize; 2],
    /// The time between the two.
    pub(crate) turn: DateTime<Utc>,
}

impl Sent {
    pub(crate) fn requests(&self) -> f64 {
        (self.halves[0] + self.halves[1]) as f64
    }

    pub(crate) fn tokens(&self) -> (f64, f64) {
        let halves = || self.halves.iter().zip(LOADS);
        let of = |tokens: fn((u32, u32, usize)) -> u32| {
            halves().map(|(sent, load)| *sent as f64 * f64::from(tokens(load))).sum()
        };
        (of(|load| load.0), of(|load| load.1))
    }
}

/// Returns the time that the load takes: a minute, or that of the environment.
pub(crate) fn length() -> Duration {
    let seconds = std::env::var("REPLAY_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Creates the StatefulSet `llm` with two emulated engines that are fast enough for the load.
pub(crate) async fn start(stage: &Stage) -> Result<()> {
    let config = EngineConfig { max_num_seqs: 16, ..EngineConfig::default() };
    stage.assign("llm", Engine::Emulated(Emulated { config, ..Emulated::default() }));
    stage.engine("llm", 2).await
}

/// Sends the load: two halves, the second of which has a third replica for a while. `aside` is what
/// else happens meanwhile.
pub(crate) async fn send(
    stage: &Stage,
    length: Duration,
    aside: impl AsyncFn() -> Result<()>,
) -> Result<Sent> {
    let front =
        Front::start(stage.client(), &stage.namespace, "app=llm", Balance::LeastOutstanding)
            .await?;
    let from = Utc::now();
    // The first samples are of idle engines.
    sleep(Duration::from_secs(12)).await;
    let first = half(&front, LOADS[0], length / 2, aside).await?;
    let turn = Utc::now();
    let second = half(&front, LOADS[1], length / 2, async || {
        scale(stage, 3).await?;
        sleep(length / 4).await;
        scale(stage, 2).await
    });
    let halves = [first, second.await?];
    sleep(AFTER).await;
    Ok(Sent { from, to: Utc::now(), halves, turn })
}

/// Keeps requests in flight for this long, and returns their number.
async fn half(
    front: &Front,
    (input_tokens, output_tokens, concurrency): (u32, u32, usize),
    length: Duration,
    aside: impl AsyncFn() -> Result<()>,
) -> Result<usize> {
    let load = Load {
        requests: usize::MAX / 2,
        input_tokens,
        output_tokens,
        concurrency,
        ..Load::default()
    };
    let generator = LoadGenerator::new(&front.url(), load);
    let stop = async {
        sleep(length).await;
        generator.stop();
    };
    let (summary, (), aside) = tokio::join!(generator.run(), stop, aside());
    aside?;
    ensure!(summary.failed == 0, "{:?}", summary.first_failure);
    ensure!(summary.successful > 50, "the engines are too slow: {}", summary.successful);
    Ok(summary.successful)
}

async fn scale(stage: &Stage, replicas: i32) -> Result<()> {
    let patch = json!({"spec": {"replicas": replicas}});
    let sets = stage.api::<StatefulSet>();
    sets.patch("llm", &PatchParams::default(), &Patch::Merge(patch)).await?;
    wait::until("the replicas", Duration::from_mins(1), async || {
        let status = sets.get("llm").await?.status.unwrap_or_default();
        Ok((status.ready_replicas == Some(replicas)).then_some(()))
    })
    .await
}
