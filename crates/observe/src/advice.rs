//! Advice: hints for people about samples, pods and servers, although nothing is wrong yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{Advice, MetricConfig, WEDGED_AFTER, conditions::Reason, quantity};
use llm_autoscaler_core::{Target, Tolerances};
use llm_autoscaler_engines::{Buckets, Engine, SignalDef, exposition::Value};

use crate::{
    pod::Pod,
    replicas::{ReplicaPods, Replicas},
    samples::{Sample, SourceKind, SourceSamples},
};

pub use workers::workers_with_port;

mod workers;

/// The clock skew of a server, in seconds, up to which there is no advice.
const MAX_CLOCK_SKEW: f64 = 10.0;

/// Adds the advice about a sample: a deprecated name, two names with different values, or copies.
/// `def` is the definition of the metric's signal in the sample's source.
pub fn of_sample(
    (metric, def): (&MetricConfig, Option<&'static SignalDef>),
    pod: &Pod,
    sample: &Sample,
    source: &str,
    advice: &mut BTreeSet<Advice>,
) {
    if let Some(def) = def
        && let Some((term, alternative)) = sample.found.alternative
        && let Some((former, newest)) = def.former_name(term, alternative)
    {
        let text = format!(
            "{} is read from {former}, a former name of {newest}: an upgrade of the engine takes \
             it away",
            metric.name
        );
        advice.insert(Advice { reason: Reason::FormerName, text });
    }
    if sample.found.ambiguous {
        let text = format!(
            "{}: pods publish it under a former name too, with another value; the newer name \
             counts",
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

/// Returns the advice about a metric of which a source has samples of several pods under one name.
pub fn ambiguous(metric: &MetricConfig, text: &str) -> Advice {
    Advice { reason: Reason::TwoCandidates, text: format!("{}: {text}", metric.name) }
}

/// Adds the advice about the clocks and the warnings of Prometheus servers.
pub fn of_sources(sources: &[SourceSamples], advice: &mut BTreeSet<Advice>) {
    for source in sources {
        let SourceKind::Prometheus { url, clock_ahead, warning } = &source.kind else { continue };
        if let Some(ahead) = clock_ahead.filter(|ahead| ahead.abs() > MAX_CLOCK_SKEW) {
            let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
            let text = format!(
                "the clock of {url} is {:.0} s {direction} the operator's; ages of samples are \
                 taken by the server's",
                ahead.abs()
            );
            advice.insert(Advice { reason: Reason::ClockSkew, text });
        }
        advice.extend(warning.iter().map(|warning| partial_answer(url, warning)));
    }
}

/// Returns the advice about replicas with sleeping engines, if there are any.
pub fn asleep<'a>(replicas: impl Iterator<Item = &'a str>) -> Option<Advice> {
    let names: Vec<&str> = replicas.collect();
    if names.is_empty() {
        return None;
    }
    let text = format!(
        "the engines of {} sleep: they are neither idle capacity nor a reason to shrink; wake them \
         to use them",
        names.join(", ")
    );
    Some(Advice { reason: Reason::EngineAsleep, text })
}

/// Returns the advice about pods with wedged engines and the requests that each has, if there are
/// any.
pub fn wedged<'a>(pods: impl Iterator<Item = (&'a str, Option<f64>)>) -> Option<Advice> {
    let minutes = WEDGED_AFTER.as_secs() / 60;
    let mut names: Vec<String> = Vec::new();
    for (name, requests) in pods {
        names.push(match requests {
            Some(requests) => format!("{name} ({requests} requests)"),
            None => name.to_owned(),
        });
    }
    if names.is_empty() {
        return None;
    }
    let text = format!(
        "{} had requests for {minutes} minutes and produced no token: such a replica counts \
         neither as load nor as capacity, and is replaced by one beside it; look at its log, and \
         delete the pod to restart its engine",
        names.join(", ")
    );
    Some(Advice { reason: Reason::EngineWedged, text })
}

/// The number of pods that an advice names.
const NAMED_PODS: usize = 5;

/// Returns the advice about pods of other engines than the spec's. `running` is the number of pods
/// that should report.
pub fn other_engines(
    own: Engine,
    others: &BTreeMap<String, Engine>,
    running: usize,
) -> Option<Advice> {
    let first = *others.values().next()?;
    let found: BTreeSet<&str> = others.values().map(|engine| engine.profile().display).collect();
    let found: Vec<&str> = found.into_iter().collect();
    let (found, name) = (found.join(" and "), own.profile().name);
    let text = if others.len() >= running && others.values().all(|engine| *engine == first) {
        format!(
            "the pages of all {running} pods are of {found}, and the field engine is {name}: set \
             it to {}",
            first.profile().name
        )
    } else {
        let names: Vec<&str> = others.keys().take(NAMED_PODS).map(String::as_str).collect();
        let names = names.join(", ");
        let more = match others.len().saturating_sub(NAMED_PODS) {
            0 => String::new(),
            more => format!(" and of {more} more pods"),
        };
        format!(
            "the pages of {names}{more} are of {found}, and the field engine is {name}: their load \
             is unknown, which slows growth and holds scale-downs; give each engine a workload and \
             an autoscaler of its own"
        )
    };
    Some(Advice { reason: Reason::OtherEngine, text })
}

/// Returns the advice for a target that has fewer replicas than its selector finds.
pub fn surplus(found: usize, listed: usize) -> Advice {
    let text = format!(
        "the target has {listed} replicas and its selector finds {found}: while that is so nothing \
         shrinks; if a replica is several pods, spec.replicaPods says which"
    );
    Advice { reason: Reason::ReplicasMismatch, text }
}

/// Returns the advice for replicas too many, which their controller does not remove.
pub fn not_removed(existing: i32, requested: i32) -> Advice {
    let text = format!(
        "{existing} replicas exist and {requested} are requested, and for a minute or longer none \
         has been removed: their controller holds them back, as a CoordinatedPolicy does while \
         another role grows, or OrderedReady while a lower replica is not ready"
    );
    Advice { reason: Reason::NotRemoved, text }
}

/// The label with the ordinal of a StatefulSet's pod.
const ORDINAL: &str = "apps.kubernetes.io/pod-index";
/// The age of a pod from which the next pod of a StatefulSet would exist, if it were not held back.
const CREATION_DELAY: TimeDelta = TimeDelta::seconds(5);

/// Returns the advice for a StatefulSet that seems to create one pod after the other: the lowest
/// pod that is not ready holds back the others.
pub fn ordered_start(replicas: &Replicas, requested: usize, now: DateTime<Utc>) -> Option<Advice> {
    let alive = replicas.alive();
    if alive >= requested {
        return None;
    }
    let ordinal = |group: &ReplicaPods| {
        group.pods.iter().find_map(|pod| pod.labels.get(ORDINAL)?.parse::<u32>().ok())
    };
    let waited_for = |group: &&ReplicaPods| {
        let created = group.pods.iter().map(|pod| pod.created).min();
        !group.state().ready && created.is_some_and(|created| now - created >= CREATION_DELAY)
    };
    let starting =
        replicas.list.iter().filter(waited_for).filter_map(|group| Some((ordinal(group)?, group)));
    let (_, first) = starting.min_by_key(|(ordinal, _)| *ordinal)?;
    let text = format!(
        "{alive} of {requested} replicas exist, and {} is not ready: an OrderedReady StatefulSet \
         makes the next pod only then; podManagementPolicy: Parallel lets them start at the same \
         time",
        first.pods[0].name
    );
    Some(Advice { reason: Reason::StartsInTurn, text })
}

/// Returns the advice for pods that are killed before their requests are answered. `slowest` is the
/// 99th percentile of the duration of requests, in seconds.
pub fn short_grace_period<'p>(
    pods: impl Iterator<Item = &'p Arc<Pod>>,
    slowest: f64,
) -> Option<Advice> {
    let shortest = pods.min_by_key(|pod| pod.service.termination_grace_seconds)?;
    let grace = shortest.service.termination_grace_seconds;
    let text = format!(
        "1 of 100 requests takes {slowest:.0} s or longer, and {} is killed {grace} s after its \
         deletion: raise the terminationGracePeriodSeconds of the pods",
        shortest.name
    );
    ((grace as f64) < slowest).then_some(Advice { reason: Reason::ShortGracePeriod, text })
}

