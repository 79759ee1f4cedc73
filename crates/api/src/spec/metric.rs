//! `spec.metrics`: the metrics that decide on the number of replicas.

use std::collections::BTreeMap;

use kube::{KubeSchema, core::Rule};
use llm_autoscaler_engines::{Signal, TargetType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    name::{SignalName, TargetTypeName},
    source::short_text,
};
use crate::Quantity;

/// A metric and its target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.signal), has(self.series), has(self.query)].filter(given, given).size() == 1")
        .message("give exactly one of signal, series and query"),
    validation = Rule::new("!has(self.query) || !has(self.windowSeconds) && !has(self.percentile)")
        .message("a query says itself what it is made of: windowSeconds and percentile are for signals and series"),
    validation = signal_rule()
)]
#[serde(rename_all = "camelCase")]
pub struct MetricSpec {
    /// A name that is unique in this list, for status and conditions. One metric may have none, and
    /// is called by its signal or series then.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub name: String,

    /// The signal to read. Its series are those of the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,

    /// The series to read from the pods' own metrics pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesSpec>,

    /// The PromQL expression to evaluate; it needs a Prometheus among the sources. With a target of
    /// type AverageValue the values of the resulting series are added up, and the total is divided
    /// by the number of replicas. With one of type Value the result must be a single number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub query: Option<String>,

    /// The window, in seconds: of a gauge's mean, a counter's rate per second, a histogram's
    /// percentile. If absent, a gauge's latest value is used, and 60 s for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub window_seconds: Option<i32>,

    /// The percentile of a histogram. 90 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub percentile: Option<i32>,

    /// The value that the metric is compared with.
    pub target: MetricTarget,
}

/// A series by name. If a pod has several that match, their values are added up.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("!has(self.absent) || !has(self.type) || self.type != 'Histogram'")
        .message("absent is for gauges and counters: a histogram without events has no percentile")
)]
pub struct SeriesSpec {
    /// The name of the series, such as `vllm:num_requests_waiting`; a histogram's may be given
    /// with or without `_bucket`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub name: String,
    /// The type of the series. If absent, a metric with a percentile is a Histogram, a name that
    /// ends in `_total`, `_count` or `_sum` a Counter, one that ends in `_bucket` a Histogram (with
    /// a selector for `le` a Counter), and any other a Gauge. A page whose `# TYPE` contradicts the
    /// type has no sample.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<SeriesType>,
    /// Selects series of that name by their labels; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SeriesSelector>,
    /// What a metrics page without the series means; left out, the pod has no sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<AbsentSeries>,
}

/// What a metrics page without the series means. Zero: it counts as 0, for programs that publish it
/// only after their first request. Only a page that is a metrics page and has anything on it gives
/// a 0; an empty page, one that fails, and a Prometheus server never do. If this is left out, a pod
/// without the series has no sample. For gauges and counters.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsentSeries {
    /// The series counts as 0.
    Zero,
}

/// A gauge by name. If a pod has several series that match, their values are added up.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GaugeSpec {
    /// The name of the series, such as `sglang:num_queue_reqs`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub name: String,
    /// Selects series of that name by their labels; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SeriesSelector>,
    /// What a metrics page without the series means; left out, the pod has no sample. Give it to
    /// all of the series or to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<AbsentSeries>,
}

/// The type of a series.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesType {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows, read as its rate per second.
    Counter,
    /// Counts of events by size, read as a percentile of the events.
    Histogram,
}

/// Selects series by their labels: those that meet all requirements. A series without a label has
/// an empty value of it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SeriesSelector {
    /// Labels that a series must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16, "additionalProperties" = short_text(1024)))]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements for labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A requirement for a label of a series.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)")
        .message("In and NotIn need values, Exists and DoesNotExist have none")
        .field_path(".values")
)]
#[serde(rename_all = "camelCase")]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// In: it has one of the values. NotIn: it has none of them. Exists: it has a value.
    /// DoesNotExist: it has none.
    pub operator: LabelOperator,
    /// The values for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)))]
    pub values: Vec<String>,
}

/// The operator of a requirement for a label.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label has none of the values.
    NotIn,
    /// The label has a value.
    Exists,
    /// The label has no value.
    DoesNotExist,
}

/// The target of a metric.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("self.type == 'Value' ? has(self.value) && !has(self.averageValue) : has(self.averageValue) && !has(self.value)")
        .message("give averageValue with type AverageValue, value with type Value, and not the other")
)]
#[serde(rename_all = "camelCase")]
pub struct MetricTarget {
    /// AverageValue: the mean over the replicas, or a total divided by their number. Value: one
    /// value for the whole service.
    #[serde(rename = "type")]
    pub type_: TargetTypeName,
    /// The value that the mean is kept at: a whole number, or a quantity such as "0.8" or 800m.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("averageValue must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// The value that the service is kept at: a whole number, or a quantity such as "0.8" or 800m.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("value must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
}

/// Allows each signal only with a target of the type that makes sense for its kind.
fn signal_rule() -> Rule {
    let of_service = Signal::ALL.iter().map(|signal| signal.info());
    let of_service = of_service.filter(|info| info.kind.target() == TargetType::Value);
    let names: Vec<String> = of_service.map(|info| format!("'{}'", info.name)).collect();
    let names = names.join(", ");
    Rule::new(format!("!has(self.signal) || (self.signal in [{names}]) == (self.target.type == 'Value')"))
        .message("signals of requests and tokens take a target of type AverageValue, those of times one of type Value")
        .field_path(".target.type")
}
