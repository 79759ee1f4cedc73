//! Clients of the two roles.

use std::sync::Arc;

use anyhow::Result;
use llm_autoscaler_testbed::{Load, LoadGenerator, load::Summary};
use tokio::task::JoinHandle;

/// Clients that always have a request in flight, until they are told to stop.
pub struct Clients {
    generator: Arc<LoadGenerator>,
    running: JoinHandle<Summary>,
}

impl Clients {
    /// So many clients of a completions API, with prompts and answers of so many tokens.
    pub fn start(url: &str, clients: usize, prompt: u32, answer: u32) -> Self {
        let load = Load {
            requests: usize::MAX / 2,
            input_tokens: prompt,
            output_tokens: answer,
            concurrency: clients,
            ..Load::default()
        };
        let generator = Arc::new(LoadGenerator::new(url, load));
        let running = generator.clone();
        Self { generator, running: tokio::spawn(async move { running.run().await }) }
    }

    /// No more requests; what is in flight goes on to its end.
    pub fn stop(&self) {
        self.generator.stop();
    }

    /// What came of all requests, when the last one has ended.
    pub async fn end(self) -> Result<Summary> {
        Ok(self.running.await?)
    }
}
