//! Pods as the oracle has them, and the readings that the metrics APIs give of them.

use std::collections::BTreeMap;

use llm_autoscaler_core::{EngineActivity, MetricKind, Milli, Phase, Reading, Replica};
use serde::Deserialize;

use crate::evaluate::fields::or_default;

/// A pod, without the fields that matter to resource metrics only.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Pod {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) phase: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ready: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) deleted: bool,
    /// True if it will not become ready by waiting, which the HPA does not know of.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) stuck: bool,
    /// The activity of its engine, which the HPA does not know of.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) activity: Activity,
}

/// The activity of an engine.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) enum Activity {
    #[default]
    Unknown,
    Answering,
    Asleep,
    Wedged,
}

/// The pods that the selector matches, one for each name.
pub(super) struct Pods(BTreeMap<String, Replica>);

/// The answer of a metrics API, in thousandths.
pub(super) enum MetricsAnswer {
    /// A value for each pod, by name.
    PerPod(BTreeMap<String, i64>),
    /// The value of an object.
    Object(i64),
    /// The values of an external metric.
    External(Vec<i64>),
}

impl Pods {
    pub(super) fn new(pods: &[Pod]) -> Self {
        Self(pods.iter().map(|pod| (pod.name.clone(), replica(pod))).collect())
    }

    pub(super) fn replicas(&self) -> Vec<Replica> {
        self.0.values().copied().collect()
    }

    /// Returns the reading that an answer is, or the error text of the HPA's client if the API
    /// failed or returned nothing.
    pub(super) fn reading(
        &self,
        kind: MetricKind,
        answer: Result<MetricsAnswer, String>,
    ) -> (Reading, Option<String>) {
        let is_external = kind == MetricKind::External;
        let api = if is_external { "external metrics API" } else { "custom metrics API" };
        let nothing = || (Reading::Failed, Some(format!("no metrics returned from {api}")));
        match answer {
            Err(error) => {
                (Reading::Failed, Some(format!("unable to fetch metrics from {api}: {error}")))
            }
            Ok(MetricsAnswer::PerPod(samples)) if samples.is_empty() => nothing(),
            Ok(MetricsAnswer::External(values)) if values.is_empty() => nothing(),
            Ok(MetricsAnswer::PerPod(samples)) => (self.per_replica(samples), None),
            Ok(MetricsAnswer::Object(value)) => (Reading::Object(Milli(value)), None),
            Ok(MetricsAnswer::External(values)) => {
                (Reading::External(values.into_iter().map(Milli).collect()), None)
            }
        }
    }

    fn per_replica(&self, mut samples: BTreeMap<String, i64>) -> Reading {
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
    let activity = match pod.activity {
        Activity::Unknown => EngineActivity::Unknown,
        Activity::Answering => EngineActivity::Answering,
        Activity::Asleep => EngineActivity::Asleep,
        Activity::Wedged => EngineActivity::Wedged,
    };
    Replica { phase, deleting: pod.deleted, ready, stuck: pod.stuck, activity }
}
