//! The status after a decision.

use chrono::TimeDelta;
use llm_autoscaler_api::{LLMAutoscalerSpec, messages::MetricDescription, plan};
use llm_autoscaler_core::{
    Decision, History, Milli, Observation, Profile, Reading, Replica, Scale, Adjustment, Adjusted, decide,
};
use serde_json::json;

use super::*;
use llm_autoscaler_observe::{observer::Origin, pod::TroubleKind};
use crate::{ownership::manual_changes::{Change, Respected}, target::Place};

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

/// A step of a target with `current` replicas, each with `waiting` requests; `None` if there is no
/// sample.
struct Moment {
    current: i32,
    waiting: Option<i64>,
    problems: Vec<Problem>,
}

/// Returns the status after a step; the target is scaled if the decision asks for it.
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
    let observation =
        Observation { scale, replicas, readings: vec![reading], ..Observation::default() };
    told(previous, step, observation, &plan, |_, _| {}, now)
}

/// Returns the status after a step with a changed observation, or with something that keeps the
/// operator from writing.
fn told(
    previous: &LLMAutoscalerStatus,
    step: &Moment,
    observation: Observation,
    plan: &Plan,
    change: impl FnOnce(&mut Seen, &mut Restraint),
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let decision = decide(&plan.policy, &History::default(), &observation, now);
    told_of(previous, step, (observation, decision), plan, change, now)
}

/// Returns the status after a given decision.
fn told_of(
    previous: &LLMAutoscalerStatus,
    step: &Moment,
    (observation, decision): (Observation, Decision),
    plan: &Plan,
    change: impl FnOnce(&mut Seen, &mut Restraint),
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let object = object();
    let scale = observation.scale;
    let mut seen = Seen {
        observation,
        ready: step.current,
        problems: step.problems.clone(),
        origins: vec![Origin { samples: vec![step.current.unsigned_abs()], ..Origin::default() }],
        stuck: Vec::new(),
        advice: plan.advice.iter().cloned().collect(),
        doubtful: false,
        warming_up: false,
    };
    let mut restraint = Restraint::default();
    change(&mut seen, &mut restraint);
    let metrics = [MetricDescription {
        name: plan.metrics[0].series.clone(),
        error: missing(&seen.problems),
        ..MetricDescription::default()
    }];
    let words =
        Step { policy: &plan.policy, decision: &decision, metrics: &metrics, selector: None };
    let written = decision.rescale().filter(|_| restraint.first().is_none()).map(|to| {
        let conditions = words.after_write("StatefulSet/a", to, Ok(())).conditions;
        Written { size: Some(to), conditions, warning: None }
    });
    let view = ScaleView {
        scale,
        selector: String::new(),
        uid: "u".to_owned(),
        resource_version: None,
        place: Place::Own,
    };
    let history = History::default().snapshot();
    let (object, seen, view, restraint) = (&object, &seen, &view, &restraint);
    let (start_ups, drain) = (&StartupTimes::default(), &Told::default());
    let report = Report {
        object,
        role: None,
        plan,
        seen,
        view,
        step: words,
        restraint,
        drain,
        written,
        history,
        start_ups,
    };
    status(previous, &report, None, now)
}

fn reason(status: &LLMAutoscalerStatus, type_: ConditionType) -> &str {
    conditions::find(&status.conditions, type_).map_or("", |condition| &condition.reason)
}

#[test]
fn a_change_of_size_is_in_every_part_of_the_status() {
    let step = Moment { current: 1, waiting: Some(11), problems: Vec::new() };
    let status = after(&LLMAutoscalerStatus::default(), &step, at(0));
    assert_eq!(status.reference.as_deref(), Some("StatefulSet/a"));
    assert_eq!(status.summary.as_deref(), Some("waiting 11/5"));
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(1), Some(3)));
    assert_eq!(status.last_scale_time, Some(time::to_kubernetes(at(0))));
    assert_eq!(reason(&status, ConditionType::AbleToScale), "SucceededRescale");
    assert_eq!(reason(&status, ConditionType::Ready), "Scaling");
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
    assert_eq!(
        reason(&after(&grown, &steady, at(14)), ConditionType::AbleToScale),
        "SucceededRescale"
    );
    assert_eq!(
        reason(&after(&grown, &steady, at(15)), ConditionType::AbleToScale),
        "ReadyForNewScale"
    );
}

