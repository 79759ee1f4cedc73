//! The messages of KEDA's protocol for external scalers.
//!
//! Their names, field numbers and types are those that KEDA publishes (kedacore/keda,
//! `pkg/scalers/externalscaler/externalscaler.proto`, package `externalscaler`). A number is given
//! as a `double`; the integers beside it are for versions of KEDA before 2.14.

use std::collections::HashMap;

/// The object that KEDA scales, and the metadata of its trigger.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ScaledObjectRef {
    /// The name of the ScaledObject.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// The metadata of the trigger.
    #[prost(map = "string, string", tag = "3")]
    pub scaler_metadata: HashMap<String, String>,
}

/// The answer whether there is anything to do.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct IsActiveResponse {
    /// False if zero replicas suffice.
    #[prost(bool, tag = "1")]
    pub result: bool,
}

/// The metrics of a trigger.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetMetricSpecResponse {
    /// The metrics.
    #[prost(message, repeated, tag = "1")]
    pub metric_specs: Vec<MetricSpec>,
}

/// A metric of the HPA that KEDA makes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetricSpec {
    /// Its name.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// Its target, rounded up.
    #[prost(int64, tag = "2")]
    pub target_size: i64,
    /// Its target.
    #[prost(double, tag = "3")]
    pub target_size_float: f64,
}

/// The question for the value of a metric.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetMetricsRequest {
    /// The object and the trigger.
    #[prost(message, optional, tag = "1")]
    pub scaled_object_ref: Option<ScaledObjectRef>,
    /// The name of the metric.
    #[prost(string, tag = "2")]
    pub metric_name: String,
}

/// The values of a metric.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetMetricsResponse {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub metric_values: Vec<MetricValue>,
}

/// The value of a metric.
#[expect(clippy::struct_field_names, reason = "the names are the protocol's")]
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MetricValue {
    /// The name of the metric.
    #[prost(string, tag = "1")]
    pub metric_name: String,
    /// The value, rounded up.
    #[prost(int64, tag = "2")]
    pub metric_value: i64,
    /// The value.
    #[prost(double, tag = "3")]
    pub metric_value_float: f64,
}
