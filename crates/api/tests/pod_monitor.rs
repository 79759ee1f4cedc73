//! The PodMonitor has what the guide for inference services asks for, and none of the owner's
//! labels.

#![allow(clippy::unwrap_used, clippy::panic)]

use kube::ResourceExt;
use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use llm_autoscaler_api::{LLMAutoscaler, PodMonitorBuilder, PodMonitorSpec, Port, parse_target};
use llm_autoscaler_core::Profile;
use serde_json::{Value, json};

fn owner(source: &str) -> LLMAutoscaler {
    serde_saphyr::from_str(&format!(
        "{{apiVersion: llmautoscaler.io/v1alpha1, kind: LLMAutoscaler,
           metadata: {{name: qwen3, namespace: serving, uid: u-1, labels: {{app.kubernetes.io/instance: argo}}}},
           spec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: StatefulSet, name: qwen3-sts}}, engine: VLLM, maxReplicas: 3,
                  metrics: [{{signal: WaitingRequests, target: {{type: AverageValue, averageValue: 5}}}}]{source}}}}}"
    ))
    .unwrap()
}

fn build(owner: &LLMAutoscaler, spec: &PodMonitorSpec) -> Value {
    let labels = BTreeMap::from([("app".to_owned(), "vllm".to_owned())]);
    let port = owner.spec.scrape().port.unwrap_or(Port::Name("http".to_owned()));
    let mut plan = parse_target(&owner.spec, Profile::Default).unwrap();
    Arc::make_mut(&mut plan.pod_monitor).spec = spec.clone();
    PodMonitorBuilder {
        owner,
        name: &owner.name_any(),
        plan: &plan,
        selector: &LabelSelector { match_labels: Some(labels), match_expressions: None },
        port: &port,
    }
    .build()
}

/// Returns the labels that a scraped series of a pod with these labels gets, applying the
/// relabelings in their order.
fn relabelled(monitor: &Value, pod: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut series = BTreeMap::new();
    for relabeling in monitor["spec"]["podMetricsEndpoints"][0]["relabelings"].as_array().unwrap() {
        let target = relabeling["targetLabel"].as_str().unwrap().to_owned();
        if let Some(replacement) = relabeling["replacement"].as_str() {
            series.insert(target, replacement.to_owned());
            continue;
        }
        let source = relabeling["sourceLabels"][0]
            .as_str()
            .unwrap()
            .strip_prefix("__meta_kubernetes_")
            .unwrap();
        let value = pod.iter().find(|(name, _)| *name == source).map_or("", |(_, value)| value);
        let only_if_set = relabeling["regex"] == "(.+)";
        if !(only_if_set && value.is_empty()) {
            series.insert(target, value.to_owned());
        }
    }
    series
}

#[test]
fn it_has_an_owner_and_only_the_labels_of_the_spec() {
    let spec = PodMonitorSpec {
        labels: BTreeMap::from([("release".to_owned(), "prom".to_owned())]),
        annotations: BTreeMap::from([(
            "arms.prometheus.io/discovery".to_owned(),
            "true".to_owned(),
        )]),
        ..PodMonitorSpec::default()
    };
    let metadata = &build(&owner(""), &spec)["metadata"];
    assert_eq!(metadata["name"], "qwen3");
    assert_eq!(metadata["namespace"], "serving");
    assert_eq!(
        metadata["labels"],
        json!({"app.kubernetes.io/managed-by": "llm-autoscaler", "release": "prom"})
    );
    assert_eq!(metadata["annotations"], json!({"arms.prometheus.io/discovery": "true"}));
    assert_eq!(metadata["ownerReferences"][0]["uid"], "u-1");
    assert_eq!(metadata["ownerReferences"][0]["controller"], true);
}

