//! What a person should know of what the sources publish, although nothing is wrong yet.

use std::{collections::BTreeSet, sync::Arc};

use llm_autoscaler_api::{Advice, Asked, MetricPlan};

use crate::{
    pages::Sample,
    pods::Pod,
    sources::{Source, SourceKind, Sources},
};

/// How far a server's clock may be off, in seconds, before it is worth a word.
const SKEW: f64 = 10.0;

/// What is to be said of a sample.
pub fn of_sample(
    metric: &MetricPlan,
    pod: &Pod,
    sample: &Sample,
    source: &Source,
    advice: &mut BTreeSet<Advice>,
) {
    if let Asked::Measure { signal: Some(def), .. } = &metric.asked
        && let Some((term, alternative)) = sample.found.alternative
        && let Some((former, newest)) = def.former(term, alternative)
    {
        let text = format!(
            "{} is read from {former}, a former name of {newest}: an upgrade of the engine takes it away",
            metric.name
        );
        advice.insert(Advice { reason: "FormerName", text });
    }
    if sample.found.ambiguous {
        let text = format!(
            "{}: pods publish it under a former name too, with another value; the newer name counts",
            metric.name
        );
        advice.insert(Advice { reason: "TwoCandidates", text });
    }
    if sample.copies > 1 {
        let what = if sample.is_certain { "counts once" } else { "is in doubt, and shrinks nothing" };
        let text = format!(
            "{}: the {} source has it {} times for the pod {}; it {what}",
            metric.name,
            source.name(),
            sample.copies,
            pod.name
        );
        advice.insert(Advice { reason: "TwoCandidates", text });
    }
}

/// What is to be said of the sources as a whole.
pub fn of_sources(sources: &Sources, advice: &mut BTreeSet<Advice>) {
    for source in &sources.list {
        if let SourceKind::Prometheus(asking) = &source.kind
            && let Some(ahead) = asking.ahead().filter(|ahead| ahead.abs() > SKEW)
        {
            let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
            let text = format!(
                "the clock of {} is {:.0} s {direction} the operator's; ages of samples are taken by the server's",
                asking.url(),
                ahead.abs()
            );
            advice.insert(Advice { reason: "ClockSkew", text });
        }
        if let SourceKind::Prometheus(asking) = &source.kind
            && let Some(warning) = asking.warning()
        {
            advice.insert(partial(asking.url(), &warning));
        }
    }
}

/// What is to be said where more replicas are found than the target has.
pub fn surplus(found: usize, listed: usize) -> Advice {
    let text = format!(
        "the target has {listed} replicas and its selector finds {found}: while that is so nothing shrinks; if a replica is \
         several pods, spec.replicaPods says which"
    );
    Advice { reason: "ReplicasMismatch", text }
}

/// What is to be said of pods that are killed before their requests are answered. `slowest` is how many seconds 99 of 100
/// requests take at most.
pub fn short_grace<'p>(pods: impl Iterator<Item = &'p Arc<Pod>>, slowest: f64) -> Option<Advice> {
    let shortest = pods.min_by_key(|pod| pod.service.grace)?;
    let grace = shortest.service.grace;
    let text = format!(
        "1 of 100 requests takes {slowest:.0} s or longer, and {} is killed {grace} s after its deletion: raise the \
         terminationGracePeriodSeconds of the pods",
        shortest.name
    );
    ((grace as f64) < slowest).then_some(Advice { reason: "ShortGracePeriod", text })
}

/// What is to be said of an answer that is not complete.
pub fn partial(url: &str, warning: &str) -> Advice {
    Advice { reason: "PartialAnswer", text: format!("{url} warns: {warning}") }
}
