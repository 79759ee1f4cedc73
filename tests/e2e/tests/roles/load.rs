//! The clients of the two roles.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use futures::future::try_join_all;
use llm_autoscaler_testbed::{Load, LoadGenerator, load::Summary};
use tokio::task::JoinHandle;

/// The time within which all clients start.
const ARRIVAL: Duration = Duration::from_secs(4);

/// Clients that always have a request in flight, until they are stopped.
pub(crate) struct Clients(Vec<(Arc<LoadGenerator>, JoinHandle<Summary>)>);

/// The results of their requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub answered: usize,
    pub failed: usize,
    pub first_failure: Option<String>,
}

impl Clients {
    /// Starts `clients` clients of a completions API, with prompts and answers of about this many
    /// tokens. They start at different times, and the lengths differ by client, so that requests do
    /// not come in bursts.
    pub(crate) fn start(url: &str, clients: u32, prompt: u32, answer: u32) -> Self {
        let client = |number: u32| {
            let load = Load {
                requests: usize::MAX / 2,
                input_tokens: about(prompt, number, clients),
                output_tokens: about(answer, number, clients),
                concurrency: 1,
                seed: number.into(),
                ..Load::default()
            };
            let generator = Arc::new(LoadGenerator::new(url, load));
            let running = generator.clone();
            // The start times have another order than the lengths.
            let delay = ARRIVAL * (number * 7 % clients) / clients;
            let task = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                running.run().await
            });
            (generator, task)
        };
        Self((0..clients).map(client).collect())
    }

    /// Stops sending requests; the requests in flight go on to their end.
    pub(crate) fn stop(&self) {
        self.0.iter().for_each(|(generator, _)| generator.stop());
    }

    /// Waits for the requests in flight, and returns the results of all requests.
    pub(crate) async fn end(mut self) -> Result<Outcome> {
        let running = std::mem::take(&mut self.0);
        let mut outcome = Outcome::default();
        for summary in try_join_all(running.into_iter().map(|(_, task)| task)).await? {
            outcome.answered += summary.successful;
            outcome.failed += summary.failed;
            outcome.first_failure = outcome.first_failure.or(summary.first_failure);
        }
        Ok(outcome)
    }
}

/// Without this the clients of a failed scenario would never stop.
impl Drop for Clients {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Varies a length by client: from a quarter less for the first to a quarter more for the last.
fn about(tokens: u32, number: u32, clients: u32) -> u32 {
    (tokens * 3 / 4 + tokens * number / (2 * clients)).max(1)
}
