//! llm-d's token-aware recipe: seconds of prefill backlog and the fullness of KV caches, by KEDA.
//!
//! Reference: llm-d/llm-d at 04c0115b, `guides/workload-autoscaling/keda-epp-token-aware`, the
//! co-located topology: max(ceil(backlog seconds / 1.5), ceil(sum of KV usage / 0.8)); an HPA with
//! one pod more in 180 s, and one less in 300 s after 300 s. The backlog is that of the engines'
//! queues times the mean prompt. The throughput of prefill is the profile's own, as its calibration
//! would measure it. The knob is the KV usage 0.8: where no requests wait, it alone decides.

use super::super::{
    Autoscaler, Limits, Step, Timing,
    behavior::{Behavior, Rate},
};
use crate::sight::Sight;

const BACKLOG_SECONDS: f64 = 1.5;
const UP_RATE: Rate = Rate { pods: 1.0, percent: 0.0, period: 180.0 };
const DOWN_RATE: Rate = Rate { pods: 1.0, percent: 0.0, period: 300.0 };

/// The recipe.
#[derive(Debug)]
pub(crate) struct TokenAware {
    /// The KV usage that a replica is to have.
    kv_usage: f64,
    /// The prompt tokens that a replica computes in a second.
    prefill_rate: f64,
    behavior: Behavior,
}

impl TokenAware {
    pub(crate) fn new(kv_usage: f64, prefill_rate: f64, limits: Limits) -> Self {
        let behavior = Behavior::new(limits, (0.0, UP_RATE), (300.0, DOWN_RATE));
        Self { kv_usage, prefill_rate, behavior }
    }
}

impl Autoscaler for TokenAware {
    fn timing(&self) -> Timing {
        Timing { scrape_every: 15.0, decide_every: 15.0, decides_on_scrapes: false }
    }

    fn step(&mut self, sight: &Sight<'_>) -> Step {
        if sight.serving().next().is_none() {
            return Step::default();
        }
        let waiting: u64 = sight.serving().map(|(_, page)| page.gauges.waiting).sum();
        let (requests, tokens) = sight.arrived;
        let mean_prompt = tokens as f64 / (requests as f64).max(1.0);
        let backlog = (waiting as f64 + sight.queued as f64) * mean_prompt / self.prefill_rate;
        let kv: f64 = sight.serving().map(|(_, page)| page.gauges.kv_usage).sum();
        let wanted = (backlog / BACKLOG_SECONDS).ceil().max((kv / self.kv_usage).ceil());
        let size = self.behavior.size(sight.now, sight.requested, wanted);
        Step { size: Some(size), ..Step::default() }
    }
}
