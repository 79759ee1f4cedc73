//! The documents of the metrics APIs, as `k8s.io/metrics` defines their types.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use llm_autoscaler_api::{exported, quantity};
use llm_autoscaler_core::Milli;
use serde_json::{Value, json};

use super::{
    recommendations::{METRIC, Recommended},
    request::{CUSTOM, CUSTOM_VERSIONS, EXTERNAL, PodsRequest, Version},
};

/// A number of one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodValue {
    /// The pod's name.
    pub pod: String,
    /// The number.
    pub value: Milli,
    /// The time of the sample.
    pub at: DateTime<Utc>,
    /// The window of a rate; zero for a latest value.
    pub window: Duration,
}

/// Returns the list of groups.
pub(super) fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(CUSTOM), group(EXTERNAL)]})
}

/// Returns one group.
pub(super) fn group(name: &str) -> Value {
    let versions = if name == CUSTOM { &CUSTOM_VERSIONS[..] } else { &[Version::V1Beta1] };
    let version = |version: &Version| json!({"groupVersion": format!("{name}/{}", version.name()), "version": version.name()});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "preferredVersion": versions[0],
        "versions": versions,
    })
}

/// Returns the metrics of a group. Pods have the names of the engines' tables, and further ones if
/// specs read further gauges.
pub(super) fn resources(group: &str, version: Version) -> Value {
    let resource = |name: String, kind: &str| {
        json!({
            "name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["get"],
        })
    };
    let resources: Vec<Value> = match group {
        CUSTOM => {
            let names = exported::names().into_iter().map(|name| format!("pods/{name}"));
            names.map(|name| resource(name, "MetricValueList")).collect()
        }
        _ => vec![resource(METRIC.to_owned(), "ExternalMetricValueList")],
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/{}", version.name()),
        "resources": resources,
    })
}

/// Returns the numbers of pods.
pub(super) fn pods(request: &PodsRequest, values: &[PodValue]) -> Value {
    let items = values.iter().map(|value| {
        let mut item = json!({
            "describedObject": {
                "kind": "Pod",
                "namespace": request.namespace,
                "name": value.pod,
                "apiVersion": "/v1",
            },
            "timestamp": time(value.at),
            "value": quantity::show(value.value),
        });
        let labels = request.series.iter().map(|(k, v)| (k.clone(), Value::from(v.clone())));
        let labels: serde_json::Map<_, _> = labels.collect();
        let selector = (!labels.is_empty()).then(|| json!({"matchLabels": labels}));
        match request.version {
            Version::V1Beta1 => {
                item["metricName"] = json!(request.metric);
                item["selector"] = json!(selector);
            }
            Version::V1Beta2 => {
                item["metric"] = json!({"name": request.metric, "selector": selector});
            }
        }
        if !value.window.is_zero() {
            let field =
                if request.version == Version::V1Beta1 { "window" } else { "windowSeconds" };
            item[field] = json!(value.window.as_secs());
        }
        item
    });
    json!({
        "kind": "MetricValueList",
        "apiVersion": format!("{CUSTOM}/{}", request.version.name()),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// Returns the recommendations of autoscalers.
pub(super) fn external(metric: &str, values: &[Recommended]) -> Value {
    let items = values.iter().map(|value| {
        json!({
            "metricName": metric,
            "metricLabels": value.labels(),
            "timestamp": time(value.at),
            "value": value.replicas.to_string(),
        })
    });
    json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": format!("{EXTERNAL}/v1beta1"),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// Returns the document of a failure.
pub(super) fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    })
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kube::core::Selector;

    use super::*;

    #[test]
    fn a_value_has_the_form_of_its_version_and_the_time_of_its_sample() {
        let value = PodValue {
            pod: "a-0".to_owned(),
            value: Milli(2500),
            at: DateTime::UNIX_EPOCH,
            window: Duration::from_mins(1),
        };
        let request = |version, series: &[(String, String)]| PodsRequest {
            version,
            namespace: "ns".to_owned(),
            pod: "*".to_owned(),
            metric: "m".to_owned(),
            pods: Selector::default(),
            series: series.to_vec(),
        };
        let pod = json!({"kind": "Pod", "namespace": "ns", "name": "a-0", "apiVersion": "/v1"});
        let first = pods(&request(Version::V1Beta1, &[]), std::slice::from_ref(&value));
        assert_eq!(
            first["items"],
            json!([{
                "describedObject": pod, "metricName": "m", "selector": null, "window": 60,
                "timestamp": "1970-01-01T00:00:00Z", "value": "2500m",
            }])
        );
        let labels = [("l".to_owned(), "x".to_owned())];
        let second = pods(&request(Version::V1Beta2, &labels), &[value]);
        assert_eq!(
            second["items"],
            json!([{
                "describedObject": pod, "windowSeconds": 60,
                "metric": {"name": "m", "selector": {"matchLabels": {"l": "x"}}},
                "timestamp": "1970-01-01T00:00:00Z", "value": "2500m",
            }])
        );
        assert_eq!(second["apiVersion"], "custom.metrics.k8s.io/v1beta2");
    }

    #[test]
    fn a_group_lists_its_versions_and_a_version_its_metrics() {
        assert_eq!(group(CUSTOM)["preferredVersion"]["version"], "v1beta2");
        assert_eq!(group(EXTERNAL)["versions"].as_array().map(Vec::len), Some(1));
        let list = resources(CUSTOM, Version::V1Beta1);
        let names: BTreeMap<&str, &Value> = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|resource| (resource["name"].as_str().unwrap(), resource))
            .collect();
        assert_eq!(names["pods/vllm:num_requests_waiting"]["verbs"], json!(["get"]));
        assert!(names.contains_key("pods/InFlightRequests"));
        let list = resources(EXTERNAL, Version::V1Beta1);
        assert_eq!(list["resources"][0]["name"], METRIC);
    }
}
