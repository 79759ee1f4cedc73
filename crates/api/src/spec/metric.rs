//! `spec.metrics`: what decides on the number of replicas.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Quantity;

/// One metric and its target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.signal), has(self.series), has(self.query)].filter(given, given).size() == 1")
        .message("give exactly one of signal, series and query"),
    validation = Rule::new("!has(self.query) || !has(self.windowSeconds) && !has(self.percentile)")
        .message("a query says itself what it is made of: windowSeconds and percentile are for signals and series"),
    validation = Rule::new("!has(self.signal) || (self.signal in ['TimeToFirstToken', 'InterTokenLatency', 'QueueTime', 'RequestLatency']) == (self.target.type == 'Value')")
        .message("signals of requests and tokens take a target of type AverageValue, those of times one of type Value")
        .field_path(".target.type")
)]
#[serde(rename_all = "camelCase")]
pub struct MetricSpec {
    /// A name that is unique in this list; status and conditions use it. May be left out of one metric,
    /// which then is called as its signal or series.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub name: String,

    /// What to read, in the engine's terms. Requests: WaitingRequests (queued), RunningRequests (being answered),
    /// InFlightRequests (both). KVCacheUsage: the share (0 to 1) of the KV cache that is in use. Per second: RequestRate,
    /// PromptTokenRate, GenerationTokenRate, PreemptionRate. Times in seconds, by their percentile: TimeToFirstToken,
    /// InterTokenLatency, QueueTime, RequestLatency. Between prefill and decode: PrefillHandoverRequests,
    /// DecodeHandoverRequests. Not every engine gives all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalName>,

    /// What to read, by the name of a series of the pods' own metrics page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesSpec>,

    /// What to read, as PromQL; needs a Prometheus among the sources. With a target of type AverageValue the series of
    /// the result are added up, and the total is divided by the number of replicas; with one of type Value the result
    /// has to be one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub query: Option<String>,

    /// Over which time: a gauge's mean, a counter's rate per second, a histogram's percentile. If absent, a gauge is taken as
    /// it is, and the others over 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub window_seconds: Option<i32>,

    /// Which percentile of a histogram. 90 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub percentile: Option<i32>,

    /// What the metric is compared with.
    pub target: MetricTarget,
}

/// Something that engines know about themselves, whatever they call it.
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
    /// Requests answered per second.
    RequestRate,
    /// Tokens of prompts per second.
    PromptTokenRate,
    /// Tokens generated per second.
    GenerationTokenRate,
    /// Requests per second that lost their place in the batch.
    PreemptionRate,
    /// From a request's arrival to its first token, in seconds.
    TimeToFirstToken,
    /// Between two tokens of an answer, in seconds.
    InterTokenLatency,
    /// From a request's arrival to its start, in seconds.
    QueueTime,
    /// From a request's arrival to its last token, in seconds.
    RequestLatency,
    /// Requests between prefill and decode, on the prefill side.
    PrefillHandoverRequests,
    /// Requests between prefill and decode, on the decode side.
    DecodeHandoverRequests,
}

/// A series by name. Where a pod has several that match, their values are added up.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct SeriesSpec {
    /// Its name, such as vllm:num_requests_waiting. A histogram's is without _bucket.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub name: String,
    /// What it is. If absent, a name that ends in _total is a Counter, a metric with a percentile a Histogram, and any
    /// other a Gauge.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<SeriesType>,
    /// Which of the series of that name count; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SeriesSelector>,
}

/// A gauge by name. Where a pod has several series that match, their values are added up.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct GaugeSpec {
    /// Its name, such as `sglang:num_queue_reqs`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub name: String,
    /// Which of the series of that name count; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SeriesSelector>,
}

/// What a series is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeriesType {
    /// It goes up and down.
    Gauge,
    /// It only grows; its rate per second counts.
    Counter,
    /// It counts events by size; their percentile counts.
    Histogram,
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
#[x_kube(
    validation = Rule::new("self.type == 'Value' ? has(self.value) && !has(self.averageValue) : has(self.averageValue) && !has(self.value)")
        .message("give averageValue with type AverageValue, value with type Value, and not the other")
)]
#[serde(rename_all = "camelCase")]
pub struct MetricTarget {
    /// AverageValue: the mean over the replicas, or a total divided by their number. Value: one value for the whole service.
    #[serde(rename = "type")]
    pub type_: TargetType,
    /// The value that the mean is kept at: a whole number, or a quantity such as "0.8" or 800m.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("averageValue must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// The value that the service is kept at: a whole number, or a quantity such as "0.8" or 800m.
    #[x_kube(validation = Rule::new("quantity(string(self)).isGreaterThan(quantity('0'))").message("value must be greater than 0"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
}

/// How a target is meant.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetType {
    /// The mean over the replicas is kept at `averageValue`.
    AverageValue,
    /// The value of the service is kept at `value`.
    Value,
}
