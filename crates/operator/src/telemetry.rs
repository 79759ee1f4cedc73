//! The operator's own metrics, in Prometheus' conventions. `docs/monitoring.md` lists them.
//!
//! The values of labels are `snake_case` words that the callers choose, so that this module knows
//! no other.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use llm_autoscaler_core::ShadowBill;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

/// The upper bounds of the lateness histogram's buckets, in seconds.
const LATENESS_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The operator's own metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Telemetry {
    registry: Arc<Registry>,
    build: Family<BuildLabels, Gauge>,
    scrapes: Family<ResultLabel, Counter>,
    lateness: Histogram,
    queries: Family<ResultLabel, Counter>,
    samples: Family<SourceLabel, Counter>,
    decisions: Family<ResultLabel, Counter>,
    scale_writes: Family<ResultLabel, Counter>,
    withheld: Family<ReasonLabel, Counter>,
    changes: Counter,
    recommended: Family<SizeLabel, Counter<f64, AtomicU64>>,
    status_writes: Family<ResultLabel, Counter>,
    drains: Family<ResultLabel, Counter>,
    panics: Family<TaskLabel, Counter>,
    autoscalers: Gauge,
    watch_age: Family<KindLabel, Gauge<f64, AtomicU64>>,
    memory: Gauge,
    pages: Gauge,
    tasks: Gauge,
    leases: Gauge,
    schema_differences: Family<DifferenceLabel, Gauge>,
    lease_transitions: Family<ResultLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    revision: &'static str,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DifferenceLabel {
    difference: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SizeLabel {
    size: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Registers a metric. A counter's name gets the suffix `_total` when it is exposed.
fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a gauge without labels.
fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    register(registry, name, help, Gauge::default())
}

/// Registers counters, one for each set of labels.
fn counters<L>(registry: &mut Registry, name: &str, help: &str) -> Family<L, Counter>
where
    Family<L, Counter>: Metric + Default,
{
    register(registry, name, help, Family::default())
}

fn build_info(registry: &mut Registry) -> Family<BuildLabels, Gauge> {
    let help = "1, with the version and the commit of the binary as labels";
    register(registry, "build_info", help, Family::default())
}

fn recommendations(registry: &mut Registry) -> Family<SizeLabel, Counter<f64, AtomicU64>> {
    let help = "Replicas of targets with mode Recommend times seconds, by size";
    register(registry, "recommendation_replica_seconds", help, Family::default())
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("llm_autoscaler");
        let all = &mut registry;
        Self {
            build: build_info(all),
            scrapes: counters(all, "scrapes", "Scrapes of metrics pages of pods, by result"),
            lateness: register(
                all,
                "scrape_lateness_seconds",
                "Delay of the start of a scrape after its scheduled time",
                Histogram::new(LATENESS_BUCKETS),
            ),
            queries: counters(all, "queries", "Queries to Prometheus servers, by result"),
            samples: counters(all, "samples", "Samples used by decisions, by source"),
            decisions: counters(
                all,
                "decisions",
                "Decisions on the replicas of targets, by result",
            ),
            scale_writes: counters(all, "scale_writes", "Writes to scale subresources, by result"),
            withheld: counters(
                all,
                "withheld",
                "Decisions to change the replicas of a target that were not written, by reason",
            ),
            changes: register(
                all,
                "changes_by_others",
                "Changes of the replicas of a target that the operator did not make",
                Counter::default(),
            ),
            recommended: recommendations(all),
            status_writes: counters(
                all,
                "status_writes",
                "Writes of the status of LLMAutoscalers, by result",
            ),
            drains: counters(all, "drains", "Scale-downs that drained their pods, by result"),
            panics: counters(
                all,
                "panics",
                "Panics of tasks, which are faults of the operator, by task",
            ),
            autoscalers: gauge(all, "autoscalers", "LLMAutoscalers that the operator reconciles"),
            watch_age: register(
                all,
                "watch_age_seconds",
                "Time since the latest word of a watch, by the kind that is watched",
                Family::default(),
            ),
            memory: gauge(
                all,
                "memory_reserved_bytes",
                "Memory of --memory-budget that pages, answers and windows take",
            ),
            schema_differences: register(
                all,
                "schema_differences",
                "Fields of the resource that the installed CRD lacks, or that only it has",
                Family::default(),
            ),
            pages: gauge(all, "pages", "Metrics pages of pods that the operator scrapes"),
            tasks: gauge(all, "tasks", "Tasks of the operator that have begun and not ended"),
            leases: gauge(all, "leases_held", "Leases that this copy of the operator holds"),
            lease_transitions: counters(
                all,
                "lease_transitions",
                "Leases that this copy of the operator has won or lost, by result",
            ),
            registry: Arc::new(registry),
        }
    }
}

impl Telemetry {
    /// Records the version of the binary, and the commit that it was built from.
    pub(crate) fn record_build(&self, version: &'static str, revision: &'static str) {
        self.build.get_or_create(&BuildLabels { version, revision }).set(1);
    }

