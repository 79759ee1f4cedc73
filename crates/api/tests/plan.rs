//! Spec → plan: what the samples mean, what defaults are filled in, and what a nonsensical spec is told.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::PathBuf, time::Duration};

use chrono::TimeDelta;
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerSpec, Plan, Port, plan};
use llm_autoscaler_core::{
    Amount, Behavior, MetricKind, MetricPolicy, Milli, Profile, RatePolicy, Rules, Select, Target, Tolerances,
};

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

fn planned(spec: &LLMAutoscalerSpec) -> Plan {
    plan(spec, Profile::Default).unwrap()
}

#[test]
fn every_sample_makes_sense() {
    for name in ["in_flight.yaml", "waiting.yaml", "custom_series.yaml"] {
        planned(&sample(name).spec);
    }
}

#[test]
fn a_signal_is_called_by_its_series_its_short_name_and_its_key() {
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
    let selector = &metric.recipe.terms()[0][0];
    assert_eq!(selector.labels, [("queue".to_owned(), "default".to_owned())]);
    assert_eq!(plan.scrape.port, Port::Name("metrics".to_owned()));
    assert_eq!((plan.scrape.interval, plan.scrape.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
}

#[test]
fn without_a_source_the_pods_are_read_every_two_seconds() {
    let plan = planned(&waiting(""));
    assert_eq!(plan.scrape.port, Port::Name("http".to_owned()));
    assert_eq!(plan.scrape.path, "/metrics");
    assert!(!plan.scrape.tls);
    assert_eq!((plan.scrape.interval, plan.scrape.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
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
    let defaults =
        Behavior { scale_up: Rules::default_scale_up(), scale_down: Rules::default_scale_down(window) };
    assert_eq!(planned(&waiting(", behavior: {}")).policy.behavior, Some(defaults.clone()));

    let text = ", behavior: {scaleUp: {tolerance: 0.05, policies: [{type: Percent, value: 50, periodSeconds: 60}]}, \
                scaleDown: {stabilizationWindowSeconds: 60, selectPolicy: Disabled}}";
    let text = text.replace("0.05", "\"0.05\"");
    let policy = planned(&waiting(&text)).policy;
    let expected = Behavior {
        scale_up: Rules {
            policies: vec![RatePolicy { amount: Amount::Percent(50), period: TimeDelta::seconds(60) }],
            ..defaults.scale_up
        },
        scale_down: Rules { window: TimeDelta::seconds(60), select: Select::Disabled, ..defaults.scale_down },
    };
    assert_eq!(policy.behavior, Some(expected));
    assert_eq!(policy.tolerance, Tolerances { down: 0.1, up: 50.0 * 0.001 });
}

#[test]
fn what_makes_no_sense_names_its_field() {
    let metric = |text: &str| spec(&format!("[{{{text}}}]"), "");
    let target = "target: {type: AverageValue, averageValue: 5}";
    let table = [
        (waiting(", minReplicas: 4"), "spec.minReplicas: 4 is greater than maxReplicas 3"),
        (metric(target), "spec.metrics[0]: give exactly one of signal and series"),
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
        let error = plan(&spec, Profile::Default).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let custom = LLMAutoscalerSpec { engine: llm_autoscaler_api::EngineName::Custom, ..waiting("") };
    let error = plan(&custom, Profile::Default).unwrap_err().to_string();
    assert!(
        error.starts_with("spec.metrics[0].signal: engine Custom has no signal WaitingRequests"),
        "{error}"
    );
}
