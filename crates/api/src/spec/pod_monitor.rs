//! `spec.podMonitor`: the PodMonitor that publishes the pods' metrics to Prometheus.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The PodMonitor that the operator keeps for the target's pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodMonitorSpec {
    /// Create: the operator keeps a PodMonitor of the autoscaler's name, and owns it. Disabled: it
    /// keeps none, and removes the one it kept.
    #[serde(default)]
    pub mode: PodMonitorMode,
    /// How often Prometheus scrapes.
    #[serde(default = "fifteen")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// Labels of the PodMonitor; many Prometheus installations select by one, such as release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 32))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the PodMonitor, such as arms.prometheus.io/discovery: "true".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 32))]
    pub annotations: BTreeMap<String, String>,
}

fn fifteen() -> i32 {
    15
}

impl Default for PodMonitorSpec {
    fn default() -> Self {
        Self {
            mode: PodMonitorMode::default(),
            interval_seconds: fifteen(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// Whether a PodMonitor is kept.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodMonitorMode {
    /// It is.
    #[default]
    Create,
    /// It is not.
    Disabled,
}