#[test]
fn a_missing_sample_is_not_zero() {
    let problems =
        (0..5).map(|n| Problem { of: format!("a-{n}"), text: "refused".to_owned() }).collect();
    let status = after(
        &LLMAutoscalerStatus::default(),
        &Moment { current: 3, waiting: None, problems },
        at(0),
    );
    assert_eq!(status.summary.as_deref(), Some("waiting <unknown>/5"));
    assert_eq!(status.desired_replicas, None);
    assert_eq!(reason(&status, ConditionType::Ready), "FailedGetPodsMetric");
    assert_eq!(reason(&status, ConditionType::SamplesComplete), "MissingSamples");
    let samples = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::SamplesComplete)
        .unwrap();
    let expected = "no usable sample from a-0: refused; a-1: refused; a-2: refused; and 2 more";
    assert_eq!(samples.message, expected);
    assert!(
        status.targets[0].metrics[0]
            .error
            .as_deref()
            .unwrap()
            .contains("vllm:num_requests_waiting")
    );
}

#[test]
fn the_reason_of_another_role_stays_only_as_long_as_it_holds() {
    let plan = plan(&object().spec, Profile::Default).unwrap();
    // Without a sample, the only limit is the one of the other role.
    let blind = |previous: &_, current: i32, adjusted: Option<Adjusted>, second| {
        let step = Moment { current, waiting: None, problems: Vec::new() };
        let observation = Observation {
            scale: Scale { current, status: current },
            replicas: vec![Replica::READY; current.unsigned_abs() as usize],
            readings: vec![Reading::Failed],
            ..Observation::default()
        };
        let decision = decide(&plan.policy, &History::default(), &observation, at(second));
        let decision = Decision { adjusted, ..decision };
        told_of(previous, &step, (observation, decision), &plan, |_, _| {}, at(second))
    };
    let grown = blind(&LLMAutoscalerStatus::default(), 1, Some(Adjusted { to: 2, by: Adjustment::Ratio }), 0);
    assert_eq!(reason(&grown, ConditionType::ScalingLimited), "RoleRatio");
    let past = &grown.targets[0].decisions[0];
    assert_eq!((past.from, past.to, &*past.limited_by), (1, 2, "RoleRatio"));
    assert_eq!(reason(&blind(&grown, 2, None, 1), ConditionType::ScalingLimited), "");
}

#[test]
fn a_rule_that_changes_back_and_forth_is_one_past_decision() {
    let mut status = LLMAutoscalerStatus::default();
    for second in 0..20 {
        // The metric is above the maximum and at its target in turn, so the size is limited and
        // not.
        let waiting = if second % 2 == 0 { 11 } else { 5 };
        status = after(
            &status,
            &Moment { current: 3, waiting: Some(waiting), problems: Vec::new() },
            at(second),
        );
    }
    assert_eq!(status.targets[0].decisions.len(), 1);
}

#[test]
fn a_condition_about_an_obstacle_is_removed_with_the_obstacle() {
    let update = ConditionUpdate::no(
        ConditionType::ScalingActive,
        Reason::InvalidSpec,
        "spec.metrics: nonsense",
    );
    let invalid = failed(&LLMAutoscalerStatus::default(), &object(), update, true, at(0));
    assert_eq!(
        (reason(&invalid, ConditionType::Stalled), reason(&invalid, ConditionType::Ready)),
        ("InvalidSpec", "InvalidSpec")
    );

    let update =
        ConditionUpdate::no(ConditionType::AbleToScale, Reason::FailedGetScale, "not found");
    let waiting = failed(&invalid, &object(), update, false, at(1));
    assert_eq!(
        (reason(&waiting, ConditionType::Stalled), reason(&waiting, ConditionType::ScalingActive)),
        ("", "")
    );
    assert_eq!(reason(&waiting, ConditionType::Ready), "FailedGetScale");

    let fine =
        after(&waiting, &Moment { current: 1, waiting: Some(5), problems: Vec::new() }, at(2));
    assert_eq!(reason(&fine, ConditionType::Ready), "Scaling");
    let types: Vec<_> = fine.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(
        types,
        ["AbleToScale", "ScalingActive", "ScalingLimited", "Ready", "SamplesComplete", "Advisory"]
    );
}

