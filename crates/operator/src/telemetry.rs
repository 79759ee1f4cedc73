//! The operator's own metrics.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Bounds of how late a read may begin, in seconds.
const LATENESS: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Counts what happens; cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    registry: Arc<Registry>,
    scrapes: Family<ResultLabel, Counter>,
    lateness: Histogram,
    queries: Family<ResultLabel, Counter>,
    samples: Family<SourceLabel, Counter>,
    decisions: Family<ResultLabel, Counter>,
    scale_writes: Family<ResultLabel, Counter>,
    withheld: Family<ReasonLabel, Counter>,
    changes: Counter,
    status_writes: Family<ResultLabel, Counter>,
    drains: Family<ResultLabel, Counter>,
    autoscalers: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: &'static str,
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("llm_autoscaler");
        let (scrapes, queries, samples, decisions, scale_writes, status_writes) = (
            Family::default(),
            Family::default(),
            Family::default(),
            Family::default(),
            Family::default(),
            Family::default(),
        );
        let (lateness, autoscalers) = (Histogram::new(LATENESS), Gauge::default());
        let (withheld, changes) = (Family::default(), Counter::default());
        registry.register("scrapes", "Pages of pods that were read, by result", scrapes.clone());
        registry.register(
            "scrape_lateness_seconds",
            "How much later than planned the read of a page began",
            lateness.clone(),
        );
        registry.register("queries", "Queries to Prometheus servers, by result", queries.clone());
        registry.register(
            "samples",
            "Samples that decisions were made of, by their source",
            samples.clone(),
        );
        registry.register(
            "decisions",
            "Decisions that were made, by what they rest on",
            decisions.clone(),
        );
        registry.register(
            "scale_writes",
            "Writes to scale subresources, by result",
            scale_writes.clone(),
        );
        registry.register(
            "withheld",
            "Decisions to change a size that were not carried out, by what stood in the way",
            withheld.clone(),
        );
        registry.register(
            "changes_by_others",
            "Changes of a target's size by somebody else",
            changes.clone(),
        );
        registry.register(
            "status_writes",
            "Writes of LLMAutoscaler status, by result",
            status_writes.clone(),
        );
        let drains = Family::default();
        registry.register(
            "drains",
            "Scale-downs that were drained, by how that ended",
            drains.clone(),
        );
        registry.register("autoscalers", "LLMAutoscalers that are kept", autoscalers.clone());
        let registry = Arc::new(registry);
        Self {
            registry,
            scrapes,
            lateness,
            queries,
            samples,
            decisions,
            scale_writes,
            withheld,
            changes,
            status_writes,
            drains,
            autoscalers,
        }
    }
}

impl Telemetry {
    /// Counts a scrape; `result` is ok, or the kind of its error.
    pub fn record_scrape(&self, result: &'static str) {
        self.scrapes.get_or_create(&ResultLabel { result }).inc();
    }

    /// The read of a page began this much later than planned.
    pub fn record_lateness(&self, by: Duration) {
        self.lateness.observe(by.as_secs_f64());
    }

    /// Counts a query to a Prometheus server; `result` is ok, or the kind of its error.
    pub fn record_query(&self, result: &'static str) {
        self.queries.get_or_create(&ResultLabel { result }).inc();
    }

    /// A decision was made; `result` is computed, held, silent, blind, fallback or bounds.
    pub fn record_decision(&self, result: &'static str) {
        self.decisions.get_or_create(&ResultLabel { result }).inc();
    }

    /// So many samples of a source went into a decision; `source` is scrape, others or prometheus.
    pub fn record_samples(&self, source: &'static str, samples: u64) {
        self.samples.get_or_create(&SourceLabel { source }).inc_by(samples);
    }

    /// A scale was written; `result` is ok, conflict or error.
    pub fn record_scale_write(&self, result: &'static str) {
        self.scale_writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// A size was to be changed, and was not; `reason` is paused or respected.
    pub fn record_withheld(&self, reason: &'static str) {
        self.withheld.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Somebody else has changed a size.
    pub fn record_manual_change(&self) {
        self.changes.inc();
    }

    /// A status was written; `result` is ok or error.
    pub fn record_status_write(&self, result: &'static str) {
        self.status_writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// A scale-down was drained; `result` is drained, deadline or cancelled.
    pub fn record_drain(&self, result: &'static str) {
        self.drains.get_or_create(&ResultLabel { result }).inc();
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
        telemetry.record_scrape("ok");
        telemetry.record_scrape("status");
        let page = telemetry.page();
        assert!(page.contains("llm_autoscaler_scrapes_total{result=\"ok\"} 1"), "{page}");
        assert!(page.contains("llm_autoscaler_scrapes_total{result=\"status\"} 1"), "{page}");
    }
}
