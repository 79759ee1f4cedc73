//! The state of one role in a step, as a case of `llm-autoscaler evaluate` has it.
//!
//! docs/evaluate.md describes the format. A step that is written down can be answered again, by the
//! same functions, wherever it was made: in the operator or in a simulation.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use llm_autoscaler_api::TargetConfig;
use llm_autoscaler_core::{Phase, Selector};
use llm_autoscaler_engines::{Buckets, exposition::Value as Quantity};
use serde_json::{Map, Value, json};

use crate::{
    observer::TargetSnapshot,
    pod::{Members, Pod, TroubleKind, service::Gate},
    samples::{Lookup, NO_SERIES, QueryLookup, Sample, SourceKind, SourceSamples, VitalLookups},
    workload::Workload,
};

/// Everything that a step takes from the cluster for one role.
#[derive(Clone, Copy, Debug)]
pub struct RoleState<'a> {
    /// The name of the role; `None` for the only target of a spec without roles.
    pub name: Option<&'a str>,
    /// What is observed of its target.
    pub target: &'a TargetSnapshot<'a>,
    /// True while a change of size by something else is respected.
    pub manual_change: bool,
    /// The time until which writes wait, because another writer undoes them.
    pub contested_until: Option<DateTime<Utc>>,
}

impl RoleState<'_> {
    /// Returns the entry of the role in `roles` of a step.
    pub fn case(&self) -> Value {
        let TargetSnapshot { config, replicas, samples, scale, selector, woken, now, .. } =
            *self.target;
        let pods = replicas.list.iter().flat_map(|replica| &replica.pods);
        let has_labels = !config.groupings.is_empty();
        let reporting = &replicas.reporting_pods;
        let sources = samples.sources.iter();
        let contested = self.contested_until.map_or(0.0, |until| seconds(now, until));
        let mut case = json!({
            "scale": {"specReplicas": scale.current, "statusReplicas": scale.status},
            "selector": match selector {
                Selector::Valid => "Valid",
                Selector::Missing => "Missing",
                Selector::Invalid => "Invalid",
                Selector::Ambiguous => "Ambiguous",
                Selector::Unknown => "Unknown",
            },
            "pods": pods.map(|pod| pod_case(pod, has_labels, now)).collect::<Vec<_>>(),
            "sources": sources.map(|it| source_case(config, it, reporting, now)).collect::<Vec<_>>(),
            "woken": woken,
            "manualChange": self.manual_change,
            "contestedForSeconds": contested,
        });
        if let Some(name) = self.name {
            case["name"] = json!(name);
        }
        case
    }
}

/// Returns the seconds from one time to another; 0 if the other is earlier.
fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

fn pod_case(pod: &Pod, has_labels: bool, now: DateTime<Utc>) -> Value {
    let gate = match pod.service.gate {
        Gate::Absent => "Absent",
        Gate::Unset => "Unset",
        Gate::Open => "Open",
        Gate::Closed { .. } => "Closed",
    };
    let phase = match pod.replica.phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed => "Failed",
        Phase::Unknown => "Unknown",
    };
    let mut case = json!({
        "name": pod.name,
        "uid": pod.uid,
        "phase": phase,
        "ready": pod.replica.ready,
        "wasReady": pod.was_ready,
        "restarts": pod.restarts,
        "deleting": pod.replica.deleting,
        "ageSeconds": seconds(pod.created, now),
        "hasNode": pod.is_scheduled,
        "gate": gate,
        "graceSeconds": pod.service.termination_grace_seconds,
    });
    if let Gate::Closed { since } = pod.service.gate {
        case["closedForSeconds"] = json!(seconds(since, now));
    }
    if let Some(trouble) = &pod.trouble {
        let kind = match trouble.kind {
            TroubleKind::Crashing => "Crashing",
            TroubleKind::Unschedulable => "Unschedulable",
            TroubleKind::NotReady => "NotReady",
        };
        case["trouble"] = json!({"kind": kind, "forSeconds": seconds(trouble.since, now)});
    }
    if has_labels {
        case["labels"] = json!(*pod.labels);
        case["annotations"] = json!(pod.annotations);
    }
    case
}

