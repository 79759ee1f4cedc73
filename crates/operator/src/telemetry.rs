//! The operator's own metrics.

use std::sync::Arc;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::scrape::ScrapeError;

/// Counts what happens; cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    registry: Arc<Registry>,
    scrapes: Family<ResultLabel, Counter>,
    decisions: Counter,
    scale_writes: Family<ResultLabel, Counter>,
    status_writes: Family<ResultLabel, Counter>,
    autoscalers: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("llm_autoscaler");
        let (scrapes, scale_writes, status_writes) =
            (Family::default(), Family::default(), Family::default());
        let (decisions, autoscalers) = (Counter::default(), Gauge::default());
        registry.register("scrapes", "Pages of pods that were read, by result", scrapes.clone());
        registry.register("decisions", "Decisions that were made", decisions.clone());
        registry.register("scale_writes", "Writes to scale subresources, by result", scale_writes.clone());
        registry.register(
            "status_writes",
            "Writes of LLMAutoscaler status, by result",
            status_writes.clone(),
        );
        registry.register("autoscalers", "LLMAutoscalers that are kept", autoscalers.clone());
        Self { registry: Arc::new(registry), scrapes, decisions, scale_writes, status_writes, autoscalers }
    }
}

impl Telemetry {
    /// A page was read, or not.
    pub fn scraped(&self, error: Option<&ScrapeError>) {
        self.scrapes.get_or_create(&ResultLabel { result: error.map_or("ok", ScrapeError::kind) }).inc();
    }

    /// A decision was made.
    pub fn decided(&self) {
        self.decisions.inc();
    }

    /// A scale was written; `result` is ok, conflict or error.
    pub fn scale_written(&self, result: &'static str) {
        self.scale_writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// A status was written; `result` is ok or error.
    pub fn status_written(&self, result: &'static str) {
        self.status_writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// How many autoscalers there are.
    pub fn set_autoscalers(&self, count: usize) {
        self.autoscalers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The metrics page.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_told_apart() {
        let telemetry = Telemetry::default();
        telemetry.scraped(None);
        telemetry.scraped(Some(&ScrapeError::Status { url: String::new(), status: 500 }));
        let page = telemetry.page();
        assert!(page.contains("llm_autoscaler_scrapes_total{result=\"ok\"} 1"), "{page}");
        assert!(page.contains("llm_autoscaler_scrapes_total{result=\"status\"} 1"), "{page}");
    }
}
