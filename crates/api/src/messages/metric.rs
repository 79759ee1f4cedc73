//! The names of metrics in messages, and the texts about metrics that cannot be computed.

use llm_autoscaler_core::{MetricError, MetricKind, MetricPolicy, Target};

use crate::conditions::Reason;

/// The parts of a metric that appear in messages and that the core does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricDescription {
    /// The name of the metric, such as `vllm:num_requests_waiting`.
    pub name: String,
    /// The namespace of the autoscaler.
    pub namespace: String,
    /// The object that an Object metric describes.
    pub object: ObjectDescription,
    /// The metric's selector as [`selector_text`](super::selector_text) renders it.
    pub selector: String,
    /// The error of the last fetch, if it failed.
    pub error: Option<String>,
    /// The reason of the size that a promise needs, if that stands for the metric's proposal.
    pub promised: Option<String>,
}

/// The object that a metric describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectDescription {
    /// The kind of the object.
    pub kind: String,
    /// The name of the object.
    pub name: String,
}

/// The texts about a metric that could not be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricFailure {
    /// The reason of the event and of the condition.
    pub reason: Reason,
    /// The error itself: the message of the event, and a part of the condition's.
    pub error: String,
    /// The error with the prefixes that it has in the error of the step.
    pub wrapped: String,
}

impl MetricDescription {
    /// Returns the name of the metric in `ValidMetricFound` and in the reason of a rescale.
    pub fn label(&self, metric: &MetricPolicy) -> String {
        match (metric.kind, metric.target) {
            // A pooled metric is a metric of the pods too. The HPA has no such kind.
            (MetricKind::PerReplica | MetricKind::Pooled, _) => {
                format!("pods metric {}", self.name)
            }
            (MetricKind::Object, Target::Value(_)) => {
                format!("{} metric {}", self.object.kind, self.name)
            }
            // The HPA calls an Object metric with an average target external too.
            _ => format!("external metric {}({})", self.name, self.selector),
        }
    }

    /// Returns the texts for a metric that could not be computed.
    pub fn failure(&self, metric: &MetricPolicy, error: MetricError) -> MetricFailure {
        let error = self.error(metric, error);
        let Self { name, .. } = self;
        let (reason, wrapped) = match (metric.kind, metric.target) {
            (MetricKind::PerReplica | MetricKind::Pooled, _) => {
                (Reason::FailedGetPodsMetric, format!("failed to get pods metric value: {error}"))
            }
            (MetricKind::Object, Target::AverageValue(_)) => (
                Reason::FailedGetObjectMetric,
                format!(
                    "failed to get object metric value: failed to get {name} object metric: {error}"
                ),
            ),
            (MetricKind::Object, _) => (
                Reason::FailedGetObjectMetric,
                format!("failed to get object metric value: {error}"),
            ),
            (MetricKind::External, target) => {
                let detail = match target {
                    Target::AverageValue(_) => {
                        format!("failed to get {name} external metric: {error}")
                    }
                    Target::Value(_) => format!("failed to get external metric {name}: {error}"),
                    Target::Missing => error.clone(),
                };
                (
                    Reason::FailedGetExternalMetric,
                    format!("failed to get {name} external metric value: {detail}"),
                )
            }
        };
        MetricFailure { reason, error, wrapped }
    }

    fn error(&self, metric: &MetricPolicy, error: MetricError) -> String {
        const NO_PODS: &str = "no pods returned by selector while calculating replica count";
        match (error, metric.kind) {
            (MetricError::Fetch, kind) => self.fetch_error(kind),
            (MetricError::NoReplicas, MetricKind::PerReplica) => NO_PODS.to_owned(),
            (MetricError::NoReplicas, _) => format!("unable to calculate ready pods: {NO_PODS}"),
            (MetricError::NoSamples, _) => {
                "did not receive metrics for targeted pods (pods might be unready)".to_owned()
            }
            (MetricError::NoTarget, kind) => {
                let source = match kind {
                    MetricKind::PerReplica | MetricKind::Pooled => "pods",
                    MetricKind::Object => "object",
                    MetricKind::External => "external",
                };
                format!(
                    "invalid {source} metric source: neither a value target nor an average value target was set"
                )
            }
            // Not the HPA's: it scales to its minimum here.
            (MetricError::NoneReady, _) => {
                "unable to calculate ready pods: none of the replicas is ready yet".to_owned()
            }
        }
    }

