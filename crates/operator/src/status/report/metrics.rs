//! The metrics of a status: the observed value, its source, and the number that it proposes.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{
    MetricPlan, MetricStatus, Plan, ReplicasStatus, SourcePlan, quantity, time,
};
use llm_autoscaler_core::{Counted, MetricOutcome};

use llm_autoscaler_observe::observer::Origin;
use crate::status::report::Report;

/// Returns the status of all metrics, in the order of the spec.
pub(super) fn statuses(report: &Report<'_>, now: DateTime<Utc>) -> Vec<MetricStatus> {
    let Report { plan, seen, .. } = report;
    let of = |(index, metric): (usize, &MetricPlan)| {
        let mut status = MetricStatus {
            name: metric.name.clone(),
            series: metric.series.clone(),
            target: metric.target.clone(),
            ..MetricStatus::default()
        };
        if let Some(origin) =
            seen.origins.get(index).filter(|origin| origin.samples.iter().any(|n| *n > 0))
        {
            status.series = metric.series_as_found(origin.alternative);
            status.source = Some(source_text(plan, origin));
            let age = TimeDelta::from_std(origin.age).unwrap_or(TimeDelta::MAX);
            status.sampled_at = now.checked_sub_signed(age).map(time::to_kubernetes);
        }
        outcome(report, index, &mut status);
        status
    };
    plan.metrics.iter().enumerate().map(of).collect()
}

/// Adds how the decision used a metric.
fn outcome(report: &Report<'_>, index: usize, status: &mut MetricStatus) {
    let step = &report.step;
    let counted = |counted: &Counted| ReplicasStatus {
        used: counted.ready as i32,
        missing: counted.missing as i32,
        not_ready: counted.unready as i32,
        stuck: counted.stuck as i32,
    };
    match step.decision.metrics.get(index) {
        Some(MetricOutcome::Proposal(proposal)) => {
            status.current = Some(quantity::show(proposal.usage));
            status.proposal = Some(proposal.replicas);
            status.replicas = Some(counted(&proposal.counted));
        }
        Some(MetricOutcome::NoEvents(silent)) => {
            status.replicas = Some(counted(silent));
            status.error = Some("too few events in the window".to_owned());
        }
        Some(MetricOutcome::Failed(error)) => {
            let failure = step.metrics[index].failure(&step.policy.metrics[index], *error);
            status.error = Some(failure.error);
        }
        None => {}
    }
}

/// Returns `scrape`, `others`, `prometheus`, or several of them if the replicas differ.
fn source_text(plan: &Plan, origin: &Origin) -> String {
    let name = |source: &SourcePlan| match source {
        SourcePlan::Scrape(scrape) if scrape.pods.is_some() => "others",
        SourcePlan::Scrape(_) => "scrape",
        SourcePlan::Prometheus(_) => "prometheus",
    };
    let used = plan.sources.iter().zip(&origin.samples).filter(|(_, samples)| **samples > 0);
    let names: Vec<&str> = used.map(|(source, _)| name(source)).collect();
    names.join(", ")
}
