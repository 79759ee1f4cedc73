//! `spec.podMonitor`: the PodMonitor that publishes the pods' metrics to Prometheus.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::source::short_text;

/// The PodMonitor that makes Prometheus scrape the pods of the target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodMonitorSpec {
    /// Create: the operator creates a PodMonitor with the name of the autoscaler, owns it and keeps
    /// it up to date. Disabled: it creates none, and removes the one that it created.
    #[serde(default)]
    pub mode: PodMonitorMode,
    /// The interval at which Prometheus scrapes, in seconds. Defaults to 15.
    #[serde(default = "fifteen")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// Labels of the PodMonitor. Many Prometheus installations select PodMonitors by a label, such
    /// as release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = short_text(63)))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the PodMonitor, such as arms.prometheus.io/discovery: "true".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = short_text(4096)))]
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

/// The choice whether to create a PodMonitor.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodMonitorMode {
    /// Create a PodMonitor and keep it up to date.
    #[default]
    Create,
    /// Create no PodMonitor, and remove the one that the operator created.
    Disabled,
}
