//! What a status says after a decision.

use chrono::TimeDelta;
use llm_autoscaler_api::{LLMAutoscalerSpec, plan, words::MetricWords};
use llm_autoscaler_core::{History, Milli, Observation, Profile, Reading, Replica, Scale, decide};
use serde_json::json;

use super::*;

fn object() -> LLMAutoscaler {
    let spec: LLMAutoscalerSpec = serde_json::from_value(json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
        "engine": "VLLM", "minReplicas": 1, "maxReplicas": 3,
        "metrics": [{"signal": "WaitingRequests", "target": {"type": "AverageValue", "averageValue": "5"}}],
    }))
    .unwrap();
    let mut object = LLMAutoscaler::new("a", spec);
    object.metadata.generation = Some(1);
    object
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + second)
}

/// One step of a target with `current` replicas, each with so many requests waiting; `None` where there is no sample.
struct Moment {
    current: i32,
    waiting: Option<i64>,
    problems: Vec<Problem>,
}

/// The status after a step; the target is scaled where the decision says so.
fn after(previous: &LLMAutoscalerStatus, step: &Moment, now: DateTime<Utc>) -> LLMAutoscalerStatus {
    let object = object();
    let plan = plan(&object.spec, Profile::Default).unwrap();
    let replicas = vec![Replica::READY; step.current.unsigned_abs() as usize];
    let reading = match step.waiting {
        Some(waiting) => Reading::PerReplica {
            samples: vec![Some(Milli::whole(waiting)); replicas.len()],
            strays: Vec::new(),
        },
        None => Reading::Failed,
    };
    let scale = Scale { current: step.current, status: step.current };
    let observation = Observation { scale, replicas, readings: vec![reading], ..Observation::default() };
    let decision = decide(&plan.policy, &History::default(), &observation, now);
    let seen = Seen {
        observation,
        ready: step.current,
        problems: step.problems.clone(),
        doubtful: false,
        warming_up: false,
    };
    let metrics = [MetricWords {
        name: plan.metrics[0].series.clone(),
        error: missing(&seen.problems),
        ..MetricWords::default()
    }];
    let words = Step { policy: &plan.policy, decision: &decision, metrics: &metrics, selector: None };
    let written = decision.rescale().map(|to| {
        let conditions = words.after_write("StatefulSet/a", to, Ok(())).conditions;
        Written { size: Some(to), conditions, warning: None }
    });
    let view = ScaleView { scale, selector: String::new(), uid: "u".to_owned(), resource_version: None };
    let history = History::default().snapshot();
    let report =
        Report { object: &object, plan: &plan, seen: &seen, view: &view, step: words, written, history };
    status(previous, &report, None, now)
}

fn reason<'a>(status: &'a LLMAutoscalerStatus, type_: &str) -> &'a str {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .map_or("", |condition| &condition.reason)
}

#[test]
fn a_change_of_size_is_told_in_every_place() {
    let step = Moment { current: 1, waiting: Some(11), problems: Vec::new() };
    let status = after(&LLMAutoscalerStatus::default(), &step, at(0));
    assert_eq!(status.reference.as_deref(), Some("StatefulSet/a"));
    assert_eq!(status.summary.as_deref(), Some("waiting 11/5"));
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(1), Some(3)));
    assert_eq!(status.last_scale_time, Some(time::to_kubernetes(at(0))));
    assert_eq!(reason(&status, "AbleToScale"), "SucceededRescale");
    assert_eq!(reason(&status, "Ready"), "Scaling");
    let target = &status.targets[0];
    assert_eq!((target.decisions[0].from, target.decisions[0].to), (1, 3));
    assert_eq!(target.metrics[0].proposal, Some(3));
}

#[test]
fn success_is_shown_for_as_long_as_the_hpa_shows_it() {
    let grown = after(
        &LLMAutoscalerStatus::default(),
        &Moment { current: 1, waiting: Some(11), problems: Vec::new() },
        at(0),
    );
    let steady = Moment { current: 3, waiting: Some(5), problems: Vec::new() };
    assert_eq!(reason(&after(&grown, &steady, at(14)), "AbleToScale"), "SucceededRescale");
    assert_eq!(reason(&after(&grown, &steady, at(15)), "AbleToScale"), "ReadyForNewScale");
}

#[test]
fn silence_is_not_zero() {
    let problems = (0..5).map(|n| Problem { pod: format!("a-{n}"), text: "refused".to_owned() }).collect();
    let status =
        after(&LLMAutoscalerStatus::default(), &Moment { current: 3, waiting: None, problems }, at(0));
    assert_eq!(status.summary.as_deref(), Some("waiting <unknown>/5"));
    assert_eq!(status.desired_replicas, None);
    assert_eq!(reason(&status, "Ready"), "FailedGetPodsMetric");
    assert_eq!(reason(&status, "SamplesComplete"), "MissingSamples");
    let samples = status.conditions.iter().find(|condition| condition.type_ == SAMPLES).unwrap();
    let expected = "no usable sample from a-0: refused; a-1: refused; a-2: refused; and 2 more";
    assert_eq!(samples.message, expected);
    assert!(status.targets[0].metrics[0].error.as_deref().unwrap().contains("vllm:num_requests_waiting"));
}

#[test]
fn a_rule_that_swings_is_one_line_of_the_past() {
    let mut status = LLMAutoscalerStatus::default();
    for second in 0..20 {
        // Above the maximum, and at the target, in turns: limited and not.
        let waiting = if second % 2 == 0 { 11 } else { 5 };
        status =
            after(&status, &Moment { current: 3, waiting: Some(waiting), problems: Vec::new() }, at(second));
    }
    assert_eq!(status.targets[0].decisions.len(), 1);
}

#[test]
fn what_stood_in_the_way_is_forgotten_when_it_is_over() {
    let update = ConditionUpdate::no("ScalingActive", INVALID_SPEC, "spec.metrics: nonsense");
    let invalid = failed(&LLMAutoscalerStatus::default(), &object(), update, true, at(0));
    assert_eq!((reason(&invalid, "Stalled"), reason(&invalid, "Ready")), (INVALID_SPEC, INVALID_SPEC));

    let update = ConditionUpdate::no("AbleToScale", "FailedGetScale", "not found");
    let waiting = failed(&invalid, &object(), update, false, at(1));
    assert_eq!((reason(&waiting, "Stalled"), reason(&waiting, "ScalingActive")), ("", ""));
    assert_eq!(reason(&waiting, "Ready"), "FailedGetScale");

    let fine = after(&waiting, &Moment { current: 1, waiting: Some(5), problems: Vec::new() }, at(2));
    assert_eq!(reason(&fine, "Ready"), "Scaling");
    let types: Vec<_> = fine.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(types, ["AbleToScale", "ScalingActive", "ScalingLimited", "Ready", SAMPLES]);
}
