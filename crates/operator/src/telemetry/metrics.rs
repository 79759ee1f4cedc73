//! The metrics with their names, their help and their labels.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::telemetry::{
    bill::BillMetrics,
    families::{Counters, Histograms, PairCounters, gauge, register},
    values::{
        DECISION_RESULTS, DIRECTIONS, DRAIN_RESULTS, LEASE_RESULTS, QUERY_RESULTS, RESCALE_REASONS,
        SCALE_RESULTS, SCRAPE_RESULTS, SOURCES, TASKS, WITHHELD_REASONS, WRITE_RESULTS, WriteKind,
    },
};

/// A gauge with fractions.
type Fraction = Gauge<f64, AtomicU64>;

/// The upper bounds of the buckets of durations that should be short, in seconds.
const SHORT: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
/// The upper bounds of the buckets of durations of requests, in seconds.
const REQUESTS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
/// The upper bounds of the buckets of ages of samples, in seconds.
const AGES: [f64; 9] = [0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

fn short() -> Histogram {
    Histogram::new(SHORT)
}

fn requests() -> Histogram {
    Histogram::new(REQUESTS)
}

fn ages() -> Histogram {
    Histogram::new(AGES)
}

/// The labels of the metric about the build.
pub(super) type Build = Family<[(&'static str, &'static str); 2], Gauge>;

/// The operator's own metrics, except for those of each autoscaler.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) build: Build,
    pub(super) sampling: SamplingMetrics,
    pub(super) deciding: DecidingMetrics,
    pub(super) writing: WritingMetrics,
    pub(super) process: ProcessMetrics,
    pub(super) bill: BillMetrics,
}

/// Metrics of the loop that scrapes and queries.
#[derive(Debug)]
pub(super) struct SamplingMetrics {
    pub(super) scrapes: Counters,
    pub(super) scrape_duration: Histogram,
    pub(super) scrape_lateness: Histogram,
    pub(super) queries: Counters,
    pub(super) query_duration: Histogram,
    pub(super) pages: Gauge,
    pub(super) memory: Gauge,
}

/// Metrics of the loop that decides.
#[derive(Debug)]
pub(super) struct DecidingMetrics {
    pub(super) tick_lateness: Histogram,
    pub(super) step_duration: Histogram,
    pub(super) samples: Counters,
    pub(super) sample_age: Histograms,
    pub(super) decisions: Counters,
    pub(super) withheld: Counters,
    pub(super) changes: Counter,
    pub(super) drains: Counters,
    pub(super) rescales: PairCounters,
}

/// Metrics of the requests that change something.
#[derive(Debug)]
pub(super) struct WritingMetrics {
    pub(super) scale_writes: Counters,
    pub(super) status_writes: Counters,
    pub(super) writes: PairCounters,
    pub(super) duration: Histograms,
}

/// Metrics of this copy of the operator.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    pub(super) autoscalers: Gauge,
    pub(super) decided: Gauge,
    pub(super) watch_age: Family<[(&'static str, &'static str); 1], Fraction>,
    pub(super) tasks: Gauge,
    pub(super) panics: Counters,
    pub(super) leases: Gauge,
    pub(super) lease_transitions: Counters,
    pub(super) schema_differences: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl Metrics {
    /// Registers all of them.
    pub(super) fn register(all: &mut Registry) -> Self {
        let help = "1, with the version and the commit of the binary as labels";
        Self {
            build: register(all, "build_info", help, Family::default()),
            sampling: SamplingMetrics::register(all),
            deciding: DecidingMetrics::register(all),
            writing: WritingMetrics::register(all),
            process: ProcessMetrics::register(all),
            bill: BillMetrics::register(all),
        }
    }
}