#[test]
fn the_sources_of_samples_are_in_the_status() {
    let mut object = object();
    let sources = json!([{"scrape": {}}, {"prometheus": {"url": "http://p:9090"}}]);
    object.spec.sources = serde_json::from_value(sources).unwrap();
    let plan = plan(&object.spec, Profile::Default).unwrap();
    let step = Moment { current: 3, waiting: None, problems: Vec::new() };
    let observed = || Observation {
        scale: Scale { current: 3, status: 3 },
        replicas: vec![Replica::READY; 3],
        readings: vec![Reading::PerReplica {
            samples: vec![Some(Milli::whole(5)); 3],
            strays: Vec::new(),
        }],
        ..Observation::default()
    };
    let none = LLMAutoscalerStatus::default();
    let first = told(
        &none,
        &step,
        observed(),
        &plan,
        |seen, _| seen.origins[0].samples = vec![3, 0],
        at(9),
    );
    assert_eq!(reason(&first, ConditionType::FirstSourceUsed), "FirstSource");
    let metric = &first.targets[0].metrics[0];
    assert_eq!(
        (metric.source.as_deref(), &metric.sampled_at),
        (Some("scrape"), &Some(time::to_kubernetes(at(9))))
    );

    let why = |seen: &mut Seen, _: &mut Restraint| {
        let age = std::time::Duration::from_secs(4);
        seen.origins[0] = Origin {
            samples: vec![1, 2],
            age,
            alternative: None,
            why: Some("a-1: refused".to_owned()),
        };
    };
    let over = told(&first, &step, observed(), &plan, why, at(10));
    let condition = over
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::FirstSourceUsed)
        .unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "FailedOver"));
    assert_eq!(
        condition.message,
        "WaitingRequests: 1 from sources[0], 2 from sources[1] (a-1: refused)"
    );
    let metric = &over.targets[0].metrics[0];
    assert_eq!(metric.source.as_deref(), Some("scrape, prometheus"));
    assert_eq!(metric.sampled_at, Some(time::to_kubernetes(at(6))));
}

#[test]
fn occasional_conditions_come_and_go() {
    let plan = plan(&object().spec, Profile::Default).unwrap();
    let step = Moment { current: 1, waiting: None, problems: Vec::new() };
    let observed = || Observation {
        scale: Scale { current: 1, status: 1 },
        replicas: vec![Replica::READY],
        readings: vec![Reading::PerReplica {
            samples: vec![Some(Milli::whole(5))],
            strays: Vec::new(),
        }],
        ..Observation::default()
    };
    let none = LLMAutoscalerStatus::default();
    let change = |seen: &mut Seen, _: &mut Restraint| {
        seen.stuck = vec![("a-1".to_owned(), TroubleKind::Crashing)];
    };
    let there = told(&none, &step, observed(), &plan, change, at(0));
    assert_eq!(
        (reason(&there, ConditionType::ReplicasStuck), reason(&there, ConditionType::Advisory)),
        ("Crashing", "QueueOnly")
    );
    let gone = told(&there, &step, observed(), &plan, |seen, _| seen.advice.clear(), at(1));
    assert_eq!(
        (
            reason(&gone, ConditionType::ReplicasStuck),
            reason(&gone, ConditionType::Advisory),
            reason(&gone, ConditionType::FirstSourceUsed)
        ),
        ("", "", "")
    );
}

#[test]
fn a_paused_autoscaler_reports_what_it_would_do() {
    let step = Moment { current: 1, waiting: Some(11), problems: Vec::new() };
    let plan = plan(&object().spec, Profile::Default).unwrap();
    let observed = || Observation {
        scale: Scale { current: 1, status: 1 },
        replicas: vec![Replica::READY],
        readings: vec![Reading::PerReplica {
            samples: vec![Some(Milli::whole(11))],
            strays: Vec::new(),
        }],
        ..Observation::default()
    };
    let change = Change { from: 2, to: 1, by: Some("kubectl".to_owned()), at: at(0) };
    let respected = Respected { change: change.clone(), until: at(60) };
    let none = LLMAutoscalerStatus::default();
    // paused, respected; the reasons of Ready, Paused and ManualChange
    let table = [
        (false, None, ["Scaling", "", ""]),
        (true, None, ["Paused", "PausedByAnnotation", ""]),
        (false, Some(respected.clone()), ["ManualChange", "", "Respected"]),
        (true, Some(respected), ["Paused", "PausedByAnnotation", "Respected"]),
    ];
    for (paused, respected, expected) in table {
        let restraint = Restraint { paused, respected };
        let is_restrained = restraint.first().is_some();
        let kept = restraint.respected.as_ref().map(|respected| respected.change.status());
        let told = told(&none, &step, observed(), &plan, |_, now| *now = restraint, at(1));
        assert_eq!(
            [ConditionType::Ready, ConditionType::Paused, ConditionType::ManualChange]
                .map(|type_| reason(&told, type_)),
            expected
        );
        assert!(conditions::holds(&told.conditions, ConditionType::Ready));
        assert_eq!(
            (told.desired_replicas, told.last_scale_time.is_none()),
            (Some(3), is_restrained)
        );
        assert_eq!(told.targets[0].manual_change, kept);
        let says = |type_: ConditionType| {
            let condition = told.conditions.iter().find(|condition| condition.type_ == type_);
            condition.is_none_or(|condition| {
                condition.message.ends_with("it would be scaled from 1 to 3 now")
            })
        };
        assert!(
            says(ConditionType::Paused) && says(ConditionType::ManualChange),
            "{:?}",
            told.conditions
        );
    }
}
