//! A load generator with a closed loop, and its summary.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use serde_json::json;

/// The parameters of a load. The default is a usual benchmark run: 400 prompts of 1500 tokens, 100
/// tokens of output each, 20 requests in flight.
#[derive(Debug, Clone)]
pub struct Load {
    /// The total number of requests.
    pub requests: usize,
    /// The number of tokens of each prompt.
    pub input_tokens: u32,
    /// The number of tokens of each answer.
    pub output_tokens: u32,
    /// The number of requests in flight at any time.
    pub concurrency: usize,
    /// The seed of the prompts' random tokens.
    pub seed: u64,
    /// The model's name.
    pub model: String,
    /// An exclusive upper bound of token ids, below the size of the model's vocabulary.
    pub vocabulary: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            requests: 400,
            input_tokens: 1500,
            output_tokens: 100,
            concurrency: 20,
            seed: 0,
            model: "qwen3-32b".to_owned(),
            vocabulary: 256,
        }
    }
}

/// Sends a [`Load`] to a completions API.
#[derive(Debug, Clone)]
pub struct LoadGenerator {
    url: String,
    load: Load,
    sent: Arc<AtomicUsize>,
    results: Arc<Mutex<Results>>,
}

#[derive(Debug, Default)]
struct Results {
    failures: Vec<String>,
    first_token: Vec<f64>,
    between_tokens: Vec<f64>,
    whole: Vec<f64>,
    output_tokens: u64,
}

/// The times of one answer, in seconds since its request.
struct Answer {
    tokens: Vec<f64>,
    end: f64,
}

impl LoadGenerator {
    /// Creates a generator for the API at `url`, which has no slash at its end.
    pub fn new(url: &str, load: Load) -> Self {
        Self {
            url: format!("{url}/v1/completions"),
            load,
            sent: Arc::default(),
            results: Arc::default(),
        }
    }

    /// Sends all requests and waits for all answers.
    pub async fn run(&self) -> Summary {
        let started = Instant::now();
        let client = crate::http_client();
        join_all((0..self.load.concurrency).map(|_| self.work(&client))).await;
        self.summary(started.elapsed())
    }

    /// Returns the number of requests that were answered or have failed so far.
    pub fn done(&self) -> usize {
        self.read(|results| results.whole.len() + results.failures.len())
    }

    /// Returns the error of the first request that failed.
    pub fn first_failure(&self) -> Option<String> {
        self.read(|results| results.failures.first().cloned())
    }

    /// Stops sending requests; the requests in flight still finish.
    pub fn stop(&self) {
        self.sent.store(self.load.requests, Ordering::Relaxed);
    }

    /// Runs one client: it sends a request at a time until none are left.
    async fn work(&self, client: &reqwest::Client) {
        loop {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            if number >= self.load.requests {
                return;
            }
            let answer = self.ask(client, number as u64).await;
            self.read(|results| match answer {
                Ok(answer) => results.add(&answer),
                Err(error) => results.failures.push(format!("{error:#}")),
            });
        }
    }

    async fn ask(&self, client: &reqwest::Client, number: u64) -> Result<Answer> {
        let mut random =
            fastrand::Rng::with_seed(self.load.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let prompt: Vec<_> =
            (0..self.load.input_tokens).map(|_| random.u32(0..self.load.vocabulary)).collect();
        let body = json!({
            "model": self.load.model,
            "prompt": prompt,
            "max_tokens": self.load.output_tokens,
            "ignore_eos": true,
            "stream": true,
        });
        let started = Instant::now();
        let request = client
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body.to_string());
        let mut response = request.send().await.context("sending a request")?;
        ensure!(response.status().is_success(), "the answer is {}", response.status());
        let (mut tokens, mut line, mut complete) = (Vec::new(), Vec::new(), false);
        while let Some(chunk) = response.chunk().await.context("reading an answer")? {
            let now = started.elapsed().as_secs_f64();
            for byte in chunk {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                match Line::read(&line) {
                    Line::Token => tokens.push(now),
                    Line::Done => complete = true,
                    Line::Other => {}
                }
                line.clear();
            }
        }
        ensure!(complete, "the answer ended after {} tokens, before [DONE]", tokens.len());
        let end = started.elapsed().as_secs_f64();
        Ok(Answer { tokens, end })
    }

