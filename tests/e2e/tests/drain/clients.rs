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

/// The duration of the usual request.
pub(crate) const REQUEST: Duration = Duration::from_secs(30);
/// The duration of a request with a long answer.
pub(crate) const LONG_REQUEST: Duration = Duration::from_secs(100);
/// The time between two tokens, which all requests of a replica get at once.
const STEP: Duration = Duration::from_secs(2);
const TOKENS: u32 = 15;
const LONG_TOKENS: u32 = 50;
const CLIENTS: usize = 5;

/// Returns an engine that answers this slowly under any load. `shutdown_timeout` is the longest
/// time that its requests may take after SIGTERM.
pub(crate) fn engine(shutdown_timeout: Option<Duration>) -> Engine {
    let config = EngineConfig {
        step_base: STEP,
        step_per_sequence: Duration::ZERO,
        ..EngineConfig::default()
    };
    Engine::Emulated(Emulated { config, shutdown_timeout, ..Emulated::default() })
}

/// The clients of one StatefulSet, and its Service's address.
pub(crate) struct Clients {
    _front: Front,
    clients: Vec<(Arc<LoadGenerator>, JoinHandle<Summary>)>,
}

impl Clients {
    /// Starts the clients, which each send one request after the other.
    pub(crate) async fn start(stage: &Stage, name: &str) -> Result<Self> {
        Self::start_each(stage, name, [TOKENS; CLIENTS]).await
    }

    /// Does the same. The requests of the last client have long answers.
    pub(crate) async fn start_with_long(stage: &Stage, name: &str) -> Result<Self> {
        let mut tokens = [TOKENS; CLIENTS];
        tokens[CLIENTS - 1] = LONG_TOKENS;
        Self::start_each(stage, name, tokens).await
    }

    async fn start_each(stage: &Stage, name: &str, tokens: [u32; CLIENTS]) -> Result<Self> {
        let labels = format!("app={name}");
        let front =
            Front::start(stage.client(), &stage.namespace, &labels, Balance::LeastOutstanding)
                .await?;
        let clients = (0..).zip(tokens).map(|(seed, tokens)| client(&front.url(), seed, tokens));
        let clients = clients.collect();
        Ok(Self { _front: front, clients })
    }

    /// Stops the clients and waits for their requests in flight. Returns the numbers of answered
    /// and failed requests, and the first error.
    pub(crate) async fn stop(self) -> (usize, usize, Option<String>) {
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

fn client(url: &str, seed: u64, output_tokens: u32) -> (Arc<LoadGenerator>, JoinHandle<Summary>) {
    let load = Load {
        requests: 1_000_000,
        input_tokens: 10,
        output_tokens,
        concurrency: 1,
        seed,
        ..Load::default()
    };
    let generator = Arc::new(LoadGenerator::new(url, load));
    let running = generator.clone();
    // The clients start at random times.
    let delay = REQUEST.mul_f64(fastrand::f64());
    let task = tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        running.run().await
    });
    (generator, task)
}