impl SamplingMetrics {
    fn register(all: &mut Registry) -> Self {
        let scrapes = "Scrapes of metrics pages of pods, by result";
        let lateness = "Delay of the start of a scrape after its scheduled time";
        let queries = "Queries to Prometheus servers, by result";
        Self {
            scrapes: Counters::register(all, "scrapes", scrapes, ("result", SCRAPE_RESULTS)),
            scrape_duration: register(
                all,
                "scrape_duration_seconds",
                "Duration of a scrape, with the parsing of its page",
                requests(),
            ),
            scrape_lateness: register(all, "scrape_lateness_seconds", lateness, short()),
            queries: Counters::register(all, "queries", queries, ("result", QUERY_RESULTS)),
            query_duration: register(
                all,
                "query_duration_seconds",
                "Duration of a query to a Prometheus server",
                requests(),
            ),
            pages: gauge(all, "pages", "Metrics pages of pods that the operator scrapes"),
            memory: gauge(
                all,
                "memory_reserved_bytes",
                "Memory of --memory-budget that pages, answers and windows take",
            ),
        }
    }
}

impl DecidingMetrics {
    fn register(all: &mut Registry) -> Self {
        let results = ("result", DECISION_RESULTS);
        Self {
            tick_lateness: register(
                all,
                "tick_lateness_seconds",
                "Delay of the tick of an autoscaler after its scheduled time",
                short(),
            ),
            step_duration: register(
                all,
                "step_duration_seconds",
                "Duration of a step of an autoscaler: reads, decision and writes of sizes",
                requests(),
            ),
            samples: Counters::register(
                all,
                "samples",
                "Samples used by decisions, by source",
                ("source", SOURCES),
            ),
            sample_age: Histograms::register(
                all,
                "sample_age_seconds",
                "Age of the oldest sample of a metric when it was decided by, by source",
                ("source", SOURCES),
                ages,
            ),
            decisions: Counters::register(
                all,
                "decisions",
                "Decisions on the replicas of targets, by result",
                results,
            ),
            withheld: Counters::register(
                all,
                "withheld",
                "Decisions to change the replicas of a target that were not written, by reason",
                ("reason", WITHHELD_REASONS),
            ),
            changes: register(
                all,
                "changes_by_others",
                "Changes of the replicas of a target that the operator did not make",
                Counter::default(),
            ),
            drains: Counters::register(
                all,
                "drains",
                "Scale-downs that drained their pods, by result",
                ("result", DRAIN_RESULTS),
            ),
            rescales: PairCounters::register(
                all,
                "rescales",
                "Changes of the replicas of targets that were written, by direction and reason",
                ("direction", DIRECTIONS),
                ("reason", RESCALE_REASONS),
            ),
        }
    }
}

impl WritingMetrics {
    fn register(all: &mut Registry) -> Self {
        let kinds = ("kind", WriteKind::NAMES);
        Self {
            scale_writes: Counters::register(
                all,
                "scale_writes",
                "Writes to scale subresources, by result",
                ("result", SCALE_RESULTS),
            ),
            status_writes: Counters::register(
                all,
                "status_writes",
                "Writes of the status of LLMAutoscalers, by result",
                ("result", SCALE_RESULTS),
            ),
            writes: PairCounters::register(
                all,
                "writes",
                "Requests to the API server that change something, by kind and result",
                kinds,
                ("result", WRITE_RESULTS),
            ),
            duration: Histograms::register(
                all,
                "write_duration_seconds",
                "Duration of a request to the API server that changes something, by kind",
                kinds,
                requests,
            ),
        }
    }
}

impl ProcessMetrics {
    fn register(all: &mut Registry) -> Self {
        Self {
            autoscalers: gauge(all, "autoscalers", "LLMAutoscalers that the operator reconciles"),
            decided: gauge(
                all,
                "autoscalers_decided",
                "LLMAutoscalers that the operator has decided on since it began to reconcile them",
            ),
            watch_age: register(
                all,
                "watch_age_seconds",
                "Time since the latest word of a watch, by the kind that is watched",
                Family::default(),
            ),
            tasks: gauge(all, "tasks", "Tasks of the operator that have begun and not ended"),
            panics: Counters::register(
                all,
                "panics",
                "Panics of tasks, which are faults of the operator, by task",
                ("task", TASKS),
            ),
            leases: gauge(all, "leases_held", "Leases that this copy of the operator holds"),
            lease_transitions: Counters::register(
                all,
                "lease_transitions",
                "Leases that this copy of the operator has won or lost, by result",
                ("result", LEASE_RESULTS),
            ),
            schema_differences: register(
                all,
                "schema_differences",
                "Fields of the resource that the installed CRD lacks, or that only it has",
                Family::default(),
            ),
        }
    }
}
