use crate::Histogram;

/// What an engine is doing right now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gauges {
    /// Requests in the batch.
    pub running: u64,
    /// Requests in the queue.
    pub waiting: u64,
    /// Used share of the KV cache, from 0 to 1.
    pub kv_usage: f64,
}

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// All tokens asked for were generated.
    Length,
    /// The client went away.
    Abort,
}

/// What an engine did since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Tokens of the prompts whose first token is out.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generation_tokens: u64,
    /// Requests that ended with [`FinishReason::Length`].
    pub finished_length: u64,
    /// Requests that ended with [`FinishReason::Abort`].
    pub finished_abort: u64,
    /// Sequences sent back to the queue because no KV block was left.
    pub preemptions: u64,
    /// From submission to the first token, in seconds.
    pub time_to_first_token: Histogram,
    /// Between two tokens of a request, in seconds.
    pub inter_token_latency: Histogram,
    /// From submission to the last token, in seconds.
    pub e2e_request_latency: Histogram,
    /// From submission to the first step, in seconds.
    pub request_queue_time: Histogram,
}

// The bounds of vLLM 0.15.1's histograms.
const TTFT_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const ITL_BOUNDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST_BOUNDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            prompt_tokens: 0,
            generation_tokens: 0,
            finished_length: 0,
            finished_abort: 0,
            preemptions: 0,
            time_to_first_token: Histogram::new(TTFT_BOUNDS),
            inter_token_latency: Histogram::new(ITL_BOUNDS),
            e2e_request_latency: Histogram::new(REQUEST_BOUNDS),
            request_queue_time: Histogram::new(REQUEST_BOUNDS),
        }
    }
}

impl Metrics {
    /// Requests that ended, for whatever reason.
    pub fn finished(&self) -> u64 {
        self.finished_length + self.finished_abort
    }
}
