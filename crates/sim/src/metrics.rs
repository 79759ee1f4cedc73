use crate::Histogram;

/// The gauges of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Gauges {
    /// The number of requests in the batch.
    pub running: u64,
    /// The number of requests in the queue.
    pub waiting: u64,
    /// The used fraction of the KV cache, from 0 to 1.
    pub kv_usage: f64,
}

/// The reason why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// All requested tokens were generated.
    Length,
    /// The client disconnected.
    Abort,
}

/// The counters and histograms of an engine since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The prompt tokens of all requests that have their first token.
    pub prompt_tokens: u64,
    /// The number of generated tokens.
    pub generation_tokens: u64,
    /// The number of requests that ended with [`FinishReason::Length`].
    pub finished_length: u64,
    /// The number of requests that ended with [`FinishReason::Abort`].
    pub finished_abort: u64,
    /// The number of times that a sequence was sent back to the queue because no KV block was left.
    pub preemptions: u64,
    /// The time from submission to the first token, in seconds.
    pub time_to_first_token: Histogram,
    /// The time between two tokens of a request, in seconds.
    pub inter_token_latency: Histogram,
    /// The time from submission to the last token, in seconds.
    pub e2e_request_latency: Histogram,
    /// The time from submission to the first step, in seconds.
    pub request_queue_time: Histogram,
}

// These are the bounds of vLLM 0.15.1's histograms.
const TTFT_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const ITL_BOUNDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// The bounds of `request_time_per_output_token_seconds`.
pub(crate) const TIME_PER_OUTPUT_TOKEN_BOUNDS: &[f64] = ITL_BOUNDS;
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
    /// Returns the number of requests that ended, for any reason.
    pub fn finished(&self) -> u64 {
        self.finished_length + self.finished_abort
    }
}
