//! Metrics of one name with a fixed set of label values.
//!
//! Each value has its series from the start, at zero: `rate()` and `increase()` then see the first
//! event, and a rule finds the series before anything has gone wrong.

use std::{fmt::Debug, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeMetric,
    metrics::{TypedMetric, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

/// Labels with their values.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Registers a metric. A counter's name gets the suffix `_total` when it is exposed.
pub(super) fn register<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a gauge without labels.
pub(super) fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    register(registry, name, help, Gauge::default())
}

/// Metrics of one name that differ in one label.
#[derive(Clone, Debug)]
struct OneLabel<M> {
    label: &'static str,
    family: Family<Labels<1>, M, fn() -> M>,
    /// Those that are there from the start, by their values: each scrape and each step counts
    /// several times, and these need no lock.
    at_hand: Arc<[(&'static str, M)]>,
}

impl<M: EncodeMetric + TypedMetric + Clone + Debug + Send + Sync + 'static> OneLabel<M> {
    fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        (label, values): (&'static str, &[&'static str]),
        new: fn() -> M,
    ) -> Self {
        let family = register(registry, name, help, Family::new_with_constructor(new));
        let metric = |value| (value, family.get_or_create_owned(&[(label, value)]));
        let at_hand = values.iter().copied().map(metric).collect();
        Self { label, family, at_hand }
    }

    /// Records something in the metric of a value.
    fn record(&self, value: &'static str, record: impl FnOnce(&M)) {
        match self.at_hand.iter().find(|(known, _)| *known == value) {
            Some((_, metric)) => record(metric),
            None => record(&self.family.get_or_create(&[(self.label, value)])),
        }
    }
}

/// Counters of one name that differ in one label.
#[derive(Clone, Debug)]
pub(super) struct Counters(OneLabel<Counter>);

impl Counters {
    /// Registers a counter for each value of a label.
    pub(super) fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        label: (&'static str, &[&'static str]),
    ) -> Self {
        Self(OneLabel::register(registry, name, help, label, Counter::default))
    }

    /// Adds to the counter of a value.
    pub(super) fn add(&self, value: &'static str, count: u64) {
        self.0.record(value, |counter| {
            counter.inc_by(count);
        });
    }
}

/// Counters of one name that differ in two labels.
#[derive(Clone, Debug)]
pub(super) struct PairCounters {
    labels: [&'static str; 2],
    family: Family<Labels<2>, Counter>,
}

impl PairCounters {
    /// Registers a counter for each pair of values.
    pub(super) fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        (first, firsts): (&'static str, &[&'static str]),
        (second, seconds): (&'static str, &[&'static str]),
    ) -> Self {
        let family = register(registry, name, help, Family::default());
        let counters = Self { labels: [first, second], family };
        for first in firsts {
            for second in seconds {
                counters.add([first, second], 0);
            }
        }
        counters
    }

    /// Adds to the counter of a pair of values.
    pub(super) fn add(&self, [first, second]: [&'static str; 2], count: u64) {
        let labels = [(self.labels[0], first), (self.labels[1], second)];
        self.family.get_or_create(&labels).inc_by(count);
    }
}

/// Histograms of one name that differ in one label.
#[derive(Clone, Debug)]
pub(super) struct Histograms(OneLabel<Histogram>);

impl Histograms {
    /// Registers a histogram for each value of a label.
    pub(super) fn register(
        registry: &mut Registry,
        name: &str,
        help: &str,
        label: (&'static str, &[&'static str]),
        new: fn() -> Histogram,
    ) -> Self {
        Self(OneLabel::register(registry, name, help, label, new))
    }

    /// Records a duration for a value.
    pub(super) fn observe(&self, value: &'static str, duration: Duration) {
        self.0.record(value, |histogram| histogram.observe(duration.as_secs_f64()));
    }
}
