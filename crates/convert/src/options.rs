//! Facts that are not in the input.

use llm_autoscaler_engines::Engine;

/// Facts that are not in the input.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The address of the Prometheus server that the metrics adapter queries.
    pub prometheus_url: Option<String>,
    /// The engine of the targets, where their metrics do not tell it.
    pub engine: Option<Engine>,
    /// The results have `mode: Recommend`.
    pub recommend: bool,
}
