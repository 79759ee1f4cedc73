use std::time::Duration;

use crate::{config::EngineConfig, metrics::Metrics, request::Request};

/// A request inside the engine.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) request: Request,
    submitted_at: Duration,
    admitted_at: Option<Duration>,
    first_token_at: Option<Duration>,
    last_token_at: Option<Duration>,
    generated: u32,
    /// The number of tokens of the context that are in the KV cache.
    computed: u32,
    /// The number of tokens that the current step computes.
    scheduled: u32,
    /// The number of KV blocks that it holds.
    pub(crate) blocks: u32,
}

impl Sequence {
    pub(crate) fn new(request: Request, now: Duration) -> Self {
        Self {
            request,
            submitted_at: now,
            admitted_at: None,
            first_token_at: None,
            last_token_at: None,
            generated: 0,
            computed: 0,
            scheduled: 0,
            blocks: 0,
        }
    }

    /// Returns the length of the context: prompt and generated tokens so far.
    pub(crate) fn context(&self) -> u32 {
        self.request.prompt_tokens + self.generated
    }

    /// Returns the number of tokens that a step with this budget would compute.
    pub(crate) fn wanted(&self, budget: u32) -> u32 {
        (self.context() - self.computed).min(budget)
    }

    /// Returns the number of blocks that are missing before this many more tokens can be computed.
    pub(crate) fn missing_blocks(&self, config: &EngineConfig, tokens: u32) -> u32 {
        config.blocks_for(self.computed + tokens).saturating_sub(self.blocks)
    }

    pub(crate) fn admit(&mut self, now: Duration) {
        self.admitted_at.get_or_insert(now);
    }

    pub(crate) fn schedule(&mut self, tokens: u32) {
        self.scheduled = tokens;
    }

    /// Returns the tokens of the current step that count as prefill: all except the one of a
    /// decoding sequence.
    pub(crate) fn scheduled_prefill(&self) -> u32 {
        let decoding = self.generated > 0 && self.computed + 1 == self.context();
        if decoding { 0 } else { self.scheduled }
    }

    pub(crate) fn is_scheduled(&self) -> bool {
        self.scheduled > 0
    }

    /// Discards the computed context. Returns the number of freed blocks.
    pub(crate) fn preempt(&mut self) -> u32 {
        self.computed = 0;
        self.scheduled = 0;
        std::mem::take(&mut self.blocks)
    }

    /// Ends the step for this sequence. Returns true if it yielded a token.
    pub(crate) fn complete_step(&mut self, at: Duration, metrics: &mut Metrics) -> bool {
        self.computed += std::mem::take(&mut self.scheduled);
        if self.computed < self.context() {
            return false;
        }
        self.generated += 1;
        metrics.generation_tokens += 1;
        self.first_token_at.get_or_insert(at);
        match self.last_token_at.replace(at) {
            None => {
                metrics.prompt_tokens += u64::from(self.request.prompt_tokens);
                let waited = at.saturating_sub(self.submitted_at);
                metrics.time_to_first_token.observe(waited.as_secs_f64());
            }
            Some(previous) => {
                metrics.inter_token_latency.observe(at.saturating_sub(previous).as_secs_f64());
            }
        }
        if self.is_finished() {
            metrics.finished_length += 1;
            let queued = self.admitted_at.unwrap_or(at).saturating_sub(self.submitted_at);
            metrics.request_queue_time.observe(queued.as_secs_f64());
            metrics.e2e_request_latency.observe(at.saturating_sub(self.submitted_at).as_secs_f64());
        }
        true
    }

    /// Returns the mean time between two of the tokens until now; `None` with fewer than two.
    pub(crate) fn time_per_output_token(&self, now: Duration) -> Option<Duration> {
        let gaps = self.generated.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some(now.saturating_sub(self.first_token_at?) / gaps)
    }

    pub(crate) fn is_first_token(&self) -> bool {
        self.generated == 1
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.generated >= self.request.output_tokens
    }
}