    fn fetch_error(&self, kind: MetricKind) -> String {
        let Self { name, namespace, object, selector, .. } = self;
        let error = self.error.as_deref().unwrap_or("no metrics returned");
        match kind {
            MetricKind::PerReplica | MetricKind::Pooled => {
                format!("unable to get metric {name}: {error}")
            }
            MetricKind::Object => {
                format!(
                    "unable to get metric {name} on {} {namespace}/{}: {error}",
                    object.kind, object.name
                )
            }
            MetricKind::External => {
                format!("unable to get external metric {namespace}/{name}/{selector}: {error}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_core::Milli;

    use super::*;

    const VALUE: Target = Target::Value(Milli(1000));
    const AVERAGE: Target = Target::AverageValue(Milli(1000));

    fn description() -> MetricDescription {
        MetricDescription {
            name: "vllm:num_requests_waiting".to_owned(),
            namespace: "models".to_owned(),
            object: ObjectDescription { kind: "Service".to_owned(), name: "gateway".to_owned() },
            selector: "nil".to_owned(),
            error: Some("no answer".to_owned()),
            promised: None,
        }
    }

    #[test]
    fn metrics_are_called_as_the_hpa_calls_them() {
        let table = [
            (MetricKind::PerReplica, AVERAGE, "pods metric vllm:num_requests_waiting"),
            (MetricKind::Object, VALUE, "Service metric vllm:num_requests_waiting"),
            (MetricKind::Object, AVERAGE, "external metric vllm:num_requests_waiting(nil)"),
            (MetricKind::External, VALUE, "external metric vllm:num_requests_waiting(nil)"),
        ];
        for (kind, target, expected) in table {
            assert_eq!(description().label(&MetricPolicy { kind, target }), expected);
        }
    }

    #[test]
    fn failures_are_wrapped_as_the_hpa_wraps_them() {
        let table = [
            (
                (MetricKind::PerReplica, AVERAGE, MetricError::Fetch),
                "FailedGetPodsMetric: unable to get metric vllm:num_requests_waiting: no answer",
                "failed to get pods metric value: ",
            ),
            (
                (MetricKind::Object, AVERAGE, MetricError::Fetch),
                "FailedGetObjectMetric: unable to get metric vllm:num_requests_waiting on Service models/gateway: no answer",
                "failed to get object metric value: failed to get vllm:num_requests_waiting object metric: ",
            ),
            (
                (MetricKind::External, VALUE, MetricError::NoReplicas),
                "FailedGetExternalMetric: unable to calculate ready pods: no pods returned by selector while calculating replica count",
                "failed to get vllm:num_requests_waiting external metric value: failed to get external metric vllm:num_requests_waiting: ",
            ),
            (
                (MetricKind::External, Target::Missing, MetricError::NoTarget),
                "FailedGetExternalMetric: invalid external metric source: neither a value target nor an average value target was set",
                "failed to get vllm:num_requests_waiting external metric value: ",
            ),
            (
                (MetricKind::Object, VALUE, MetricError::NoneReady),
                "FailedGetObjectMetric: unable to calculate ready pods: none of the replicas is ready yet",
                "failed to get object metric value: ",
            ),
        ];
        for ((kind, target, error), expected, wrapping) in table {
            let failure = description().failure(&MetricPolicy { kind, target }, error);
            assert_eq!(format!("{}: {}", failure.reason, failure.error), expected);
            assert_eq!(failure.wrapped, format!("{wrapping}{}", failure.error));
        }
    }
}
