//! What a person should know of what the sources publish, although nothing is wrong yet.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{Advice, Asked, MetricConfig, conditions::Reason};

use crate::{
    pod::Pod,
    replicas::{Group, Replicas},
    samples::{Sample, SourceKind, SourceSamples},
};

/// How far a server's clock may be off, in seconds, before it is worth a word.
const SKEW: f64 = 10.0;

/// What is to be said of a sample.
pub fn of_sample(
    metric: &MetricConfig,
    pod: &Pod,
    sample: &Sample,
    source: &str,
    advice: &mut BTreeSet<Advice>,
) {
    if let Asked::Measure { signal: Some(def), .. } = &metric.asked
        && let Some((term, alternative)) = sample.found.alternative
        && let Some((former, newest)) = def.former_name(term, alternative)
    {
        let text = format!(
            "{} is read from {former}, a former name of {newest}: an upgrade of the engine takes it away",
            metric.name
        );
        advice.insert(Advice { reason: Reason::FormerName, text });
    }
    if sample.found.ambiguous {
        let text = format!(
            "{}: pods publish it under a former name too, with another value; the newer name counts",
            metric.name
        );
        advice.insert(Advice { reason: Reason::TwoCandidates, text });
    }
    if sample.copies > 1 {
        let what =
            if sample.is_certain() { "counts once" } else { "is in doubt, and shrinks nothing" };
        let text = format!(
            "{}: the {} source has it {} times for the pod {}; it {what}",
            metric.name, source, sample.copies, pod.name
        );
        advice.insert(Advice { reason: Reason::TwoCandidates, text });
    }
}

/// Advice about the sources as a whole: their clocks and their warnings.
pub fn of_sources(sources: &[SourceSamples], advice: &mut BTreeSet<Advice>) {
    for source in sources {
        let SourceKind::Prometheus { url, clock_ahead, warning } = &source.kind else { continue };
        if let Some(ahead) = clock_ahead.filter(|ahead| ahead.abs() > SKEW) {
            let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
            let text = format!(
                "the clock of {url} is {:.0} s {direction} the operator's; ages of samples are taken by the server's",
                ahead.abs()
            );
            advice.insert(Advice { reason: Reason::ClockSkew, text });
        }
        advice.extend(warning.iter().map(|warning| partial(url, warning)));
    }
}

/// What is to be said where more replicas are found than the target has.
pub fn surplus(found: usize, listed: usize) -> Advice {
    let text = format!(
        "the target has {listed} replicas and its selector finds {found}: while that is so nothing shrinks; if a replica is \
         several pods, spec.replicaPods says which"
    );
    Advice { reason: Reason::ReplicasMismatch, text }
}

/// The label of the pods of a StatefulSet.
const ORDINAL: &str = "apps.kubernetes.io/pod-index";
/// For how long the next pod of a StatefulSet may just not have been made yet.
const MOMENT: TimeDelta = TimeDelta::seconds(5);

/// What is to be said where a StatefulSet seems to make one pod after the other, and which of them the others wait for.
pub fn in_turn(replicas: &Replicas, asked: usize, now: DateTime<Utc>) -> Option<Advice> {
    let there = replicas.alive();
    if there >= asked {
        return None;
    }
    let ordinal = |group: &Group| {
        group.pods.iter().find_map(|pod| pod.labels.get(ORDINAL)?.parse::<u32>().ok())
    };
    let waited_for = |group: &&Group| {
        let born = group.pods.iter().map(|pod| pod.created).min();
        !group.state().ready && born.is_some_and(|born| now - born >= MOMENT)
    };
    let starting =
        replicas.list.iter().filter(waited_for).filter_map(|group| Some((ordinal(group)?, group)));
    let (_, first) = starting.min_by_key(|(ordinal, _)| *ordinal)?;
    let text = format!(
        "{there} of {asked} replicas exist, and {} is not ready: an OrderedReady StatefulSet makes the next pod only then; \
         podManagementPolicy: Parallel lets them start at the same time",
        first.pods[0].name
    );
    Some(Advice { reason: Reason::StartsInTurn, text })
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
    ((grace as f64) < slowest).then_some(Advice { reason: Reason::ShortGracePeriod, text })
}

/// What is to be said of an answer that is not complete.
pub fn partial(url: &str, warning: &str) -> Advice {
    Advice { reason: Reason::PartialAnswer, text: format!("{url} warns: {warning}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_core::Replica;

    use super::*;
    use crate::pod::{Pod, tests::pod};

    #[test]
    fn who_keeps_the_next_ones_from_being_made() {
        let replicas = |states: &[bool], ordinals: bool| {
            let pods = states.iter().enumerate().map(|(ordinal, ready)| {
                let name = format!("a-{ordinal}");
                let mut pod =
                    Pod { replica: Replica { ready: *ready, ..Replica::READY }, ..pod(&name, "a") };
                if ordinals {
                    pod.labels.insert(ORDINAL.to_owned(), ordinal.to_string());
                }
                (name, Arc::new(pod))
            });
            Replicas::of(&Arc::new(pods.collect()), &[])
        };
        let made = DateTime::UNIX_EPOCH;
        // ready, with ordinals, asked for, seconds since they were made; who is waited for
        let table = [
            (&[true, false][..], true, 5, 60, Some("a-1")),
            (&[true, false, true, false], true, 5, 60, Some("a-1")),
            (&[true, false], true, 5, 1, None),
            (&[true, false], true, 2, 60, None),
            (&[true, true], true, 5, 60, None),
            (&[true, false], false, 5, 60, None),
        ];
        for (states, ordinals, asked, second, expected) in table {
            let found =
                in_turn(&replicas(states, ordinals), asked, made + TimeDelta::seconds(second));
            let named = found.map(|advice| advice.text);
            assert_eq!(named.is_some(), expected.is_some(), "{states:?} {asked} {second}");
            let says = |name: &str| {
                named
                    .as_ref()
                    .is_some_and(|text| text.contains(&format!("and {name} is not ready")))
            };
            assert!(expected.is_none_or(says), "{named:?}");
        }
    }
}
