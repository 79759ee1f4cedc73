//! The conditions that are present only at times.

use llm_autoscaler_api::{
    Advice, MetricConfig, TargetConfig,
    conditions::{ConditionType, ConditionUpdate, Reason},
};
use llm_autoscaler_observe::{
    observer::{Findings, Origin},
    pod::TroubleKind,
    settling::Unsettled,
};

use super::lists;

/// The number of hints in the message.
const ADVICE: usize = 5;

/// Returns `ReplicasStuck` if a replica will not get ready by waiting, or is not created.
pub(super) fn stuck(findings: &Findings) -> Option<ConditionUpdate> {
    let stuck = &findings.stuck;
    let uncreated = findings.uncreated.as_ref().and_then(uncreated);
    let reason = match stuck.first() {
        Some((_, TroubleKind::Crashing)) => Reason::Crashing,
        Some((_, TroubleKind::Unschedulable)) => Reason::Unschedulable,
        Some((_, TroubleKind::NotReady)) => Reason::NotReady,
        None if uncreated.is_some() => Reason::NotCreated,
        None => return None,
    };
    let replicas =
        lists::clauses(stuck.iter().map(|(pod, kind)| format!("{pod}: {}", kind.text())));
    let stuck = (!stuck.is_empty())
        .then(|| format!("stuck, so neither counted as capacity nor waited for: {replicas}"));
    let message = stuck.into_iter().chain(uncreated).collect::<Vec<_>>().join("; ");
    Some(ConditionUpdate::yes(ConditionType::ReplicasStuck, reason, message))
}

/// Describes requested replicas that are not created.
fn uncreated(unsettled: &Unsettled) -> Option<String> {
    let Unsettled::NotCreated { requested, complete, lacking } = unsettled else { return None };
    let lacking = lacking.as_ref().map_or_else(String::new, |(pod, pods, size)| {
        format!(" (that of {pod} has {pods} of its {size} pods)")
    });
    Some(format!(
        "{complete} of {requested} requested replicas exist{lacking}, and for a minute or longer \
         none has been created: a ResourceQuota, a LimitRange or an admission policy may refuse \
         their pods, or a CoordinatedPolicy may hold them back; the events of their controller \
         tell"
    ))
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