#[test]
fn the_endpoint_is_that_of_the_scrape_source() {
    let monitor = build(&owner(""), &PodMonitorSpec::default());
    assert_eq!(monitor["spec"]["selector"], json!({"matchLabels": {"app": "vllm"}}));
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        (&endpoint["port"], &endpoint["path"], &endpoint["interval"]),
        (&json!("http"), &json!("/metrics"), &json!("15s"))
    );

    let source = ", sources: [{scrape: {port: 9000, path: /m, scheme: HTTPS}}]";
    let monitor = build(
        &owner(source),
        &PodMonitorSpec { interval_seconds: 30, ..PodMonitorSpec::default() },
    );
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        (&endpoint["portNumber"], &endpoint["path"], &endpoint["interval"]),
        (&json!(9000), &json!("/m"), &json!("30s"))
    );
    assert_eq!(endpoint["scheme"], "https");
    assert_eq!(endpoint["tlsConfig"], json!({"insecureSkipVerify": true}));
}

#[test]
fn prometheus_gets_the_credentials_of_the_scrape_source() {
    let source = ", sources: [{scrape: {scheme: HTTPS, authorization: {credentials: {name: s, key: token}}, \
                  tlsConfig: {serverName: qwen3.example, ca: {configMap: {name: c, key: ca.crt}}, \
                  cert: {secret: {name: s, key: tls.crt}}, keySecret: {name: s, key: tls.key}}}}]";
    let endpoint =
        &build(&owner(source), &PodMonitorSpec::default())["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        endpoint["authorization"],
        json!({"type": "Bearer", "credentials": {"name": "s", "key": "token"}})
    );
    assert_eq!(
        endpoint["tlsConfig"],
        json!({
            "serverName": "qwen3.example", "insecureSkipVerify": false,
            "ca": {"configMap": {"name": "c", "key": "ca.crt"}},
            "cert": {"secret": {"name": "s", "key": "tls.crt"}},
            "keySecret": {"name": "s", "key": "tls.key"},
        })
    );
    let source = ", sources: [{scrape: {basicAuth: {username: {name: s, key: u}, password: {name: s, key: p}}}}]";
    let endpoint =
        &build(&owner(source), &PodMonitorSpec::default())["spec"]["podMetricsEndpoints"][0];
    assert_eq!(endpoint["basicAuth"]["password"], json!({"name": "s", "key": "p"}));
}

#[test]
fn the_pods_of_a_pod_selector_are_monitored() {
    let source = ", sources: [{scrape: {port: 8000, podSelector: {matchLabels: {app: frontend}}}}]";
    let monitor = build(&owner(source), &PodMonitorSpec::default());
    assert_eq!(monitor["spec"]["selector"], json!({"matchLabels": {"app": "frontend"}}));
}

/// Pod labels as service discovery names them.
type Labels = &'static [(&'static str, &'static str)];

#[test]
fn current_and_former_pod_labels_give_the_five_labels() {
    let monitor = build(&owner(""), &PodMonitorSpec::default());
    let table: [(Labels, [&str; 3]); 4] = [
        (&[], ["", "qwen3-sts", "vllm"]),
        (
            &[
                ("pod_label_rbg_workloads_x_k8s_io_role_name", "decode"),
                ("pod_label_rbg_workloads_x_k8s_io_group_name", "pd"),
            ],
            ["decode", "pd", "vllm"],
        ),
        (
            &[
                ("pod_label_rolebasedgroup_workloads_x_k8s_io_role", "prefill"),
                ("pod_label_rolebasedgroup_workloads_x_k8s_io_name", "old"),
            ],
            ["prefill", "old", "vllm"],
        ),
        (
            &[
                ("pod_label_rbg_workloads_x_k8s_io_group_name", "pd"),
                ("pod_label_alibabacloud_com_inference_workload", "chosen"),
                ("pod_label_alibabacloud_com_inference_backend", "vllm-fork"),
            ],
            ["", "chosen", "vllm-fork"],
        ),
    ];
    for (labels, [role, workload, backend]) in table {
        let mut pod = labels.to_vec();
        pod.extend([("pod_name", "qwen3-0"), ("namespace", "serving")]);
        let series = relabelled(&monitor, &pod);
        let get = |name: &str| series.get(name).map_or("", String::as_str);
        assert_eq!((get("pod_name"), get("pod_namespace")), ("qwen3-0", "serving"));
        assert_eq!(
            [get("rbg_role"), get("workload_name"), get("backend")],
            [role, workload, backend],
            "{labels:?}"
        );
    }
}