/// Returns the advice for a percentile with a target outside of the histogram's buckets, or so
/// near their end that no percentile can exceed it by more than the tolerance.
pub fn of_buckets(
    name: &str,
    target: Target,
    tolerance: Tolerances,
    values: &[Option<Value>],
) -> Option<Advice> {
    let Target::Value(target) = target else { return None };
    let histograms = values.iter().filter_map(|value| match value {
        Some(Value::Buckets(buckets)) if !buckets.bounds().is_empty() => Some(buckets),
        _ => None,
    });
    let lowest = histograms.clone().max_by(|a, b| a.bounds()[0].total_cmp(&b.bounds()[0]))?;
    let end = |buckets: &Buckets| buckets.last_bound().unwrap_or_default();
    let highest = histograms.min_by(|a, b| end(a).total_cmp(&end(b)))?;
    let (first, last) = (lowest.bounds()[0], end(highest));
    let (wanted, shown) = (target.0 as f64 / 1000.0, quantity::show(target));
    let (problem, buckets) = if last <= wanted * (1.0 + tolerance.up) {
        let percent = tolerance.up * 100.0;
        let problem = format!(
            "the histogram's last bound is {last}, and the target is {shown}: a percentile beyond \
             it says no more than \"more than {last}\", which never exceeds the target by more \
             than the tolerance of {percent:.0} %, so it neither grows nor shrinks the target"
        );
        (problem, highest)
    } else if first > wanted {
        let problem = format!(
            "the histogram's first bound is {first}, and the target is {shown}: a percentile below \
             it says no more than \"less than {first}\", which may be below the target or above \
             it, so it neither grows nor shrinks the target"
        );
        (problem, lowest)
    } else {
        return None;
    };
    let bounds: Vec<String> = buckets.bounds().iter().map(ToString::to_string).collect();
    let bounds = bounds[..bounds.len() - 1].join(", ");
    let text = format!("{name}: {problem}; choose a target between its bounds {bounds}");
    Some(Advice { reason: Reason::TargetOutOfReach, text })
}

