//! The observation of the SLO mode: the replicas of a target with the latest page of each.

/// The state of a target at one time. Times are seconds of one monotonic clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SloObservation {
    /// The time of the step.
    pub now: f64,
    /// The requested replicas (`spec.replicas`).
    pub requested: u32,
    /// The requests in a gateway's queue that no replica has; `None` if no source says.
    pub queued: Option<f64>,
    /// The replicas, those that start and those that terminate included.
    pub replicas: Vec<SloReplica>,
}

/// A replica with its latest sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloReplica {
    /// A number that no other replica of the target has had.
    pub id: u64,
    /// The time since its creation in seconds.
    pub age: f64,
    /// Its state.
    pub state: ServingState,
    /// Its latest sample; `None` if there has been none, which is not zero.
    pub sample: Option<EngineSample>,
}

/// The state of a replica towards requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingState {
    /// It has never been ready.
    Starting,
    /// It is ready.
    Serving,
    /// It is not ready, has been ready before, or will not become ready by waiting.
    Unready,
    /// Its deletion has begun.
    Terminating,
}

/// The numbers of one metrics page. Counters begin at zero with the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineSample {
    /// The time at which the engine had these numbers.
    pub at: f64,
    /// The requests in the queue.
    pub waiting: f64,
    /// The requests in the batch.
    pub running: f64,
    /// The tokens in the KV cache; `None` if the page does not say.
    pub kv_tokens: Option<f64>,
    /// The tokens that the KV cache holds; `None` if the page does not say.
    pub kv_capacity: Option<f64>,
    /// Counter: the prompt tokens of requests with a first token.
    pub prompt_tokens: f64,
    /// Counter: those of them that a prefix cache had.
    pub cached_tokens: f64,
    /// Counter: the generated tokens.
    pub generated_tokens: f64,
    /// Counter: the requests that have got their first token.
    pub first_tokens: f64,
    /// Counter: the requests that ended, for any reason.
    pub finished: f64,
    /// Counter: the steps of the engine (`_count` of vLLM's `iteration_tokens_total`).
    pub steps: f64,
    /// Counter: the finished requests that were late; `None` if no bucket can say.
    pub late: Option<f64>,
}

impl EngineSample {
    /// Returns the requests that the engine has accepted since its start.
    pub(super) fn accepted(&self) -> f64 {
        self.finished + self.running + self.waiting
    }

    /// Returns true if a counter is below that of an earlier sample, as after a restart.
    pub(super) fn has_restarted_since(&self, earlier: &Self) -> bool {
        self.finished < earlier.finished
            || self.generated_tokens < earlier.generated_tokens
            || self.steps < earlier.steps
    }
}
