//! The metrics of a status: the observed value, its source, and the number that it proposes.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{
    MetricConfig, MetricStatus, ReplicasStatus, SourceConfig, TargetConfig, messages::Step,
    quantity, time,
};
use llm_autoscaler_core::{Counted, MetricOutcome};
use llm_autoscaler_observe::observer::{Findings, Origin};

use crate::kube_api::printable;

/// Returns the status of all metrics, in the order of the spec.
pub(super) fn statuses(
    config: &TargetConfig,
    findings: &Findings,
    step: &Step<'_>,
    now: DateTime<Utc>,
) -> Vec<MetricStatus> {
    let metrics = config.metrics.iter().enumerate();
    metrics
        .map(|(index, metric)| {
            let mut status = unmeasured(metric);
            if let Some(origin) = findings.origins.get(index) {
                add_origin(&mut status, config, metric, origin, now);
            }
            add_outcome(&mut status, step, index);
            status
        })
        .collect()
}

fn unmeasured(metric: &MetricConfig) -> MetricStatus {
    MetricStatus {
        name: metric.name.clone(),
        series: metric.series.clone(),
        target: metric.target.clone(),
        ..MetricStatus::default()
    }
}

/// Adds where the samples of a metric are from, if it has any.
fn add_origin(
    status: &mut MetricStatus,
    config: &TargetConfig,
    metric: &MetricConfig,
    origin: &Origin,
    now: DateTime<Utc>,
) {
    if origin.samples.iter().all(|samples| *samples == 0) {
        return;
    }
    status.series = metric.series_as_found(origin.source, origin.alternative);
    status.source = Some(source_text(config, origin));
    let age = TimeDelta::from_std(origin.age).unwrap_or(TimeDelta::MAX);
    status.sampled_at = now.checked_sub_signed(age).map(time::to_kubernetes);
}

/// Adds how the decision used a metric.
fn add_outcome(status: &mut MetricStatus, step: &Step<'_>, index: usize) {
    match step.decision.metrics.get(index) {
        Some(MetricOutcome::Proposal(proposal)) => {
            status.current = Some(quantity::show_usage(proposal));
            status.proposal = Some(proposal.replicas);
            status.replicas = Some(replicas(&proposal.counted));
        }
        Some(MetricOutcome::NoEvents(counted)) => {
            status.replicas = Some(replicas(counted));
            status.error = Some("too few events in the window".to_owned());
        }
        Some(MetricOutcome::Failed(error)) => {
            let failure = step.metrics[index].failure(&step.policy.metrics[index], *error);
            // Texts of pages and servers: a status of megabytes would be refused for ever.
            status.error = Some(printable(&failure.error));
        }
        None => {}
    }
}

fn replicas(counted: &Counted) -> ReplicasStatus {
    ReplicasStatus {
        used: counted.ready as i32,
        missing: counted.missing as i32,
        not_ready: (counted.unready + counted.warming) as i32,
        stuck: counted.stuck as i32,
    }
}

/// Returns `scrape`, `others`, `prometheus`, or several of them if the replicas differ.
fn source_text(config: &TargetConfig, origin: &Origin) -> String {
    let names: Vec<&str> = config
        .sources
        .iter()
        .zip(&origin.samples)
        .filter(|(_, samples)| **samples > 0)
        .map(|(source, _)| source_name(source))
        .collect();
    names.join(", ")
}

fn source_name(source: &SourceConfig) -> &'static str {
    match source {
        SourceConfig::Scrape(scrape) if scrape.pods.is_some() => "others",
        SourceConfig::Scrape(_) => "scrape",
        SourceConfig::Prometheus(_) => "prometheus",
    }
}
