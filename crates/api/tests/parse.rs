//! Spec → plan: how metrics are read, which defaults are filled in, and which error each bad spec
//! gives.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::PathBuf, time::Duration};

use chrono::TimeDelta;
use llm_autoscaler_api::{
    Asked, LLMAutoscaler, LLMAutoscalerSpec, Port, ScrapeConfig, SignalName, SourceConfig,
    TargetConfig, conditions::Reason, parse_spec, parse_target,
};
use llm_autoscaler_core::{
    Amount, Behavior, Fallback, MetricKind, MetricPolicy, Milli, Profile, RatePolicy, Rules,
    Select, Target, Tolerances,
};
use llm_autoscaler_engines::{Absence, Engine, Kind};

fn sample(name: &str) -> LLMAutoscaler {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config/samples").join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn spec(metrics: &str, rest: &str) -> LLMAutoscalerSpec {
    let text = format!(
        "{{scaleTargetRef: {{apiVersion: apps/v1, kind: StatefulSet, name: a}}, engine: VLLM, maxReplicas: 3, metrics: {metrics}{rest}}}"
    );
    serde_saphyr::from_str(&text).unwrap()
}

fn waiting(rest: &str) -> LLMAutoscalerSpec {
    spec("[{signal: WaitingRequests, target: {type: AverageValue, averageValue: 5}}]", rest)
}

fn scrape(plan: &TargetConfig) -> &ScrapeConfig {
    let [SourceConfig::Scrape(scrape)] = &plan.sources[..] else { panic!("{plan:?}") };
    scrape
}

fn planned(spec: &LLMAutoscalerSpec) -> TargetConfig {
    parse_target(spec, Profile::Default).unwrap()
}

#[test]
fn every_sample_manifest_can_be_planned() {
    let all = include_str!("../../../config/samples/kustomization.yaml");
    let names: Vec<_> = all.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    assert!(names.len() > 10, "{names:?}");
    // All other samples are objects of Kubernetes.
    for name in names.into_iter().filter(|name| *name != "workload.yaml") {
        parse_spec(&sample(name).spec, Profile::Default).unwrap();
    }
}

#[test]
fn a_signal_has_a_series_a_short_name_and_a_key() {
    let plan = planned(&sample("waiting.yaml").spec);
    let [metric] = &plan.metrics[..] else { panic!("{plan:?}") };
    assert_eq!(metric.name, "WaitingRequests");
    assert_eq!(metric.series, "vllm:num_requests_waiting");
    assert_eq!(metric.short, "waiting");
    assert_eq!(metric.target, "5");
    let target = Target::AverageValue(Milli(5000));
    assert_eq!(plan.policy.metrics, [MetricPolicy { kind: MetricKind::PerReplica, target }]);
    assert_eq!((plan.policy.min_replicas, plan.policy.max_replicas), (1, 3));
}