    fn read<T>(&self, read: impl FnOnce(&mut Results) -> T) -> T {
        read(&mut self.results.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn summary(&self, duration: Duration) -> Summary {
        self.read(|results| Summary {
            successful: results.whole.len(),
            failed: results.failures.len(),
            first_failure: results.failures.first().cloned(),
            duration: duration.as_secs_f64(),
            output_tokens: results.output_tokens,
            first_token: Quantiles::of(&mut results.first_token),
            between_tokens: Quantiles::of(&mut results.between_tokens),
            whole: Quantiles::of(&mut results.whole),
        })
    }
}

/// A parsed line of server-sent events.
enum Line {
    Token,
    Done,
    Other,
}

impl Line {
    fn read(line: &[u8]) -> Self {
        let Some(data) = line.strip_prefix(b"data: ") else {
            return Self::Other;
        };
        if data.starts_with(b"[DONE]") {
            return Self::Done;
        }
        let event: serde_json::Value = serde_json::from_slice(data).unwrap_or_default();
        match event["choices"][0]["text"].as_str() {
            Some(text) if !text.is_empty() => Self::Token,
            _ => Self::Other,
        }
    }
}

impl Results {
    fn add(&mut self, answer: &Answer) {
        self.first_token.extend(answer.tokens.first());
        self.between_tokens.extend(answer.tokens.windows(2).map(|pair| pair[1] - pair[0]));
        self.output_tokens += answer.tokens.len() as u64;
        self.whole.push(answer.end);
    }
}

/// The mean, the median and the 99th percentile, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quantiles {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Quantiles {
    /// Computes the quantiles; all are zero if there are no values.
    fn of(values: &mut [f64]) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let rank = (quantile * values.len() as f64).ceil() as usize;
            values.get(rank.max(1) - 1).copied().unwrap_or_default()
        };
        Self {
            mean: values.iter().sum::<f64>() / values.len().max(1) as f64,
            p50: at(0.5),
            p99: at(0.99),
        }
    }
}

/// The results of a load. Its display is a table as benchmark tools print it.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The number of requests that were answered in full.
    pub successful: usize,
    /// The number of requests that failed.
    pub failed: usize,
    /// The error of the first failed request.
    pub first_failure: Option<String>,
    /// The duration of the whole load, in seconds.
    pub duration: f64,
    /// The number of tokens received.
    pub output_tokens: u64,
    /// The time to the first token.
    pub first_token: Quantiles,
    /// The time between two tokens.
    pub between_tokens: Quantiles,
    /// The time to the end of the answer.
    pub whole: Quantiles,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<38}{:>10}", "Successful requests:", self.successful)?;
        writeln!(f, "{:<38}{:>10}", "Failed requests:", self.failed)?;
        if let Some(failure) = &self.first_failure {
            writeln!(f, "  the first failure: {failure}")?;
        }
        let mut figure = |name: &str, value: f64| writeln!(f, "{name:<38}{value:>10.2}");
        figure("Duration (s):", self.duration)?;
        figure("Request throughput (req/s):", self.successful as f64 / self.duration)?;
        figure("Output token throughput (tok/s):", self.output_tokens as f64 / self.duration)?;
        for (name, times) in [
            ("Time to first token", self.first_token),
            ("Inter-token latency", self.between_tokens),
            ("End-to-end latency", self.whole),
        ] {
            figure(&format!("{name}, mean (ms):"), times.mean * 1e3)?;
            figure(&format!("{name}, median (ms):"), times.p50 * 1e3)?;
            figure(&format!("{name}, p99 (ms):"), times.p99 * 1e3)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_observed_values() {
        let mut values: Vec<_> = (1..=100).rev().map(f64::from).collect();
        let quantiles = Quantiles::of(&mut values);
        assert_eq!((quantiles.p50, quantiles.p99, quantiles.mean), (50.0, 99.0, 50.5));
        assert_eq!(Quantiles::of(&mut []), Quantiles::default());
    }
}
