//! Observations as tables: pods and answers of sources in, a reading and findings out.

mod doubt;
mod failover;
mod other_pods;
mod properties;
mod queries;
mod replicas;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::{TargetConfig, parse_target, workloads::Grouping};
use llm_autoscaler_core::{Milli, Precision, Profile, Reading, Scale, Selector};
use llm_autoscaler_engines::{Buckets, exposition::Value};
use serde_json::{Value as Json, json};

use super::{Observations, Origin, TargetObservation, TargetSnapshot, observe};
use crate::{
    pod::{Members, Pod, Trouble, TroubleKind},
    progress::ProgressTracker,
    replicas::Replicas,
    samples::{
        Found, Lookup, QueryLookup, Sample, Samples, SourceKind, SourceSamples, VitalLookups,
    },
};

const STARTUP_TIMEOUT: TimeDelta = TimeDelta::minutes(10);

/// A target at one moment. Its pods are `a-0`, `a-1` and so on, in the order of the table.
struct Target {
    config: TargetConfig,
    replicas: Replicas,
    samples: Samples,
    scale: Scale,
    progress: ProgressTracker,
}

/// Returns a target with these metrics and pods, without a source. Its scale is the number of its
/// pods, and there is no advice about its spec.
fn target(metrics: &Json, pods: impl IntoIterator<Item = Pod>) -> Target {
    let spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
        "engine": "VLLM", "minReplicas": 1, "maxReplicas": 100, "metrics": metrics,
        "sources": [{"prometheus": {"url": "http://p"}}],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    let spec = serde_json::from_value(spec).unwrap();
    let config = parse_target(&spec, Profile::Default).unwrap();
    let config = TargetConfig { advice: Vec::new(), ..config };
    let replicas = Replicas::of(&members(pods), &[]);
    let size = replicas.list.len() as i32;
    let scale = Scale { current: size, status: size };
    let (samples, progress) = Default::default();
    Target { config, replicas, samples, scale, progress }
}

/// Returns a target with one metric, the number of waiting requests, at 10 per replica.
fn waiting(pods: impl IntoIterator<Item = Pod>) -> Target {
    target(&json!([average("WaitingRequests", 10)]), pods)
}

/// Returns a target with one metric, the 90th percentile of the time to the first token.
fn ttft(pods: impl IntoIterator<Item = Pod>) -> Target {
    let target_value = json!({"type": "Value", "value": "2"});
    target(&json!([{"signal": "TimeToFirstToken", "target": target_value}]), pods)
}

fn average(signal: &str, per_replica: i32) -> Json {
    let target = json!({"type": "AverageValue", "averageValue": per_replica.to_string()});
    json!({"signal": signal, "target": target})
}

/// Returns so many ready pods of the target.
fn pods(count: usize) -> Vec<Pod> {
    (0..count).map(|ordinal| Pod::serving(&format!("a-{ordinal}"), "a")).collect()
}

fn members(pods: impl IntoIterator<Item = Pod>) -> Members {
    let pods = pods.into_iter().map(|pod| (pod.name.clone(), Arc::new(pod)));
    Arc::new(pods.collect::<BTreeMap<_, _>>())
}

/// Returns the pod, not ready since the epoch.
fn unready(pod: Pod) -> Pod {
    let since = DateTime::UNIX_EPOCH;
    let mut pod = Pod { trouble: Some(Trouble { kind: TroubleKind::NotReady, since }), ..pod };
    pod.replica.ready = false;
    pod
}

impl Target {
    /// Adds an active source, with these answers about the first metric.
    fn source(self, kind: SourceKind, answers: Vec<Lookup>) -> Self {
        self.source_of_metrics(kind, vec![answers])
    }

    /// Adds an active source, with these answers about each metric.
    fn source_of_metrics(mut self, kind: SourceKind, metrics: Vec<Vec<Lookup>>) -> Self {
        self.samples.sources.push(SourceSamples {
            kind,
            is_active: true,
            metrics,
            queries: Vec::new(),
            requests: Vec::new(),
            latency: Vec::new(),
            sleep: Default::default(),
            vitals: VitalLookups::default(),
            slo: Vec::new(),
            queued: Vec::new(),
        });
        self
    }

