//! `spec` of an `LLMAutoscaler`, version `v1alpha1`.
//!
//! Field names follow `autoscaling/v2` wherever that has one. The docstrings are what `kubectl explain`
//! prints, so they are written for the person who runs it.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BehaviorSpec, LLMAutoscalerStatus, Quantity};

/// Keeps an LLM inference service at the right number of replicas, by its engine's own metrics.
// Columns repeat their keys; clippy takes them for duplicates.
#[allow(clippy::duplicated_attributes)]
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "llmautoscaler.io",
    version = "v1alpha1",
    kind = "LLMAutoscaler",
    plural = "llmautoscalers",
    singular = "llmautoscaler",
    shortname = "llmas",
    category = "autoscaling",
    namespaced,
    status = "LLMAutoscalerStatus",
    derive = "PartialEq",
    doc = "Keeps an LLM inference service at the right number of replicas, by its engine's own metrics.",
    selectable = ".spec.scaleTargetRef.name",
    printcolumn(
        name = "Reference",
        type_ = "string",
        json_path = ".status.reference",
        description = "What is scaled"
    ),
    printcolumn(name = "Engine", type_ = "string", json_path = ".spec.engine"),
    printcolumn(
        name = "Targets",
        type_ = "string",
        json_path = ".status.summary",
        description = "Current value / target of each metric"
    ),
    printcolumn(name = "MinPods", type_ = "integer", json_path = ".spec.minReplicas"),
    printcolumn(name = "MaxPods", type_ = "integer", json_path = ".spec.maxReplicas"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.currentReplicas"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Last Scale", type_ = "date", json_path = ".status.lastScaleTime", priority = 1)
)]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas")
        .message("minReplicas must not be greater than maxReplicas")
        .field_path(".minReplicas"),
    validation = Rule::new("self.engine != 'Custom' || self.metrics.all(m, has(m.series))")
        .message("engine Custom has no signals: give each metric a series, or name the engine")
        .field_path(".metrics")
)]
#[serde(rename_all = "camelCase")]
pub struct LLMAutoscalerSpec {
    /// The object that is scaled: anything in this namespace that has a scale subresource.
    pub scale_target_ref: ScaleTargetRef,

    /// The inference engine that runs in the target's pods. It decides which series a signal is read from.
    pub engine: EngineName,

    /// The fewest replicas that there may be. 1 if absent.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_replicas: i32,

    /// The most replicas that there may be; not below minReplicas.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_replicas: i32,

    /// What decides on the number of replicas. Each metric proposes a number; the highest wins.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub metrics: Vec<MetricSpec>,

    /// Where samples come from. If absent, the target's own pods are scraped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1))]
    pub sources: Option<Vec<SourceSpec>>,

    /// The PodMonitor that publishes the pods' metrics to Prometheus; if absent, one is kept with the
    /// defaults. Scaling does not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitorSpec>,

    /// How fast and how far the number of replicas may change: exactly as in autoscaling/v2. Without it,
    /// growing is immediate up to the double (or 4), shrinking waits for a window of 300 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<BehaviorSpec>,
}

fn one() -> i32 {
    1
}

impl LLMAutoscalerSpec {
    /// How the pods are scraped, with the defaults where no source is given.
    pub fn scrape(&self) -> ScrapeSpec {
        let given = self.sources.iter().flatten().next();
        given.map(|source| source.scrape.clone()).unwrap_or_default()
    }
}

/// Names an object of this namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Its API group and version, such as apps/v1.
    #[schemars(length(min = 1, max = 316))]
    pub api_version: String,
    /// Its kind, such as StatefulSet.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// An inference engine.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineName {
    /// vLLM.
    VLLM,
    /// Any other program that publishes metrics in Prometheus's text format.
    Custom,
}

/// One metric and its target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.signal) != has(self.series)")
        .message("give exactly one of signal and series")
)]
#[serde(rename_all = "camelCase")]
pub struct MetricSpec {
    /// A name that is unique in this list; status and conditions use it. May be left out of one metric,
    /// which then is called as its signal or series.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub name: String,

    /// What to read, in the engine's terms. WaitingRequests: queued; RunningRequests: being answered;
    /// InFlightRequests: both; KVCacheUsage: the share (0 to 1) of the KV cache that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,

    /// What to read, by the name of a series of the pods' own metrics page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesSpec>,

    /// What the metric is compared with.
    pub target: MetricTarget,
}

/// Something that every engine knows, whatever it calls it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalName {
    /// Requests in the queue.
    WaitingRequests,
    /// Requests that are being answered.
    RunningRequests,
    /// Both of these: an unbounded measure of demand.
    InFlightRequests,
    /// The share of the KV cache that is in use, 0 to 1.
    KVCacheUsage,
}

/// A series by name. Where a pod has several that match, their values are added up.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SeriesSpec {
    /// Its name, such as vllm:num_requests_waiting.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub name: String,
    /// Which of the series of that name count; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SeriesSelector>,
}

/// Chooses series by their labels.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SeriesSelector {
    /// Labels that a series must have, with these values.
    #[schemars(length(max = 16))]
    pub match_labels: BTreeMap<String, String>,
}

/// The target of a metric.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetricTarget {
    /// AverageValue: the mean over the replicas.
    #[serde(rename = "type")]
    pub type_: TargetType,
    /// The value that the mean is kept at: a whole number, or a quantity such as "0.8" or 800m.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("averageValue must be greater than 0"))]
    pub average_value: Quantity,
}

/// How a target is meant.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetType {
    /// The mean over the replicas is kept at `averageValue`.
    AverageValue,
}

/// A place where samples come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// The metrics pages of the target's pods, read directly.
    pub scrape: ScrapeSpec,
}

/// How pods are scraped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("self.timeoutSeconds <= self.intervalSeconds")
        .message("timeoutSeconds must not be greater than intervalSeconds")
        .field_path(".timeoutSeconds")
)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeSpec {
    /// The container port that serves metrics: its name in the pod, or a number.
    #[serde(default = "Port::http")]
    pub port: Port,
    /// The path of the page.
    #[serde(default = "metrics_path")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^\s?#]*$"))]
    pub path: String,
    /// HTTP, or HTTPS without a check of the pod's certificate (a pod's address is in no certificate).
    #[serde(default)]
    pub scheme: Scheme,
    /// How often each pod is read. Where several autoscalers read the same page, the shortest counts.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 300))]
    pub interval_seconds: i32,
    /// After how long a read is given up.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: i32,
}

fn two() -> i32 {
    2
}

fn metrics_path() -> String {
    "/metrics".into()
}

impl Default for ScrapeSpec {
    fn default() -> Self {
        Self {
            port: Port::http(),
            path: metrics_path(),
            scheme: Scheme::default(),
            interval_seconds: two(),
            timeout_seconds: one(),
        }
    }
}

/// A URL scheme.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    HTTP,
    /// HTTP over TLS.
    HTTPS,
}

/// A port, by the name that a container gives it or by number.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Hash)]
#[serde(untagged)]
pub enum Port {
    /// A number from 1 to 65535.
    Number(u16),
    /// A name.
    Name(String),
}

impl Port {
    fn http() -> Self {
        Self::Name("http".into())
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl JsonSchema for Port {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 15,
            "minimum": 1,
            "maximum": 65535,
        })
    }
}

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
