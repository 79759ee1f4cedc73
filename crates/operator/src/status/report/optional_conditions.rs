//! The conditions that are present only at times.

use llm_autoscaler_api::{
    Advice, MetricConfig, TargetConfig,
    conditions::{ConditionType, ConditionUpdate, Reason},
};
use llm_autoscaler_observe::{
    observer::{Findings, Origin},
    pod::TroubleKind,
};

use super::lists;

/// The number of hints in the message.
const ADVICE: usize = 5;

/// Returns `ReplicasStuck` if a replica will not get ready by waiting.
pub(super) fn stuck(findings: &Findings) -> Option<ConditionUpdate> {
    let stuck = &findings.stuck;
    let reason = match stuck.first()?.1 {
        TroubleKind::Crashing => Reason::Crashing,
        TroubleKind::Unschedulable => Reason::Unschedulable,
        TroubleKind::NotReady => Reason::NotReady,
    };
    let replicas =
        lists::clauses(stuck.iter().map(|(pod, kind)| format!("{pod}: {}", kind.text())));
    let message = format!("stuck, so neither counted as capacity nor waited for: {replicas}");
    Some(ConditionUpdate::yes(ConditionType::ReplicasStuck, reason, message))
}

/// Returns `FirstSourceUsed` if the spec has several sources.
pub(super) fn first_source(config: &TargetConfig, findings: &Findings) -> Option<ConditionUpdate> {
    if config.sources.len() < 2 {
        return None;
    }
    let failed_over: Vec<String> = config
        .metrics
        .iter()
        .zip(&findings.origins)
        .filter_map(|(metric, origin)| failover(metric, origin))
        .collect();
    let type_ = ConditionType::FirstSourceUsed;
    Some(if failed_over.is_empty() {
        let message = "every sample is from the first source that can have it";
        ConditionUpdate::yes(type_, Reason::FirstSource, message)
    } else {
        ConditionUpdate::no(type_, Reason::FailedOver, failed_over.join("; "))
    })
}

/// Describes the sources of a metric's samples, if some are not from the first one although that
/// could have them.
fn failover(metric: &MetricConfig, origin: &Origin) -> Option<String> {
    let from_others: u32 = origin.samples.iter().skip(1).sum();
    let why = origin.why.as_deref().filter(|_| from_others > 0)?;
    let sources: Vec<String> = origin
        .samples
        .iter()
        .enumerate()
        .map(|(index, samples)| format!("{samples} from sources[{index}]"))
        .collect();
    Some(format!("{}: {} ({why})", metric.name, sources.join(", ")))
}

/// Returns `Advisory` if there is a hint. The reason is the first one's.
pub(super) fn advisory(config: &TargetConfig, findings: &Findings) -> Option<ConditionUpdate> {
    // Hints about the observation come before those about the spec alone.
    let (of_spec, of_observation): (Vec<&Advice>, Vec<&Advice>) =
        findings.advice.iter().partition(|advice| config.advice.contains(advice));
    let advice: Vec<&Advice> = of_observation.into_iter().chain(of_spec).collect();
    let reason = advice.first()?.reason;
    let texts: Vec<&str> = advice.into_iter().take(ADVICE).map(|advice| &*advice.text).collect();
    Some(ConditionUpdate::yes(ConditionType::Advisory, reason, texts.join("; ")))
}
