//! Mode `calc`, the replica calculator: one metric, one proposal.

use std::collections::BTreeMap;

use llm_autoscaler_api::messages::{MetricDescription, ObjectDescription, selector_text};
use llm_autoscaler_core::{
    MetricKind, MetricPolicy, Milli, Observation, Policy, Profile, Reading, Scale, Target,
    Tolerances, propose,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    pods::{MetricsAnswer, Pod, Pods},
    settings::SettingsCase,
    spec::{NAMESPACE, calculator_selector},
};
use crate::evaluate::{answer::Unsupported, fields::or_default};

/// A case about one metric. Values and the target are in thousandths.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct Case")]
pub(super) struct CalculatorCase {
    #[serde(default, deserialize_with = "or_default")]
    kind: String,
    #[serde(default, deserialize_with = "or_default")]
    target: i64,
    #[serde(default, deserialize_with = "or_default")]
    pods: Vec<Pod>,
    #[serde(default, deserialize_with = "or_default")]
    pod_metrics: BTreeMap<String, PodMetric>,
    object: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    external: Vec<i64>,
    #[serde(default, deserialize_with = "or_default")]
    metric_error: String,
    #[serde(default, deserialize_with = "or_default")]
    current: i32,
}

/// A sample: a bare number, or an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PodMetric {
    Bare(i64),
    Full {
        #[serde(default, deserialize_with = "or_default")]
        value: i64,
        containers: Option<BTreeMap<String, i64>>,
    },
}

impl PodMetric {
    /// Returns the pod's value: the sum of its containers, if the sample lists them.
    fn value(&self) -> i64 {
        match self {
            Self::Bare(value) | Self::Full { value, containers: None } => *value,
            Self::Full { containers: Some(containers), .. } => {
                containers.values().fold(0, |sum, value| sum.wrapping_add(*value))
            }
        }
    }
}

/// Answers a case of mode `calc`.
pub(super) fn answer(
    case: &CalculatorCase,
    settings: &SettingsCase,
    profile: Profile,
) -> Result<Value, Unsupported> {
    let metric = metric(case)?;
    let policy = Policy {
        min_replicas: 0,
        max_replicas: i32::MAX,
        metrics: vec![metric],
        tolerance: Tolerances { down: settings.tolerance_down(), up: settings.tolerance_up() },
        behavior: None,
        to_zero: None,
        fallback: None,
        profile,
        settings: settings.settings(),
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
        Err(failed) => json!({"error": description(error).failure(&metric, failed).error}),
    })
}

fn metric(case: &CalculatorCase) -> Result<MetricPolicy, Unsupported> {
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

fn description(error: Option<String>) -> MetricDescription {
    MetricDescription {
        name: "qps".to_owned(),
        namespace: NAMESPACE.to_owned(),
        object: ObjectDescription { kind: "Deployment".to_owned(), name: NAMESPACE.to_owned() },
        selector: selector_text(Some(&calculator_selector())),
        error,
        promised: None,
    }
}

/// Returns the reading of the metrics API, and the error of its client.
fn reading(case: &CalculatorCase, kind: MetricKind, pods: &Pods) -> (Reading, Option<String>) {
    let samples =
        || case.pod_metrics.iter().map(|(name, sample)| (name.clone(), sample.value())).collect();
    let answer = match kind {
        _ if !case.metric_error.is_empty() => Err(case.metric_error.clone()),
        MetricKind::PerReplica | MetricKind::Pooled => Ok(MetricsAnswer::PerPod(samples())),
        MetricKind::Object => match case.object {
            Some(value) => Ok(MetricsAnswer::Object(value)),
            None => Err("the server could not find the metric".to_owned()),
        },
        MetricKind::External => Ok(MetricsAnswer::External(case.external.clone())),
    };
    pods.reading(kind, answer)
}
