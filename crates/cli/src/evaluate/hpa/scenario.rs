//! Timelines as they are written, with the fields of `tests/conformance/oracle/types.go`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{pods::Pod, spec::HpaSpec};
use crate::evaluate::fields::or_default;

/// The part of a case that only mode `timeline` has.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct Case")]
pub(super) struct TimelineCase {
    pub(super) timeline: Option<Timeline>,
}

/// Steps of an autoscaler through virtual time.
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

/// A change of the cluster, and then a step of the autoscaler.
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
    /// True if the autoscaler's process is restarted before this step.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) restart: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) no_reconcile: bool,
}

/// The answers of all metrics APIs about one metric name.
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