/// Returns the advice for an answer of a Prometheus server with a warning.
pub fn partial_answer(url: &str, warning: &str) -> Advice {
    Advice { reason: Reason::PartialAnswer, text: format!("{url} warns: {warning}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_core::Replica;

    use super::*;
    use crate::pod::{Pod, tests::pod};

    #[test]
    fn the_lowest_pod_that_is_not_ready_holds_back_the_others() {
        let replicas = |states: &[bool], ordinals: bool| {
            let pods = states.iter().enumerate().map(|(ordinal, ready)| {
                let name = format!("a-{ordinal}");
                let mut pod =
                    Pod { replica: Replica { ready: *ready, ..Replica::READY }, ..pod(&name, "a") };
                if ordinals {
                    Arc::make_mut(&mut pod.labels).insert(ORDINAL.to_owned(), ordinal.to_string());
                }
                (name, Arc::new(pod))
            });
            Replicas::of(&Arc::new(pods.collect()), &[])
        };
        // ready, with ordinals, requested, age in seconds; the pod that holds back the others
        let table = [
            (&[true, false][..], true, 5, 60, Some("a-1")),
            (&[true, false, true, false], true, 5, 60, Some("a-1")),
            (&[true, false], true, 5, 1, None),
            (&[true, false], true, 2, 60, None),
            (&[true, true], true, 5, 60, None),
            (&[true, false], false, 5, 60, None),
        ];
        for (states, ordinals, requested, second, expected) in table {
            let found = ordered_start(
                &replicas(states, ordinals),
                requested,
                DateTime::UNIX_EPOCH + TimeDelta::seconds(second),
            );
            let named = found.map(|advice| advice.text);
            assert_eq!(named.is_some(), expected.is_some(), "{states:?} {requested} {second}");
            let says = |name: &str| {
                named
                    .as_ref()
                    .is_some_and(|text| text.contains(&format!("and {name} is not ready")))
            };
            assert!(expected.is_none_or(says), "{named:?}");
        }
    }
}