#[test]
fn a_series_is_read_with_its_labels() {
    let plan = planned(&sample("custom_series.yaml").spec);
    let metric = &plan.metrics[0];
    assert_eq!((metric.name.as_str(), metric.series.as_str()), ("queue", "reranker_queue_length"));
    let Asked::Measure { measure, quantile: None, signal: None } = &metric.asked else {
        panic!("{metric:?}")
    };
    assert_eq!(measure.recipe.terms()[0][0].labels, [("queue".to_owned(), "default".to_owned())]);
    let scrape = scrape(&plan);
    assert_eq!(scrape.ports, [Port::Name("metrics".to_owned())]);
    assert_eq!((scrape.interval, scrape.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
}

#[test]
fn an_absent_series_is_zero_for_gauges_and_counters() {
    let spec = |series: &str| {
        let target = "target: {type: AverageValue, averageValue: 4}";
        spec(&format!("[{{series: {{{series}}}, {target}}}]"), "")
    };
    let absence = |series| {
        let plan = planned(&spec(series));
        let Asked::Measure { measure, .. } = &plan.metrics[0].asked else { panic!("{plan:?}") };
        measure.recipe.absence().clone()
    };
    assert_eq!(absence("name: inflight"), Absence::Unknown);
    assert_eq!(absence("name: inflight, absent: Zero"), Absence::Zero);
    assert_eq!(absence("name: requests_total, absent: Zero"), Absence::Zero);
    let histogram = spec("name: t, type: Histogram, absent: Zero");
    let error = parse_spec(&histogram, Profile::Default).unwrap_err();
    assert!(error.to_string().contains("metrics[0].series.absent"), "{error}");
}

#[test]
fn without_a_source_the_pods_are_read_every_two_seconds() {
    let plan = planned(&waiting(""));
    let scrape = scrape(&plan);
    assert_eq!(scrape.ports, ["http", "metrics"].map(|name| Port::Name(name.to_owned())));
    assert_eq!(scrape.path, "/metrics");
    let trtllm = LLMAutoscalerSpec { engine: Engine::TensorRtLlm.into(), ..waiting("") };
    assert_eq!(self::scrape(&planned(&trtllm)).path, "/prometheus/metrics");
    assert!(!scrape.tls && scrape.pods.is_none() && scrape.access.is_open());
    assert_eq!((scrape.interval, scrape.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
}

#[test]
fn without_behavior_the_legacy_path_is_taken() {
    let plan = planned(&waiting(""));
    assert_eq!(plan.policy.behavior, None);
    assert_eq!(plan.policy.tolerance, Tolerances { down: 0.1, up: 0.1 });
}

#[test]
fn behavior_fills_in_what_is_absent_field_by_field() {
    let window = TimeDelta::seconds(300);
    let defaults = Behavior {
        scale_up: Rules::default_scale_up(),
        scale_down: Rules::default_scale_down(window),
    };
    assert_eq!(planned(&waiting(", behavior: {}")).policy.behavior, Some(defaults.clone()));

    let text = ", behavior: {scaleUp: {tolerance: 0.05, policies: [{type: Percent, value: 50, periodSeconds: 60}]}, \
                scaleDown: {stabilizationWindowSeconds: 60, selectPolicy: Disabled}}";
    let text = text.replace("0.05", "\"0.05\"");
    let policy = planned(&waiting(&text)).policy;
    let expected = Behavior {
        scale_up: Rules {
            policies: vec![RatePolicy {
                amount: Amount::Percent(50),
                period: TimeDelta::seconds(60),
            }],
            ..defaults.scale_up
        },
        scale_down: Rules {
            window: TimeDelta::seconds(60),
            select: Select::Disabled,
            ..defaults.scale_down
        },
    };
    assert_eq!(policy.behavior, Some(expected));
    assert_eq!(policy.tolerance, Tolerances { down: 0.1, up: 50.0 * 0.001 });
}

#[test]
fn an_error_names_its_field() {
    let metric = |text: &str| spec(&format!("[{{{text}}}]"), "");
    let target = "target: {type: AverageValue, averageValue: 5}";
    let table = [
        (waiting(", minReplicas: 4"), "spec.minReplicas: 4 is greater than maxReplicas 3"),
        (metric(target), "spec.metrics[0]: give exactly one of signal, series and query"),
        (
            metric("signal: TimeToFirstToken, target: {type: AverageValue, averageValue: 5}"),
            "spec.metrics[0].target.type: vllm:time_to_first_token_seconds takes a target of type Value",
        ),
        (
            metric("signal: WaitingRequests, target: {type: Value, value: 5}"),
            "spec.metrics[0].target.type: vllm:num_requests_waiting takes a target of type AverageValue",
        ),
        (
            metric("signal: WaitingRequests, target: {type: Value, averageValue: 5}"),
            "spec.metrics[0].target.type: vllm:num_requests_waiting takes a target of type AverageValue",
        ),
        (
            metric(
                "signal: WaitingRequests, target: {type: AverageValue, averageValue: 5, value: 5}",
            ),
            "spec.metrics[0].target: give averageValue with type AverageValue",
        ),
        (
            metric(&format!("signal: WaitingRequests, percentile: 90, {target}")),
            "spec.metrics[0].percentile: vllm:num_requests_waiting is a gauge, which has no percentiles",
        ),
        (
            metric(&format!("signal: PrefillHandoverRequests, {target}")),
            "spec.metrics[0].signal: engine VLLM has no signal PrefillHandoverRequests",
        ),
        (
            metric(&format!("query: up, {target}")),
            "spec.metrics[0].name: a metric with a query needs a name",
        ),
        (
            metric(&format!("name: up, query: up, {target}")),
            "spec.sources: metrics[0] is a query: add a source with prometheus to answer it",
        ),
        (
            waiting(", sources: [{scrape: {podSelector: {}}}]"),
            "spec.sources[0].scrape.podSelector: it selects every pod of the namespace",
        ),
        (
            waiting(
                ", sources: [{scrape: {podSelector: {matchExpressions: [{key: a, operator: Odd}]}}}]",
            ),
            "spec.sources[0].scrape.podSelector: ",
        ),
        (waiting(", sources: [{}]"), "spec.sources[0]: set exactly one of scrape and prometheus"),
        (
            metric("signal: WaitingRequests, target: {type: AverageValue, averageValue: five}"),
            "spec.metrics[0].target.averageValue: \"five\" is not a quantity",
        ),
        (
            metric("signal: WaitingRequests, target: {type: AverageValue, averageValue: -1}"),
            "spec.metrics[0].target.averageValue: -1 is not greater than 0",
        ),
        (
            spec(
                &format!(
                    "[{{name: a, signal: WaitingRequests, {target}}}, {{name: a, series: {{name: b}}, {target}}}]"
                ),
                "",
            ),
            "spec.metrics[1].name: two metrics are called \"a\"",
        ),
        (
            waiting(", behavior: {scaleDown: {tolerance: \"-1\"}}"),
            "spec.behavior.scaleDown.tolerance: -1 is negative",
        ),
    ];
    for (spec, expected) in table {
        let error = parse_target(&spec, Profile::Default).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let custom = LLMAutoscalerSpec { engine: Engine::Custom.into(), ..waiting("") };
    let error = parse_target(&custom, Profile::Default).unwrap_err().to_string();
    assert!(
        error.starts_with("spec.metrics[0].signal: engine Custom has no signal WaitingRequests"),
        "{error}"
    );
}

#[test]
fn every_signal_of_the_resource_is_one_of_the_engines() {
    let schema = serde_json::to_value(schemars::schema_for!(SignalName)).unwrap();
    let names: Vec<SignalName> = schema["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| serde_json::from_value(name["const"].clone()).unwrap())
        .collect();
    let found: Vec<_> = names.iter().map(|name| (format!("{name:?}"), name.0)).collect();
    let known: Vec<_> = llm_autoscaler_engines::Signal::ALL
        .map(|signal| (signal.info().name.to_owned(), signal))
        .to_vec();
    assert_eq!(found, known);
}

#[test]
fn a_percentile_covers_a_window_and_all_replicas() {
    let ttft = "{signal: TimeToFirstToken, percentile: 99, windowSeconds: 30, target: {type: Value, value: \"1.5\"}}";
    let plan = planned(&spec(&format!("[{ttft}]"), ""));
    let metric = &plan.metrics[0];
    assert_eq!(metric.series, "vllm:time_to_first_token_seconds p99");
    assert_eq!((metric.short.as_str(), metric.target.as_str()), ("ttft", "1500m"));
    let target = Target::Value(Milli(1500));
    assert_eq!(plan.policy.metrics, [MetricPolicy { kind: MetricKind::Pooled, target }]);
    let Asked::Measure { measure, quantile, .. } = &metric.asked else { panic!("{metric:?}") };
    assert_eq!((measure.window, *quantile), (Duration::from_secs(30), Some(0.99)));
    assert_eq!(plan.advice[0].reason, Reason::LatencyOnly);
}

#[test]
fn the_type_of_a_series_follows_from_its_name_or_the_spec() {
    let table = [
        ("series: {name: a}", "AverageValue, averageValue", Kind::Gauge, 0),
        ("series: {name: a}, windowSeconds: 10", "AverageValue, averageValue", Kind::Gauge, 10),
        ("series: {name: a_total}", "AverageValue, averageValue", Kind::Counter, 60),
        ("series: {name: a_count}", "AverageValue, averageValue", Kind::Counter, 60),
        ("series: {name: a_sum}", "AverageValue, averageValue", Kind::Counter, 60),
        ("series: {name: a_counts}", "AverageValue, averageValue", Kind::Gauge, 0),
        ("series: {name: a_count, type: Gauge}", "AverageValue, averageValue", Kind::Gauge, 0),
        ("series: {name: a_bucket}", "Value, value", Kind::Histogram, 60),
        (
            "series: {name: a_bucket, selector: {matchLabels: {le: '1'}}}",
            "AverageValue, averageValue",
            Kind::Counter,
            60,
        ),
        ("series: {name: a_total, type: Gauge}", "AverageValue, averageValue", Kind::Gauge, 0),
        ("series: {name: a}, percentile: 50", "Value, value", Kind::Histogram, 60),
        ("series: {name: a, type: Histogram}", "Value, value", Kind::Histogram, 60),
    ];
    for (metric, target, kind, window) in table {
        let plan = planned(&spec(&format!("[{{{metric}, target: {{type: {target}: 5}}}}]"), ""));
        let Asked::Measure { measure, .. } = &plan.metrics[0].asked else { panic!("{metric}") };
        assert_eq!((measure.recipe.kind(), measure.window.as_secs()), (kind, window), "{metric}");
    }
}

/// Returns a spec with a Prometheus server that has these fields.
fn prometheus(fields: &str) -> LLMAutoscalerSpec {
    waiting(&format!(", sources: [{{prometheus: {{url: \"http://p:9090\", {fields}}}}}]"))
}

#[test]
fn labels_of_a_prometheus_server_are_checked() {
    let table = [
        (
            prometheus("matchers: {namespace: models}"),
            "spec.sources[0].prometheus.matchers: the operator reads namespace by itself",
        ),
        (
            prometheus("podLabel: pod_name, matchers: {pod_name: a}"),
            "spec.sources[0].prometheus.matchers: the operator reads pod_name by itself",
        ),
        (
            prometheus("matchers: {cluster: \"a\\nb\"}"),
            "spec.sources[0].prometheus.matchers: the value of cluster has more than 1024 bytes",
        ),
        (
            prometheus("matchers: {\"\": a}"),
            "spec.sources[0].prometheus.matchers: \"\" is no name of a label",
        ),
        (
            prometheus("replicaLabels: [replica, le]"),
            "spec.sources[0].prometheus.replicaLabels: the operator reads le by itself",
        ),
    ];
    for (spec, expected) in table {
        let error = parse_target(&spec, Profile::Default).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn labels_of_a_prometheus_server_have_defaults() {
    let table = [
        ("intervalSeconds: 5", &[][..], &["replica", "prometheus_replica"][..]),
        (
            "matchers: {cluster: eu-1, k8s.env: \"\"}, replicaLabels: []",
            &[("cluster", "eu-1"), ("k8s.env", "")],
            &[],
        ),
    ];
    for (fields, matchers, replicas) in table {
        let plan = planned(&prometheus(fields));
        let [SourceConfig::Prometheus(source)] = &plan.sources[..] else { panic!("{plan:?}") };
        let found: Vec<_> = source.matchers.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(found, matchers, "{fields}");
        let found: Vec<&str> = source.labels.replicas.iter().map(|label| &**label).collect();
        assert_eq!(found, replicas, "{fields}");
    }
}

#[test]
fn sources_are_taken_in_their_order() {
    let rest = ", fallback: {replicas: 3}, sources: [
        {scrape: {podSelector: {matchLabels: {app: frontend}}, port: 8000}},
        {prometheus: {url: \"https://prom.example/api/v1/prometheus/x/\", headersFrom: [{name: Authorization, secretKeyRef: {name: s, key: t}}]}}]";
    let query = "{name: gateway, query: up, target: {type: AverageValue, averageValue: 5}}";
    let plan = planned(&spec(&format!("[{query}]"), rest));
    let [SourceConfig::Scrape(scrape), SourceConfig::Prometheus(prometheus)] = &plan.sources[..]
    else {
        panic!("{plan:?}")
    };
    assert!(scrape.pods.is_some());
    assert_eq!(prometheus.url, "https://prom.example/api/v1/prometheus/x");
    assert!(!prometheus.access.is_open());
    assert_eq!(plan.metrics[0].asked, Asked::Query("up".to_owned()));
    assert_eq!(plan.policy.metrics[0].kind, MetricKind::External);
    assert_eq!(
        plan.policy.fallback,
        Some(Fallback { after: TimeDelta::seconds(180), replicas: 3 })
    );
}

#[test]
fn a_queue_alone_is_advised_against() {
    assert_eq!(planned(&waiting("")).advice[0].reason, Reason::QueueOnly);
    let both = "[{signal: WaitingRequests, target: {type: AverageValue, averageValue: 5}},
                 {name: b, signal: InFlightRequests, target: {type: AverageValue, averageValue: 32}}]";
    assert_eq!(planned(&spec(both, "")).advice, []);
}
