use std::time::Duration;

/// The speed and the capacity of an engine.
///
/// The default is the small CPU vLLM that the project measures against, slowed down by a sleep of
/// 20 ms in each step. With prompts of 1500 tokens, answers of 100 and 20 requests in flight, one
/// replica runs 8 requests, queues 12 and serves 2.4 requests a second.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// The largest number of sequences that run at once (vLLM's `--max-num-seqs`).
    pub max_num_seqs: usize,
    /// The largest number of tokens computed in one step, for prefill and decode together (vLLM's
    /// `--max-num-batched-tokens`).
    pub max_batched_tokens: u32,
    /// The number of prompt tokens computed per second.
    pub prefill_tokens_per_second: f64,
    /// The least duration of a step.
    pub step_base: Duration,
    /// The time that each sequence adds to a step.
    pub step_per_sequence: Duration,
    /// The number of KV cache blocks. As in vLLM, the engine reserves one of them, which never
    /// holds a sequence.
    pub kv_blocks: u32,
    /// The number of tokens in a KV cache block.
    pub block_size: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_num_seqs: 8,
            max_batched_tokens: 2048,
            prefill_tokens_per_second: 10_000.0,
            step_base: Duration::from_millis(17),
            step_per_sequence: Duration::from_micros(500),
            kv_blocks: 128,
            block_size: 128,
        }
    }
}

impl EngineConfig {
    /// Returns an engine whose step takes 45 ms and 0.8 ms for each sequence, or one that is
    /// `speed` times as fast: a law that is known where an engine has to be learned.
    #[must_use]
    pub fn of_speed(speed: u32) -> Self {
        Self {
            max_num_seqs: 128,
            prefill_tokens_per_second: 8_000.0 * f64::from(speed),
            step_base: Duration::from_millis(45) / speed,
            step_per_sequence: Duration::from_micros(800) / speed,
            kv_blocks: 4_096,
            ..Self::default()
        }
    }

    /// Returns the number of blocks that sequences can use.
    pub fn usable_blocks(&self) -> u32 {
        self.kv_blocks.saturating_sub(1)
    }

    /// Returns the number of blocks that hold the given number of tokens.
    pub fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_size.max(1))
    }

    /// Returns the duration of a step that computes `prefill_tokens` of prompts and serves
    /// `sequences` sequences.
    ///
    /// It is never zero, so that virtual time always advances.
    pub fn step_time(&self, sequences: u32, prefill_tokens: u32) -> Duration {
        let prefill = f64::from(prefill_tokens) / self.prefill_tokens_per_second;
        let step = self.step_base
            + self.step_per_sequence * sequences
            + Duration::try_from_secs_f64(prefill).unwrap_or(Duration::ZERO);
        step.max(Duration::from_micros(1))
    }
}