fn source_case(
    config: &TargetConfig,
    source: &SourceSamples,
    reporting: &Members,
    now: DateTime<Utc>,
) -> Value {
    let mut case = json!({"active": source.is_active});
    let mut pods = reporting;
    match &source.kind {
        SourceKind::OwnPods => {}
        SourceKind::OtherPods(others) => {
            pods = others;
            let others = others.values().map(|pod| pod_case(pod, false, now));
            case["pods"] = others.collect();
        }
        SourceKind::Prometheus { clock_ahead, warning, .. } => {
            case["clockAheadSeconds"] = json!(clock_ahead);
            case["warning"] = json!(warning);
        }
    }
    let SourceSamples { requests, latency, sleep: [awake, asleep], vitals, .. } = source;
    let VitalLookups { requests: in_flight, progress, gauges: [running, kv_cache] } = vitals;
    let names = config.metrics.iter().map(|metric| &metric.name);
    let metrics = names.clone().zip(&source.metrics).filter(|(_, lookups)| !lookups.is_empty());
    let queries = names.zip(&source.queries);
    let queries =
        queries.filter_map(|(name, query)| Some((name.clone(), query_case(query.as_ref()?))));
    case["metrics"] = metrics.map(|(name, all)| (name.clone(), by_pod(all, pods))).collect();
    case["queries"] = queries.collect::<Map<_, _>>().into();
    for (field, lookups) in
        [("requests", requests), ("latency", latency), ("awake", awake), ("asleep", asleep)]
    {
        case[field] = by_pod(lookups, pods);
    }
    case["vitals"] = json!({
        "requests": by_pod(in_flight, pods),
        "progress": by_pod(progress, pods),
        "running": by_pod(running, pods),
        "kvCache": by_pod(kv_cache, pods),
    });
    case
}

/// Returns the answers by the names of the pods. A pod that is newer than the answers is pending.
fn by_pod(lookups: &[Lookup], pods: &Members) -> Value {
    if lookups.is_empty() {
        return json!({});
    }
    let answer = |(place, name): (usize, &String)| {
        let pending = || json!({"pending": true});
        (name.clone(), lookups.get(place).map_or_else(pending, lookup_case))
    };
    pods.keys().enumerate().map(answer).collect::<Map<_, _>>().into()
}

fn lookup_case(lookup: &Lookup) -> Value {
    match lookup {
        Lookup::Sample(sample) => sample_case(sample),
        Lookup::Pending { error } => json!({"pending": true, "error": error}),
        Lookup::Missing(reason) => json!({"missing": reason}),
        Lookup::NoNumber(reason) => json!({"noNumber": reason}),
        Lookup::NoSeries => json!({"noNumber": NO_SERIES}),
        Lookup::Ambiguous(reason) => json!({"ambiguous": reason}),
        Lookup::Contradicted(reason) => json!({"contradicted": reason}),
        Lookup::OtherEngine { engine, reason } => {
            json!({"missing": reason, "pageOf": engine.profile().name})
        }
    }
}

fn sample_case(sample: &Sample) -> Value {
    let Sample { value, age, doubt, copies, .. } = sample;
    let (field, value) = match value {
        Quantity::Number(number) if number.is_finite() => ("value", json!(number)),
        Quantity::Buckets(buckets) => ("buckets", buckets_case(buckets)),
        Quantity::Number(_) | Quantity::Absent => {
            return json!({"noNumber": "the page has no usable number"});
        }
    };
    let mut case = json!({"ageSeconds": age.as_secs_f64(), "copies": copies});
    case[field] = value;
    if let Some(doubt) = doubt {
        case["doubt"] = json!(doubt);
    }
    case
}

fn buckets_case(buckets: &Buckets) -> Value {
    let text = |bound: &f64| if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
    let bounds = buckets.bounds().iter().map(text);
    json!(bounds.zip(buckets.counts().iter().copied()).collect::<BTreeMap<_, _>>())
}

fn query_case(query: &QueryLookup) -> Value {
    match query {
        QueryLookup::Numbers { numbers, age, warning, complete } => json!({
            "numbers": numbers,
            "ageSeconds": age.as_secs_f64(),
            "warning": warning,
            "complete": complete,
        }),
        QueryLookup::Pending => json!({"pending": true}),
        QueryLookup::Missing(reason) => json!({"missing": reason}),
    }
}

/// Returns the target's own object as the entry of its role has it, in the field `workload`.
pub fn workload(workload: &Workload) -> Value {
    let rollout = workload.rollout.map(|rollout| {
        json!({
            "updated": rollout.updated,
            "wanted": rollout.wanted,
            "ready": rollout.ready,
            "generation": rollout.generation,
        })
    });
    json!({
        "firstOrdinal": workload.first_ordinal,
        "isOrdered": workload.is_ordered,
        "rollout": rollout,
        "isGivenUp": workload.is_given_up,
    })
}
