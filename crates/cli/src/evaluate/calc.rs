//! The replica calculator: one metric, one proposal.

use std::collections::BTreeMap;

use llm_autoscaler_api::messages::{MetricDescription, ObjectDescription, selector_text};
use llm_autoscaler_core::{
    MetricKind, MetricPolicy, Milli, Observation, Phase, Policy, Profile, Reading, Replica, Scale,
    Target, Tolerances, propose,
};
use serde_json::{Value, json};

use super::{
    Unsupported,
    input::{Case, Pod},
    spec::{NAMESPACE, calculator_selector, settings},
};

/// Answers a case of mode `calc`.
pub(super) fn answer(case: &Case, profile: Profile) -> Result<Value, Unsupported> {
    let metric = metric(case)?;
    let policy = Policy {
        min_replicas: 0,
        max_replicas: i32::MAX,
        metrics: vec![metric],
        tolerance: Tolerances {
            down: case.tolerance_down.unwrap_or(0.1),
            up: case.tolerance_up.unwrap_or(0.1),
        },
        behavior: None,
        to_zero: None,
        fallback: None,
        profile,
        settings: settings(case),
    };
    let pods = Pods::new(&case.pods);
    let (reading, error) = reading(case, metric.kind, &pods);
    let observation = Observation {
        scale: Scale { current: case.current, status: case.current },
        replicas: pods.replicas(),
        ..Observation::default()
    };
    Ok(match propose(&policy, &metric, &reading, &observation) {
        Ok(proposal) => json!({"replicas": proposal.replicas, "usage": proposal.usage}),
        Err(failed) => json!({"error": words(error).failure(&metric, failed).error}),
    })
}

fn metric(case: &Case) -> Result<MetricPolicy, Unsupported> {
    let target = Milli(case.target);
    let (kind, target) = match case.kind.as_str() {
        "pods" => (MetricKind::PerReplica, Target::AverageValue(target)),
        "object_value" => (MetricKind::Object, Target::Value(target)),
        "object_average" => (MetricKind::Object, Target::AverageValue(target)),
        "external_value" => (MetricKind::External, Target::Value(target)),
        "external_average" => (MetricKind::External, Target::AverageValue(target)),
        other => return Err(Unsupported::new(format!("kind {other}"))),
    };
    Ok(MetricPolicy { kind, target })
}

fn words(error: Option<String>) -> MetricDescription {
    MetricDescription {
        name: "qps".to_owned(),
        namespace: NAMESPACE.to_owned(),
        object: ObjectDescription { kind: "Deployment".to_owned(), name: NAMESPACE.to_owned() },
        selector: selector_text(Some(&calculator_selector())),
        error,
    }
}

/// What the metrics API says, or the error of the client.
fn reading(case: &Case, kind: MetricKind, pods: &Pods) -> (Reading, Option<String>) {
    let samples =
        || case.pod_metrics.iter().map(|(name, sample)| (name.clone(), sample.value())).collect();
    let answer = match kind {
        _ if !case.metric_error.is_empty() => Err(case.metric_error.clone()),
        MetricKind::PerReplica | MetricKind::Pooled => Ok(Answer::PerPod(samples())),
        MetricKind::Object => match case.object {
            Some(value) => Ok(Answer::Object(value)),
            None => Err("the server could not find the metric".to_owned()),
        },
        MetricKind::External => Ok(Answer::External(case.external.clone())),
    };
    read(kind, answer, pods)
}

/// What a metrics API answers.
pub(super) enum Answer {
    PerPod(BTreeMap<String, i64>),
    Object(i64),
    External(Vec<i64>),
}

/// The reading that an answer is, or the words of the HPA's client for an error or an empty answer.
pub(super) fn read(
    kind: MetricKind,
    answer: Result<Answer, String>,
    pods: &Pods,
) -> (Reading, Option<String>) {
    let api =
        if kind == MetricKind::External { "external metrics API" } else { "custom metrics API" };
    let nothing = || (Reading::Failed, Some(format!("no metrics returned from {api}")));
    match answer {
        Err(error) => {
            (Reading::Failed, Some(format!("unable to fetch metrics from {api}: {error}")))
        }
        Ok(Answer::PerPod(samples)) if samples.is_empty() => nothing(),
        Ok(Answer::External(values)) if values.is_empty() => nothing(),
        Ok(Answer::PerPod(samples)) => (pods.reading(samples), None),
        Ok(Answer::Object(value)) => (Reading::Object(Milli(value)), None),
        Ok(Answer::External(values)) => {
            (Reading::External(values.into_iter().map(Milli).collect()), None)
        }
    }
}

/// The pods that the selector finds, one for each name.
pub(super) struct Pods(BTreeMap<String, Replica>);

impl Pods {
    pub(super) fn new(pods: &[Pod]) -> Self {
        Self(pods.iter().map(|pod| (pod.name.clone(), replica(pod))).collect())
    }

    pub(super) fn replicas(&self) -> Vec<Replica> {
        self.0.values().copied().collect()
    }

    fn reading(&self, mut samples: BTreeMap<String, i64>) -> Reading {
        let own = self.0.keys().map(|name| samples.remove(name).map(Milli)).collect();
        Reading::PerReplica { samples: own, strays: samples.into_values().map(Milli).collect() }
    }
}

fn replica(pod: &Pod) -> Replica {
    let phase = match pod.phase.as_str() {
        "" | "Running" => Phase::Running,
        "Pending" => Phase::Pending,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        _ => Phase::Unknown,
    };
    let ready = matches!(pod.ready.as_str(), "" | "True");
    Replica { phase, deleting: pod.deleted, ready, stuck: pod.stuck }
}
