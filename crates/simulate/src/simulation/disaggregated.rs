//! A service of which some replicas compute prompts, and others generate the answers.
//!
//! ```text
//! Request ──> prefill: the prompt ──KV cache──> decode: the answer ──Finished──> Score
//! ```

use super::{Progress, Run, Scenario};
use crate::{policy::RoleAutoscaler, score::Outcome};

/// The tokens of a KV cache that are transferred in a second: those of Qwen3-32B, of 256 KiB each
/// (64 layers, 8 KV heads of 128 numbers, keys and values of two bytes), at 400 Gbit/s.
const TOKENS_PER_SECOND: f64 = 190_000.0;

/// The transfer of a KV cache from a replica of prefill to one of decode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transfer {
    /// The time that each transfer takes at least, in seconds.
    pub latency: f64,
    /// The tokens that are transferred in a second. Transfers do not delay each other.
    pub tokens_per_second: f64,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { latency: 0.005, tokens_per_second: TOKENS_PER_SECOND }
    }
}

impl Transfer {
    /// Returns the duration of a transfer, in seconds.
    pub(crate) fn duration(self, tokens: u32) -> f64 {
        self.latency + f64::from(tokens) / self.tokens_per_second.max(1.0)
    }
}

/// A scenario with replicas that compute prompts only, and those that generate the answers.
///
/// A request gets the replica of decode with the fewest requests when its KV cache has been
/// transferred, and its first token then too. Both have the engine of the scenario.
#[derive(Debug, Clone)]
pub struct Disaggregated {
    /// The load, the replicas of prefill, and everything that both have.
    pub scenario: Scenario,
    /// The replicas of decode at the start, all of them ready.
    pub decode_replicas: u32,
    /// The transfer between them.
    pub transfer: Transfer,
}

impl Disaggregated {
    /// Runs the scenario under an autoscaler of two roles: prefill, and decode. `watch` is called
    /// at each moment of its timeline. Sizes of the outcome are sums of both.
    pub fn run(
        &self,
        autoscaler: &mut dyn RoleAutoscaler,
        watch: &mut dyn FnMut(Progress),
    ) -> Outcome {
        Run::new(&self.scenario, Some(self), autoscaler).run(autoscaler, watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_takes_its_latency_and_the_time_of_its_tokens() {
        let transfer = Transfer { latency: 0.01, tokens_per_second: 100_000.0 };
        assert!((transfer.duration(0) - 0.01).abs() < 1e-12);
        assert!((transfer.duration(5_000) - 0.06).abs() < 1e-12);
    }
}
