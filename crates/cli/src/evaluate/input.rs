//! The cases as they are written: the fields and defaults of `tests/conformance/oracle/types.go`.
//!
//! Times are ages in seconds, metric values and targets are in thousandths.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer};

use super::spec::{HpaSpec, RulesSpec};

/// One question.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) mode: String,

    pub(super) tolerance_up: Option<f64>,
    pub(super) tolerance_down: Option<f64>,
    pub(super) downscale_stabilization_s: Option<f64>,
    pub(super) scale_up_limit_factor: Option<f64>,
    pub(super) scale_to_zero_gate: Option<bool>,

    #[serde(default, deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) target: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) pods: Vec<Pod>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) pod_metrics: BTreeMap<String, PodMetric>,
    pub(super) object: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) external: Vec<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) metric_error: String,

    #[serde(default, deserialize_with = "or_default")]
    pub(super) current: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) desired: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) min: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) max: i32,
    pub(super) scale_up_rules: Option<RulesSpec>,
    pub(super) scale_down_rules: Option<RulesSpec>,
    pub(super) scale_up_events: Option<Vec<Event>>,
    pub(super) scale_down_events: Option<Vec<Event>>,
    pub(super) recommendations: Option<Vec<PastRecommendation>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) up_window_s: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) down_window_s: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) direction: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) prev: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) next: i32,

    pub(super) timeline: Option<Timeline>,
}

/// A pod; of its fields only those that matter to metrics that are not resource metrics.
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
    /// It will not get ready by waiting; nothing that the HPA knows of.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) stuck: bool,
}

/// A sample: a bare number, or an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PodMetric {
    Bare(i64),
    Full {
        #[serde(default, deserialize_with = "or_default")]
        value: i64,
        containers: Option<BTreeMap<String, i64>>,
    },
}

impl PodMetric {
    /// The pod's value: the sum of its containers where they are told apart.
    pub(super) fn value(&self) -> i64 {
        match self {
            Self::Bare(value) | Self::Full { value, containers: None } => *value,
            Self::Full { containers: Some(containers), .. } => {
                containers.values().fold(0, |sum, value| sum.wrapping_add(*value))
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) change: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ago_s: f64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) outdated: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct PastRecommendation {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) replicas: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ago_s: f64,
}

/// A run of the whole step through virtual time.
#[derive(Debug, Deserialize)]
pub(super) struct Timeline {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) engine: String,
    pub(super) spec: HpaSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) initial_replicas: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) initial_status: InitialStatus,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) new_pod_pending_s: f64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) new_pod_ready_s: f64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) steps: Vec<WorldStep>,
}

/// The status before the first step.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitialStatus {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) current_replicas: i32,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) desired_replicas: i32,
    pub(super) last_scale_time: Option<DateTime<Utc>>,
    pub(super) observed_generation: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) conditions: Vec<InitialCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InitialCondition {
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    pub(super) type_: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) reason: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) message: String,
    pub(super) last_transition_time: Option<DateTime<Utc>>,
}

/// A change of the world, and then a step of the autoscaler.
#[derive(Debug, Deserialize)]
pub(super) struct WorldStep {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) t: f64,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) metrics: BTreeMap<String, MetricState>,
    pub(super) pods: Option<Vec<Pod>>,
    pub(super) set_replicas: Option<i32>,
    pub(super) status_replicas: Option<i32>,
    pub(super) spec: Option<HpaSpec>,
    pub(super) selector: Option<String>,
    pub(super) get_scale_error: Option<String>,
    pub(super) update_scale_error: Option<String>,
    /// The autoscaler's process starts again before this step.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) restart: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) no_reconcile: bool,
}

/// What every API says about one metric name.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct MetricState {
    pub(super) each: Option<i64>,
    pub(super) total: Option<i64>,
    pub(super) per_pod: Option<Vec<i64>>,
    pub(super) object: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) external: Vec<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) error: String,
}

/// `null` is the same as nothing, as Go reads it.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Seconds, cut off to nanoseconds.
pub(super) fn seconds(seconds: f64) -> TimeDelta {
    TimeDelta::nanoseconds((seconds * 1e9) as i64)
}
