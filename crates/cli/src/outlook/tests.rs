use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    let noon = DateTime::parse_from_rfc3339("2026-01-01T12:00:00Z").unwrap().to_utc();
    noon + TimeDelta::seconds(seconds)
}

fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T11:00:00Z",
    })
}

/// Returns an object at 6 replicas, between 1 and 8, with a metric that asks for `raw`; `changes`
/// are merged over it, by JSON pointers.
fn object(raw: i32, rule: &str, changes: &[(&str, Value)]) -> LLMAutoscaler {
    let limited = if rule == "TooManyReplicas" { 8 } else { raw };
    let mut object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": "qwen3", "namespace": "chat", "generation": 1, "annotations": {}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "qwen3"},
            "engine": "VLLM", "minReplicas": 1, "maxReplicas": 8,
            "metrics": [{"signal": "WaitingRequests",
                         "target": {"type": "AverageValue", "averageValue": "5"}}],
        },
        "status": {
            "observedGeneration": 1, "reference": "StatefulSet/qwen3", "conditions": [],
            "targets": [{
                "name": "qwen3", "uid": "u", "currentReplicas": 6, "readyReplicas": 6,
                "desiredReplicas": 6,
                "metrics": [{"name": "WaitingRequests", "series": "s", "target": "5",
                             "current": "4", "proposal": raw}],
                "decision": {"raw": raw, "stabilized": raw, "limited": limited,
                             "limitedBy": rule, "applied": 6},
                "history": {"replicas": 6, "recommendations": [], "scaleUps": [], "scaleDowns": []},
            }],
        },
    });
    for (pointer, value) in changes {
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn answers(object: &LLMAutoscaler) -> Outlook {
    let status = object.status.as_ref().unwrap();
    outlook(object, status, &status.targets[0], at(0))
}

const DECISION: &str = "/status/targets/0/decision";
const TARGET: &str = "/status/targets/0";

/// A case: what the metrics ask for, the rule, changes of the object, and the answers to why not
/// more, why not fewer, and what is next.
type Case<'a> = (i32, &'a str, Vec<(String, Value)>, [&'a str; 3]);

fn check(table: Vec<Case<'_>>) {
    for (raw, rule, changes, expected) in table {
        let changes: Vec<_> = changes.iter().map(|(path, it)| (&**path, it.clone())).collect();
        let Outlook { more, fewer, next } = answers(&object(raw, rule, &changes));
        let when = next.at.map(|time| format!("{}: ", moment(time, at(0))));
        let next = format!("{}{}", when.unwrap_or_default(), next.text);
        assert_eq!([&*more, &*fewer, &*next], expected, "{raw} {rule} {changes:?}");
    }
}

fn of(parent: &str, fields: &[(&str, Value)]) -> Vec<(String, Value)> {
    fields.iter().map(|(field, value)| (format!("{parent}/{field}"), value.clone())).collect()
}

const NEEDED: &str = "WaitingRequests is 4 at a target of 5: 6 wanted";
const NOTHING: &str = "nothing, if the metrics stay as they are";

#[test]
fn limits_windows_and_policies_are_named_with_the_time_of_their_end() {
    let recommended = json!({
        "recommendations": [{"replicas": 6, "at": "2026-01-01T11:57:00Z"}],
    });
    let slow = json!({"scaleUp": {"policies": [
        {"type": "Pods", "value": 1, "periodSeconds": 60},
    ]}});
    let grown = json!({"scaleUps": [{"change": 1, "at": "2026-01-01T11:59:40Z"}]});
    let three = "the metrics ask for no more than 3";
    let nine = "WaitingRequests is 4 at a target of 5: 9 wanted";
    let window = [
        of(DECISION, &[("stabilized", json!(6)), ("limited", json!(6))]),
        of(TARGET, &[("history", recommended)]),
    ]
    .concat();
    let policy = [
        of(DECISION, &[("limited", json!(6))]),
        of(TARGET, &[("history", grown)]),
        of("/spec", &[("behavior", slow)]),
    ]
    .concat();
    check(vec![
        (6, "DesiredWithinRange", vec![], ["the metrics ask for no more than 6", NEEDED, NOTHING]),
        (
            3,
            "DesiredWithinRange",
            window,
            [
                three,
                "the metrics ask for 3; the scale-down window of 5 min keeps the highest \
                 recommendation, 6",
                "12:02:00 UTC (in 2 min): 6 -> 3, if the metrics stay as they are",
            ],
        ),
        (
            9,
            "ScaleUpLimit",
            policy,
            [
                "the metrics ask for 9; the scale-up policies allow 6 for now",
                nine,
                "12:00:40 UTC (in 40 s): 6 -> 7, if the metrics stay as they are",
            ],
        ),
        (
            9,
            "TooManyReplicas",
            of(
                TARGET,
                &[
                    ("currentReplicas", json!(8)),
                    ("readyReplicas", json!(8)),
                    ("desiredReplicas", json!(8)),
                ],
            ),
            ["the metrics ask for 9, and maxReplicas is 8", nine, NOTHING],
        ),
    ]);
}

#[test]
fn a_recommended_size_is_explained_and_never_under_way() {
    let only = "nothing is written to it: it has 6 replicas, and 2 are recommended";
    let recommends = |desired: i32, fields: &[(&str, Value)]| {
        let condition = condition("Recommending", "True", "RecommendMode", only);
        [
            of("/status", &[("conditions", json!([condition]))]),
            of("/metadata", &[("annotations", json!({"llmautoscaler.io/paused": "true"}))]),
            of(TARGET, &[("desiredReplicas", json!(desired))]),
            of(TARGET, fields),
        ]
        .concat()
    };
    let window = json!({"recommendations": [{"replicas": 4, "at": "2026-01-01T11:57:00Z"}]});
    let held = [
        recommends(4, &[("history", window)]),
        of(DECISION, &[("stabilized", json!(4)), ("limited", json!(4)), ("applied", json!(4))]),
    ]
    .concat();
    let two = of("/spec", &[("minReplicas", json!(2))]);
    check(vec![
        (
            0,
            "TooFewReplicas",
            [recommends(2, &[]), two].concat(),
            [
                "the metrics ask for no more than 0",
                "the metrics ask for 0, and minReplicas is 2",
                only,
            ],
        ),
        (
            3,
            "DesiredWithinRange",
            held,
            [
                "the metrics ask for no more than 3",
                "the metrics ask for 3; the scale-down window of 5 min keeps the highest \
                 recommendation, 4",
                "12:02:00 UTC (in 2 min): 4 -> 3, if the metrics stay as they are; it is only \
                 recommended",
            ],
        ),
        (
            0,
            "DesiredWithinRange",
            recommends(0, &[]),
            ["the metrics ask for no more than 0", "no replicas are recommended", only],
        ),
    ]);
}

#[test]
fn doubt_drains_pauses_and_faults_are_told_in_the_words_of_the_conditions() {
    let conditions = |list: Vec<Value>| of("/status", &[("conditions", json!(list))]);
    let no_sample = "no usable sample from chat/qwen3-4: timed out";
    let drains = "6 -> 3 waits for qwen3-5 (2 requests), until 2026-01-01T12:05:00Z at the latest";
    let paused = "StatefulSet/qwen3 is left alone; it would write 3";
    let three = "the metrics ask for no more than 3";
    check(vec![
        (
            3,
            "NoQuorum",
            conditions(vec![condition("SamplesComplete", "False", "MissingSamples", no_sample)]),
            [
                three,
                "the metrics ask for 3; fewer than 80 % of the replicas have a sample (no usable \
                 sample from chat/qwen3-4: timed out)",
                "nothing is removed until then: 3 replicas once the samples are complete",
            ],
        ),
        (
            3,
            "DesiredWithinRange",
            conditions(vec![condition("Draining", "True", "RequestsInFlight", drains)]),
            [three, &format!("the metrics ask for 3; {drains}"), drains],
        ),
        (
            3,
            "DesiredWithinRange",
            [
                conditions(vec![condition("Paused", "True", "PausedByAnnotation", paused)]),
                of("/metadata", &[("annotations", json!({"llmautoscaler.io/paused": "true"}))]),
            ]
            .concat(),
            [
                three,
                &format!("the metrics ask for 3, and nothing is written: {paused}"),
                "nothing is written until the annotation llmautoscaler.io/paused is removed",
            ],
        ),
    ]);
}
