//! A job, on its way through a replica.

use crate::Metrics;

/// A request as a replica sees it. Times are seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// The time at which the client sent it.
    pub arrived_at: f64,
    /// The time of its first token, if another replica has computed the prompt.
    pub first_token_at: Option<f64>,
    /// The length of the prompt in tokens.
    pub prompt_tokens: u32,
    /// The prompt tokens to compute: those that no prefix cache has. 0 if another replica has
    /// computed the prompt.
    pub prefill_tokens: u32,
    /// The number of tokens to generate; at least one is generated.
    pub output_tokens: u32,
}

/// A job that is complete.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished {
    /// The job.
    pub job: Job,
    /// The time of its first token.
    pub first_token_at: f64,
    /// The time of its last token.
    pub finished_at: f64,
}

impl Finished {
    /// Returns the time from arrival to the first token, in seconds.
    pub fn time_to_first_token(&self) -> f64 {
        self.first_token_at - self.job.arrived_at
    }

    /// Returns the mean time between two tokens, in seconds; `None` for a single token.
    pub fn inter_token_latency(&self) -> Option<f64> {
        let gaps = self.job.output_tokens.max(1) - 1;
        (gaps > 0).then(|| (self.finished_at - self.first_token_at) / f64::from(gaps))
    }
}

impl Job {
    /// Returns the length of the context when the last token is there.
    pub(super) fn context_at_end(&self) -> u64 {
        u64::from(self.prompt_tokens) + u64::from(self.output_tokens.max(1))
    }
}

/// A job inside the replica.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    job: Job,
    first_token_at: Option<f64>,
    /// The time of its latest token, if it has been preempted since.
    preempted_at: Option<f64>,
    /// The time of its first admission.
    admitted_at: Option<f64>,
    /// The tokens of its context: prompt and generated tokens, without those since it began to
    /// decode.
    pub(super) context: u64,
    pub(super) prefill_left: u64,
    /// The tokens to generate, from when it began to decode.
    pub(super) output_left: u64,
    /// The prompt tokens of the current step.
    pub(super) scheduled: u64,
    /// The place in the order of admissions.
    pub(super) admission: u64,
}

impl Sequence {
    pub(super) fn new(job: Job) -> Self {
        Self {
            job,
            first_token_at: job.first_token_at,
            preempted_at: None,
            admitted_at: None,
            context: u64::from(job.prompt_tokens.max(1)),
            prefill_left: match job.first_token_at {
                Some(_) => 0,
                None => u64::from(job.prefill_tokens.max(1)),
            },
            output_left: match job.first_token_at {
                Some(_) => u64::from(job.output_tokens.max(2) - 1),
                None => u64::from(job.output_tokens.max(1)),
            },
            scheduled: 0,
            admission: 0,
        }
    }

    pub(super) fn admit(&mut self, admission: u64, now: f64) {
        self.admission = admission;
        self.admitted_at.get_or_insert(now);
    }

    /// Leaves the batch: its whole context is to be computed again.
    pub(super) fn recompute(&mut self) {
        self.prefill_left = self.context;
        self.scheduled = 0;
    }

    /// Accounts for the tokens since it began to decode, of which so many are left.
    pub(super) fn stop_decoding(&mut self, left: u64, now: f64) {
        self.context += self.output_left - left;
        self.output_left = left;
        self.preempted_at = (left > 0).then_some(now);
    }

    /// Yields the token that completes a prefill.
    pub(super) fn yield_token(&mut self, now: f64, metrics: &mut Metrics) {
        self.output_left -= 1;
        if let Some(latest) = self.preempted_at.take() {
            metrics.inter_token_latency.observe(now - latest);
        }
        if self.first_token_at.is_none() {
            self.first_token_at = Some(now);
            metrics.prompt_tokens += u64::from(self.job.prompt_tokens);
            metrics.time_to_first_token.observe(now - self.job.arrived_at);
        }
    }

    /// Returns the prompt tokens that its first token adds to those that were not computed.
    pub(super) fn cached_tokens(&self) -> u64 {
        let Job { prompt_tokens, prefill_tokens, .. } = self.job;
        if self.first_token_at.is_some() {
            return 0;
        }
        u64::from(prompt_tokens.saturating_sub(prefill_tokens))
    }

    pub(super) fn finish(&self, now: f64, metrics: &mut Metrics) -> Finished {
        metrics.finished_length += 1;
        metrics.e2e_request_latency.observe(now - self.job.arrived_at);
        let admitted_at = self.admitted_at.unwrap_or(now);
        metrics.request_queue_time.observe(admitted_at - self.job.arrived_at);
        let first_token_at = self.first_token_at.unwrap_or(now);
        Finished { job: self.job, first_token_at, finished_at: now }
    }
}