    /// Records how much of the budget of memory is reserved, in bytes.
    pub(crate) fn record_reserved_memory(&self, bytes: usize) {
        self.memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a scrape. The result is `ok`, or the kind of the error.
    pub(crate) fn record_scrape(&self, result: &'static str) {
        self.scrapes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Records the delay of the start of a scrape after its scheduled time.
    pub(crate) fn record_lateness(&self, lateness: Duration) {
        self.lateness.observe(lateness.as_secs_f64());
    }

    /// Counts a query to a Prometheus server. The result is `ok`, or the kind of the error.
    pub(crate) fn record_query(&self, result: &'static str) {
        self.queries.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a decision. The result is `computed`, `held`, `no_events`, `no_metrics`,
    /// `no_selector`, `fallback`, `out_of_bounds` or `disabled`.
    pub(crate) fn record_decision(&self, result: &'static str) {
        self.decisions.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts the samples of a source that a decision used. The source is `scrape`, `others` or
    /// `prometheus`.
    pub(crate) fn record_samples(&self, source: &'static str, samples: u64) {
        self.samples.get_or_create(&SourceLabel { source }).inc_by(samples);
    }

    /// Counts a write to a scale subresource. The result is `ok`, `conflict` or `error`.
    pub(crate) fn record_scale_write(&self, result: &'static str) {
        self.scale_writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a decision that was not written. The reason is `paused`, `manual_change`,
    /// `contested` or `paced`.
    pub(crate) fn record_withheld(&self, reason: &'static str) {
        self.withheld.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a change of a target's replicas that the operator did not make.
    pub(crate) fn record_manual_change(&self) {
        self.changes.inc();
    }

    /// Counts the replicas of a target that is only watched, and those that it would have.
    pub(crate) fn record_recommended(&self, bill: &ShadowBill) {
        let sizes = [("actual", bill.actual), ("recommended", bill.recommended)];
        for (size, milliseconds) in sizes {
            let seconds = Duration::from_millis(milliseconds.unsigned_abs()).as_secs_f64();
            self.recommended.get_or_create(&SizeLabel { size }).inc_by(seconds);
        }
    }

    /// Counts a write of a status. The result is `ok` or `error`.
    pub(crate) fn record_status_write(&self, result: &'static str) {
        self.status_writes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a scale-down that drained. The result is `drained`, `deadline` or `cancelled`.
    pub(crate) fn record_drain(&self, result: &'static str) {
        self.drains.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a panic. The task is `autoscaler`, `page`, `prometheus`, `watch`, `event`, `status`,
    /// `pod_monitor`, `pod`, `connection`, `heartbeat`, `credentials` or `lease`.
    pub(crate) fn record_panic(&self, task: &'static str) {
        self.panics.get_or_create(&TaskLabel { task }).inc();
    }

    /// Sets the number of LLMAutoscalers that the operator reconciles.
    pub(crate) fn set_autoscalers(&self, count: usize) {
        self.autoscalers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the time since the latest word of a watch. The kind is `llmautoscalers` or `pods`.
    pub(crate) fn set_watch_age(&self, kind: &'static str, age: Duration) {
        self.watch_age.get_or_create(&KindLabel { kind }).set(age.as_secs_f64());
    }

    /// Sets the number of metrics pages that are scraped.
    pub(crate) fn set_pages(&self, count: usize) {
        self.pages.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the number of the runtime's tasks that are alive.
    pub(crate) fn set_tasks(&self, count: usize) {
        self.tasks.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the number of Leases that this copy of the operator holds.
    pub(crate) fn set_leases_held(&self, count: usize) {
        self.leases.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets the number of fields in which the installed CRD differs. The difference is `missing` or
    /// `unknown`.
    pub(crate) fn set_schema_differences(&self, difference: &'static str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.schema_differences.get_or_create(&DifferenceLabel { difference }).set(count);
    }

    /// Counts a Lease that has changed hands. The result is `acquired`, `lost` or `released`.
    pub(crate) fn record_lease_transition(&self, result: &'static str) {
        self.lease_transitions.get_or_create(&ResultLabel { result }).inc();
    }

    /// Returns the metrics page in Prometheus' text format.
    pub(crate) fn page(&self) -> String {
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
    fn each_result_has_a_counter() {
        let telemetry = Telemetry::default();
        telemetry.record_scrape("ok");
        telemetry.record_scrape("status");
        let page = telemetry.page();
        assert!(page.contains("llm_autoscaler_scrapes_total{result=\"ok\"} 1"), "{page}");
        assert!(page.contains("llm_autoscaler_scrapes_total{result=\"status\"} 1"), "{page}");
    }

    #[test]
    fn the_build_is_told_by_labels() {
        let telemetry = Telemetry::default();
        telemetry.record_build("1.2.3", "0123456789ab");
        let page = telemetry.page();
        let series = "llm_autoscaler_build_info{version=\"1.2.3\",revision=\"0123456789ab\"} 1\n";
        assert!(page.contains(series), "{page}");
    }

    #[test]
    fn every_metric_is_documented_with_its_labels() {
        let telemetry = Telemetry::default();
        telemetry.record_build("1.2.3", "0123456789ab");
        telemetry.record_scrape("ok");
        telemetry.record_query("ok");
        telemetry.record_decision("computed");
        telemetry.record_samples("scrape", 1);
        telemetry.record_scale_write("ok");
        telemetry.record_withheld("paused");
        telemetry.record_recommended(&ShadowBill::default());
        telemetry.record_status_write("ok");
        telemetry.record_drain("drained");
        telemetry.record_panic("page");
        telemetry.record_lease_transition("acquired");
        telemetry.set_schema_differences("missing", 1);
        telemetry.set_watch_age("pods", Duration::ZERO);
        let page = telemetry.page();
        let documented = include_str!("../../../docs/monitoring.md");
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let series = line.split(' ').next().unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let suffixes = ["_bucket", "_sum", "_count"];
            let name = suffixes.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let row = documented.lines().find(|row| row.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("{name} is not in docs/monitoring.md"));
            let label = labels.split('=').next().filter(|label| !matches!(*label, "" | "le"));
            assert!(label.is_none_or(|label| row.contains(&format!("`{label}`"))), "{row}");
        }
    }
}
