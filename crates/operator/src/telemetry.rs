//! The operator's own metrics, in Prometheus' conventions. `docs/monitoring.md` lists them.
//!
//! The values of labels are the `snake_case` words of `values`, each with its series from the
//! start. Names, labels and values are public, and are not changed without a word in the changelog.

mod autoscaler_states;
mod bill;
mod families;
mod metrics;
mod text_format;
mod values;

use std::{sync::Arc, time::Duration};

use llm_autoscaler_core::{ReplicaReason, ShadowBill};
use prometheus_client::{encoding::text, metrics::gauge::Gauge, registry::Registry};

use crate::telemetry::{autoscaler_states::AutoscalerStates, metrics::Metrics};

pub(crate) use crate::telemetry::{
    autoscaler_states::{ConditionState, Detail, StateEntry, TargetSizes},
    values::WriteKind,
};

/// The operator's own metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    autoscalers: AutoscalerStates,
}

/// A format of the metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new(Detail::Totals)
    }
}

/// Returns a count as the value of a gauge.
fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Telemetry {
    /// Registers the metrics.
    pub(crate) fn new(detail: Detail) -> Self {
        let mut registry = Registry::with_prefix("llm_autoscaler");
        let metrics = Arc::new(Metrics::register(&mut registry));
        let autoscalers = AutoscalerStates::new(detail);
        registry.register_collector(Box::new(autoscalers.clone()));
        Self { registry: Arc::new(registry), metrics, autoscalers }
    }

    /// Adds an autoscaler to the metrics of conditions and sizes.
    pub(crate) fn add_autoscaler(&self, namespace: String, name: String) -> StateEntry {
        self.autoscalers.add(namespace, name)
    }

    /// Records the version of the binary, and the commit that it was built from.
    pub(crate) fn record_build(&self, version: &'static str, revision: &'static str) {
        let labels = [("version", version), ("revision", revision)];
        self.metrics.build.get_or_create(&labels).set(1);
    }

    /// Records how much of the budget of memory is reserved, in bytes.
    pub(crate) fn record_reserved_memory(&self, bytes: usize) {
        self.metrics.sampling.memory.set(gauge_value(bytes));
    }

    /// Counts a scrape. The result is `ok`, or the kind of the error.
    pub(crate) fn record_scrape(&self, result: &'static str) {
        self.metrics.sampling.scrapes.add(result, 1);
    }

    /// Records the duration of a scrape.
    pub(crate) fn record_scrape_duration(&self, duration: Duration) {
        self.metrics.sampling.scrape_duration.observe(duration.as_secs_f64());
    }

    /// Records the delay of the start of a scrape after its scheduled time.
    pub(crate) fn record_scrape_lateness(&self, lateness: Duration) {
        self.metrics.sampling.scrape_lateness.observe(lateness.as_secs_f64());
    }

    /// Counts a query to a Prometheus server. The result is `ok`, or the kind of the error.
    pub(crate) fn record_query(&self, result: &'static str) {
        self.metrics.sampling.queries.add(result, 1);
    }

    /// Records the duration of a query to a Prometheus server.
    pub(crate) fn record_query_duration(&self, duration: Duration) {
        self.metrics.sampling.query_duration.observe(duration.as_secs_f64());
    }

    /// Records the delay of an autoscaler's tick after its scheduled time.
    pub(crate) fn record_tick_lateness(&self, lateness: Duration) {
        self.metrics.deciding.tick_lateness.observe(lateness.as_secs_f64());
    }

    /// Records the duration of a step.
    pub(crate) fn record_step(&self, duration: Duration) {
        self.metrics.deciding.step_duration.observe(duration.as_secs_f64());
    }

    /// Counts a decision. The result is `computed`, `held`, `no_events`, `no_metrics`,
    /// `no_selector`, `fallback`, `out_of_bounds` or `disabled`.
    pub(crate) fn record_decision(&self, result: &'static str) {
        self.metrics.deciding.decisions.add(result, 1);
    }

    /// Counts the samples of a source that a decision used. The source is `scrape`, `others` or
    /// `prometheus`.
    pub(crate) fn record_samples(&self, source: &'static str, samples: u64) {
        self.metrics.deciding.samples.add(source, samples);
    }

    /// Records the age of the oldest sample of a metric, which its first sample's source is named
    /// for.
    pub(crate) fn record_sample_age(&self, source: &'static str, age: Duration) {
        self.metrics.deciding.sample_age.observe(source, age);
    }

    /// Counts a change of size that was written. `values::RESCALE_REASONS` has the reasons.
    pub(crate) fn record_rescale(&self, from: i32, to: i32, reason: &'static str) {
        let direction = if to > from { "up" } else { "down" };
        self.metrics.deciding.rescales.add([direction, reason], 1);
    }

    /// Counts a write to a scale subresource. The result is `ok`, `conflict` or `error`.
    pub(crate) fn record_scale_write(&self, result: &'static str) {
        self.metrics.writing.scale_writes.add(result, 1);
    }

    /// Counts a decision that was not written. The reason is `paused`, `manual_change`,
    /// `contested` or `paced`.
    pub(crate) fn record_withheld(&self, reason: &'static str) {
        self.metrics.deciding.withheld.add(reason, 1);
    }

    /// Counts a change of a target's replicas that the operator did not make.
    pub(crate) fn record_manual_change(&self) {
        self.metrics.deciding.changes.inc();
    }

    /// Counts the replicas of a target that is only watched, and those that it would have.
    pub(crate) fn record_recommended(&self, bill: &ShadowBill) {
        self.metrics.bill.add_recommended(bill);
    }

    /// Counts a write of a status. The result is `ok`, `conflict` or `error`.
    pub(crate) fn record_status_write(&self, result: &'static str) {
        self.metrics.writing.status_writes.add(result, 1);
    }

    /// Counts a request that changes something. The result is `ok`, `conflict`, `refused`, `error`
    /// or `no_permit`.
    pub(crate) fn record_write(&self, kind: WriteKind, result: &'static str, duration: Duration) {
        let writing = &self.metrics.writing;
        writing.writes.add([kind.name(), result], 1);
        writing.duration.observe(kind.name(), duration);
    }

    /// Counts a scale-down that drained. The result is `drained`, `deadline` or `cancelled`.
    pub(crate) fn record_drain(&self, result: &'static str) {
        self.metrics.deciding.drains.add(result, 1);
    }

    /// Counts a panic. `values::TASKS` has the tasks.
    pub(crate) fn record_panic(&self, task: &'static str) {
        self.metrics.process.panics.add(task, 1);
    }

    /// Sets the number of LLMAutoscalers that the operator reconciles.
    pub(crate) fn set_autoscalers(&self, count: usize) {
        self.metrics.process.autoscalers.set(gauge_value(count));
    }

    /// Counts an LLMAutoscaler that was decided on, until the entry is dropped.
    pub(crate) fn count_decided(&self) -> DecidedEntry {
        self.metrics.process.decided.inc();
        DecidedEntry(self.metrics.process.decided.clone())
    }

    /// Sets the time since the latest word of a watch. The kind is `llmautoscalers` or `pods`.
    pub(crate) fn set_watch_age(&self, kind: &'static str, age: Duration) {
        let series = self.metrics.process.watch_age.get_or_create(&[("kind", kind)]);
        series.set(age.as_secs_f64());
    }

    /// Sets the number of metrics pages that are scraped.
    pub(crate) fn set_pages(&self, count: usize) {
        self.metrics.sampling.pages.set(gauge_value(count));
    }

    /// Sets the number of the runtime's tasks that are alive.
    pub(crate) fn set_tasks(&self, count: usize) {
        self.metrics.process.tasks.set(gauge_value(count));
    }

    /// Sets the number of Leases that this copy of the operator holds.
    pub(crate) fn set_leases_held(&self, count: usize) {
        self.metrics.process.leases.set(gauge_value(count));
    }

    /// Sets the number of fields in which the installed CRD differs. The difference is `missing` or
    /// `unknown`.
    pub(crate) fn set_schema_differences(&self, difference: &'static str, count: usize) {
        let labels = [("difference", difference)];
        self.metrics.process.schema_differences.get_or_create(&labels).set(gauge_value(count));
    }

    /// Counts a Lease that has changed hands. The result is `acquired`, `lost` or `released`.
    pub(crate) fn record_lease_transition(&self, result: &'static str) {
        self.metrics.process.lease_transitions.add(result, 1);
    }

    /// Adds to the time of replicas that exist for a reason, and to that of their GPUs; in seconds.
    pub(crate) fn record_bill(&self, reason: ReplicaReason, replicas: f64, gpus: f64) {
        self.metrics.bill.add(reason, replicas, gpus);
    }

    /// Returns the metrics page.
    pub(crate) fn page(&self, format: PageFormat) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut page, &self.registry);
        match format {
            PageFormat::OpenMetrics => page,
            PageFormat::Text => text_format::from_open_metrics(&page),
        }
    }
}

/// An LLMAutoscaler that was decided on, in the metrics until dropped.
#[derive(Debug)]
pub(crate) struct DecidedEntry(Gauge);

impl Drop for DecidedEntry {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
