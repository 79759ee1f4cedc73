//! The clients of one StatefulSet.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use llm_autoscaler_e2e::Stage;
use llm_autoscaler_testbed::{
    Front, Load, LoadGenerator,
    engine::{Emulated, Engine, EngineConfig},
    front::Balance,
    load::Summary,
};
use tokio::task::JoinHandle;

/// How long an answer takes.
pub const REQUEST: Duration = Duration::from_secs(30);
/// A token comes every two seconds, to all requests of a replica at once.
const STEP: Duration = Duration::from_secs(2);
const TOKENS: u32 = 15;
const CLIENTS: u64 = 5;

/// An engine that answers so slowly, however much it has to do.
pub fn engine() -> Engine {
    let config = EngineConfig {
        step_base: STEP,
        step_per_sequence: Duration::ZERO,
        ..EngineConfig::default()
    };
    Engine::Emulated(Emulated { config, ..Emulated::default() })
}

/// The clients of one StatefulSet, and its Service's address.
pub struct Busy {
    _front: Front,
    clients: Vec<(Arc<LoadGenerator>, JoinHandle<Summary>)>,
}

impl Busy {
    /// Lets them ask from now on, each one request after the other.
    pub async fn start(stage: &Stage, name: &str) -> Result<Self> {
        let labels = format!("app={name}");
        let front =
            Front::start(stage.client(), &stage.namespace, &labels, Balance::LeastOutstanding)
                .await?;
        let clients = (0..CLIENTS).map(|seed| client(&front.url(), seed)).collect();
        Ok(Self { _front: front, clients })
    }

    /// Lets the requests in flight end. Returns how many were answered and how many were not, and why the first was not.
    pub async fn stop(self) -> (usize, usize, Option<String>) {
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

fn client(url: &str, seed: u64) -> (Arc<LoadGenerator>, JoinHandle<Summary>) {
    let load = Load {
        requests: 1_000_000,
        input_tokens: 10,
        output_tokens: TOKENS,
        concurrency: 1,
        seed,
        ..Load::default()
    };
    let generator = Arc::new(LoadGenerator::new(url, load));
    let running = generator.clone();
    // Not all at once.
    let delay = REQUEST.mul_f64(fastrand::f64());
    let task = tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        running.run().await
    });
    (generator, task)
}