    /// Adds a source that is not active.
    fn inactive_source(self, kind: SourceKind) -> Self {
        let mut target = self.source_of_metrics(kind, Vec::new());
        target.samples.sources.last_mut().unwrap().is_active = false;
        target
    }

    /// Adds a Prometheus server, with this answer to the query of the first metric.
    fn query(self, server: &str, answer: QueryLookup) -> Self {
        let mut target = self.source_of_metrics(prometheus(server), vec![Vec::new()]);
        target.samples.sources.last_mut().unwrap().queries = vec![Some(answer)];
        target
    }

    /// Groups the pods into replicas by another rule.
    fn grouped(self, groupings: &[Grouping]) -> Self {
        let replicas = Replicas::of(&self.replicas.reporting_pods, groupings);
        let size = replicas.list.len() as i32;
        Self { replicas, scale: Scale { current: size, status: size }, ..self }
    }

    fn sized(self, current: i32, status: i32) -> Self {
        Self { scale: Scale { current, status }, ..self }
    }

    fn snapshot(&self, now: DateTime<Utc>) -> TargetSnapshot<'_> {
        TargetSnapshot {
            config: &self.config,
            replicas: &self.replicas,
            samples: &self.samples,
            scale: self.scale,
            selector: Selector::Valid,
            scaled_to_zero: false,
            woken: false,
            progress: &self.progress,
            startup_timeout: STARTUP_TIMEOUT,
            now,
        }
    }

    fn observe(&self) -> Observations {
        self.observe_at(0)
    }

    /// Observes the target at a second after the epoch.
    fn observe_at(&self, second: i64) -> Observations {
        observe(&self.snapshot(DateTime::UNIX_EPOCH + TimeDelta::seconds(second)))
    }
}

impl TargetObservation {
    fn reading(&self) -> &Reading {
        &self.observation.readings[0]
    }

    fn origin(&self) -> &Origin {
        &self.findings.origins[0]
    }

    /// Returns the problems as `name: text`.
    fn problems(&self) -> Vec<String> {
        let problems = self.findings.problems.iter();
        problems.map(|problem| format!("{}: {}", problem.of, problem.text)).collect()
    }
}

fn prometheus(url: &str) -> SourceKind {
    SourceKind::Prometheus { url: url.to_owned(), clock_ahead: None, warning: None }
}

/// Returns a sample beyond doubt that is 3 s old.
fn sample(number: f64) -> Lookup {
    sample_of(Value::Number(number), None)
}

/// Returns a sample in doubt.
fn doubtful(number: f64) -> Lookup {
    sample_of(Value::Number(number), Some("connection refused"))
}

fn sample_of(value: Value, doubt: Option<&str>) -> Lookup {
    Lookup::Sample(Sample {
        value,
        age: Duration::from_secs(3),
        doubt: doubt.map(|doubt| doubt.to_owned().into()),
        found: Found::default(),
        copies: 1,
    })
}

/// Returns a sample of so many events, each of which took between 1 and 2 s.
fn events(count: f64) -> Lookup {
    let buckets = Buckets::new([(1.0, 0.0), (2.0, count), (f64::INFINITY, count)]).unwrap();
    sample_of(Value::Buckets(buckets), None)
}

fn pending() -> Lookup {
    Lookup::Pending { error: None }
}

fn missing(reason: &str) -> Lookup {
    Lookup::Missing(reason.to_owned())
}

fn per_replica(samples: &[Option<i64>]) -> Reading {
    let samples = samples.iter().map(|sample| sample.map(Milli::whole)).collect();
    Reading::PerReplica { samples, strays: Vec::new() }
}

fn total(value: i64, complete: bool) -> Reading {
    Reading::Total { value: Milli::whole(value), precision: Precision::Exact, complete }
}
