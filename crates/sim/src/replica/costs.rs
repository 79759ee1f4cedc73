//! The speed and the capacity of a replica.

/// The coefficients of a step's duration, and the limits of the scheduler.
///
/// A step takes `base + per_prefill_token × prompt tokens + per_sequence × decoding sequences +
/// per_kv_token × tokens in the KV cache`, in seconds. It is linear because prefill is bound by
/// arithmetic, and decoding by the memory that weights and KV cache are read from.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaConfig {
    /// The duration of a step with nothing to do.
    pub base: f64,
    /// The time that each prompt token adds.
    pub per_prefill_token: f64,
    /// The time that each decoding sequence adds.
    pub per_sequence: f64,
    /// The time that each token in the KV cache adds.
    pub per_kv_token: f64,
    /// The number of tokens that the KV cache holds.
    pub kv_tokens: u64,
    /// The largest number of tokens computed in one step (vLLM's `--max-num-batched-tokens`).
    pub max_batched_tokens: u64,
    /// The largest number of sequences that run at once (vLLM's `--max-num-seqs`).
    pub max_num_seqs: usize,
}

impl ReplicaConfig {
    /// Returns the duration of a step, which is never zero, so that virtual time always advances.
    pub fn step_time(&self, prefill: u64, sequences: u64, kv_tokens: u64) -> f64 {
        let step = self.base
            + self.per_prefill_token * prefill as f64
            + self.per_sequence * sequences as f64
            + self.per_kv_token * kv_tokens as f64;
        step.max(1e-6)
    }

    /// Returns the time that the prefill of a prompt takes on an idle replica.
    pub fn prefill_time(&self, tokens: u64) -> f64 {
        let steps = tokens.div_ceil(self.max_batched_tokens.max(1)).max(1);
        self.base * steps as f64 + self.per_prefill_token * tokens as f64
    }
}
