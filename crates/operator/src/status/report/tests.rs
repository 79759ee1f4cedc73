//! The status of a role after a decision.

use std::sync::Arc;

use llm_autoscaler_api::{
    LLMAutoscalerSpec, LLMAutoscalerStatus, messages::MetricDescription, parse_target,
};
use llm_autoscaler_core::{
    Adjusted, Adjustment, Decision, History, Milli, Observation, Precision, Profile, Reading,
    Replica, Scale, decide,
};
use llm_autoscaler_observe::{observer::Origin, pod::TroubleKind, promise::PromiseTracker};
use serde_json::json;

use super::*;
use crate::{scale::view::ScaleLocation, status::role_status::RoleCondition};

mod blocked;
mod promised;
mod recommended;

fn spec() -> LLMAutoscalerSpec {
    serde_json::from_value(json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
        "engine": "VLLM", "minReplicas": 1, "maxReplicas": 3,
        "metrics": [{"signal": "WaitingRequests", "target": {"type": "AverageValue", "averageValue": "5"}}],
    }))
    .unwrap()
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

/// Returns the observation of so many replicas, each with so many waiting requests.
fn observed(current: i32, waiting: i64) -> Observation {
    let replicas = vec![Replica::READY; current.unsigned_abs() as usize];
    let samples = vec![Some(Milli::whole(waiting)); replicas.len()];
    Observation {
        scale: Scale { current, status: current },
        replicas,
        readings: vec![Reading::PerReplica { samples, strays: Vec::new() }],
        ..Observation::default()
    }
}

/// Returns the observation of so many replicas without a sample.
fn unobserved(current: i32) -> Observation {
    Observation { readings: vec![Reading::Failed], ..observed(current, 0) }
}

/// Returns the status after a step; the target is scaled if the decision asks for it.
fn after(previous: &RoleStatus, step: &Moment, now: DateTime<Utc>) -> RoleStatus {
    let config = parse_target(&spec(), Profile::Default).unwrap();
    let observation = match step.waiting {
        Some(waiting) => observed(step.current, waiting),
        None => unobserved(step.current),
    };
    after_change(previous, step, &observation, &config, |_, _| {}, now)
}

/// Returns the status after a step with changed findings, or with something that keeps the operator
/// from writing.
fn after_change(
    previous: &RoleStatus,
    step: &Moment,
    observation: &Observation,
    config: &TargetConfig,
    change: impl FnOnce(&mut Findings, &mut WriteBlock),
    now: DateTime<Utc>,
) -> RoleStatus {
    let decision = decide(&config.policy, &History::default(), observation, now);
    after_decision(previous, step, &decision, config, change, now)
}

/// Returns the status after a given decision.
fn after_decision(
    previous: &RoleStatus,
    step: &Moment,
    decision: &Decision,
    config: &TargetConfig,
    change: impl FnOnce(&mut Findings, &mut WriteBlock),
    now: DateTime<Utc>,
) -> RoleStatus {
    let mut findings = Findings {
        ready: step.current,
        problems: step.problems.clone(),
        origins: vec![Origin { samples: vec![step.current.unsigned_abs()], ..Origin::default() }],
        advice: config.advice.iter().cloned().collect(),
        ..Findings::default()
    };
    let mut block = WriteBlock::default();
    change(&mut findings, &mut block);
    let metrics = [MetricDescription {
        name: config.metrics[0].series.clone(),
        error: missing(&findings.problems),
        ..MetricDescription::default()
    }];
    let messages = Step { policy: &config.policy, decision, metrics: &metrics, selector: None };
    let is_written = block == WriteBlock::default() && config.mode == Mode::Scale;
    let written = decision.rescale().filter(|_| is_written).map(|to| {
        let conditions = messages.after_write("StatefulSet/a", to, Ok(())).conditions;
        Written { size: Some(to), conditions, warning: None }
    });
    let view = ScaleView {
        scale: Scale { current: step.current, status: step.current },
        selector: String::new(),
        uid: "u".to_owned(),
        resource_version: None,
        location: ScaleLocation::Subresource,
    };
    let report = RoleReport {
        role: None,
        generation: Some(1),
        config,
        findings: &findings,
        problems: &findings.problems,
        view: &view,
        messages,
        block: &block,
        drain: &DrainProgress::default(),
        written,
        memory: &RoleMemory::default(),
        changes: &[],
        promise: &PromiseTracker::default(),
        wedged: Vec::new(),
        pod_monitor: None,
    };
    role_status(previous, &report, now)
}

fn condition(status: &RoleStatus, type_: ConditionType) -> Option<&RoleCondition> {
    status.conditions.get(&type_)
}

fn reason(status: &RoleStatus, type_: ConditionType) -> &str {
    condition(status, type_).map_or("", |condition| condition.reason.as_str())
}

/// Returns the target of a status.
fn target(status: &RoleStatus) -> &TargetStatus {
    status.target.as_ref().unwrap()
}

#[test]
fn a_change_of_size_is_in_every_part_of_the_status() {
    let step = Moment { current: 1, waiting: Some(11), problems: Vec::new() };
    let status = after(&RoleStatus::default(), &step, at(0));
    assert_eq!(status.summary.as_deref(), Some("waiting 11/5"));
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(1), Some(3)));
    assert_eq!(status.last_scale_time, Some(at(0)));
    assert_eq!(reason(&status, ConditionType::AbleToScale), "SucceededRescale");
    assert_eq!(reason(&status, ConditionType::Ready), "Scaling");
    let target = target(&status);
    assert_eq!((target.decisions[0].from, target.decisions[0].to), (1, 3));
    assert_eq!(target.metrics[0].proposal, Some(3));
}

#[test]
fn success_is_shown_for_as_long_as_the_hpa_shows_it() {
    let grown = after(
        &RoleStatus::default(),
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
    let status =
        after(&RoleStatus::default(), &Moment { current: 3, waiting: None, problems }, at(0));
    assert_eq!(status.summary.as_deref(), Some("waiting <unknown>/5"));
    assert_eq!(status.desired_replicas, None);
    assert_eq!(reason(&status, ConditionType::Ready), "FailedGetPodsMetric");
    assert_eq!(reason(&status, ConditionType::SamplesComplete), "MissingSamples");
    let samples = condition(&status, ConditionType::SamplesComplete).unwrap();
    let expected = "no usable sample from a-0: refused; a-1: refused; a-2: refused; and 2 more";
    assert_eq!(samples.message, expected);
    assert!(
        target(&status).metrics[0].error.as_deref().unwrap().contains("vllm:num_requests_waiting")
    );
}

#[test]
fn complete_samples_are_said_of_those_that_are_asked_and_stuck_replicas_beside_them() {
    let config = parse_target(&spec(), Profile::Default).unwrap();
    let stuck = |count: usize| {
        let step = Moment { current: 3, waiting: Some(5), problems: Vec::new() };
        let stuck = (0..count).map(|n| (format!("a-{n}"), TroubleKind::NotReady)).collect();
        let change = |findings: &mut Findings, _: &mut WriteBlock| findings.stuck = stuck;
        let before = RoleStatus::default();
        let status = after_change(&before, &step, &observed(3, 5), &config, change, at(0));
        assert_eq!(reason(&status, ConditionType::SamplesComplete), "AllReplicas");
        condition(&status, ConditionType::SamplesComplete).unwrap().message.clone()
    };
    let asked = "every replica and source that is asked has a sample";
    assert_eq!(stuck(0), asked);
    assert_eq!(stuck(2), format!("{asked}; 2 stuck (see ReplicasStuck)"));
}

#[test]
fn a_percentile_beyond_the_buckets_is_shown_as_a_bound() {
    let target = json!({"type": "Value", "value": "120"});
    let metrics = json!([{"signal": "TimeToFirstToken", "target": target}]);
    let spec = LLMAutoscalerSpec { metrics: serde_json::from_value(metrics).unwrap(), ..spec() };
    let config = parse_target(&spec, Profile::Default).unwrap();
    let bound = Precision::AtMost(Milli(300));
    for (value, precision, current) in [
        (60_000, Precision::AtLeast, ">60"),
        (60_000, Precision::Exact, "60"),
        (270, bound, "<300m"),
    ] {
        let reported = vec![true; 3];
        let reading = Reading::Pooled { value: Some(Milli(value)), precision, reported };
        let observation = Observation { readings: vec![reading], ..observed(3, 0) };
        let step = Moment { current: 3, waiting: None, problems: Vec::new() };
        let before = RoleStatus::default();
        let status = after_change(&before, &step, &observation, &config, |_, _| {}, at(0));
        assert_eq!(self::target(&status).metrics[0].current.as_deref(), Some(current));
        let summary = status.summary.as_deref().unwrap();
        assert!(summary.ends_with(&format!(" {current}/120")), "{summary}");
    }
}

#[test]
fn the_reason_of_another_role_stays_only_as_long_as_it_holds() {
    let config = parse_target(&spec(), Profile::Default).unwrap();
    // Without a sample, the only limit is the one of the other role.
    let blind = |previous: &_, current: i32, adjusted: Option<Adjusted>, second| {
        let step = Moment { current, waiting: None, problems: Vec::new() };
        let decision =
            decide(&config.policy, &History::default(), &unobserved(current), at(second));
        let decision = Decision { adjusted, ..decision };
        after_decision(previous, &step, &decision, &config, |_, _| {}, at(second))
    };
    let grown =
        blind(&RoleStatus::default(), 1, Some(Adjusted { to: 2, by: Adjustment::Ratio }), 0);
    assert_eq!(reason(&grown, ConditionType::ScalingLimited), "RoleRatio");
    let past = &target(&grown).decisions[0];
    assert_eq!((past.from, past.to, &*past.limited_by), (1, 2, "RoleRatio"));
    assert_eq!(reason(&blind(&grown, 2, None, 1), ConditionType::ScalingLimited), "");
}

#[test]
fn a_rule_that_changes_back_and_forth_is_one_past_decision() {
    let mut status = RoleStatus::default();
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
    assert_eq!(target(&status).decisions.len(), 1);
}

#[test]
fn a_renamed_role_keeps_the_past_decisions_of_its_object() {
    let step = Moment { current: 3, waiting: Some(5), problems: Vec::new() };
    let mut grown = after(
        &RoleStatus::default(),
        &Moment { current: 1, waiting: Some(11), problems: Vec::new() },
        at(0),
    );
    let mut saved = grown.target.take().unwrap();
    Arc::make_mut(&mut saved).name = "prefill".to_owned();
    let saved = LLMAutoscalerStatus { targets: vec![saved], ..LLMAutoscalerStatus::default() };
    let restored = RoleStatus::restored(&saved, Some("p"));
    assert_eq!(restored.target, None);
    let status = after(&restored, &step, at(60));
    assert_eq!(target(&status).decisions.last(), saved.targets[0].decisions.last());
    // Another object of the name begins without a past.
    let mut other = saved.clone();
    Arc::make_mut(&mut other.targets[0]).uid = Some("v".to_owned());
    let status = after(&RoleStatus::restored(&other, Some("prefill")), &step, at(60));
    assert!(!target(&status).decisions.contains(&saved.targets[0].decisions[0]));
}

#[test]
fn a_condition_about_an_obstacle_is_removed_with_the_obstacle() {
    let update = ConditionUpdate::no(
        ConditionType::ScalingActive,
        Reason::InvalidSpec,
        "spec.metrics: nonsense",
    );
    let mut status = RoleStatus::default();
    status.fail(update, true, None, Some(1));
    assert_eq!(
        (reason(&status, ConditionType::Stalled), reason(&status, ConditionType::Ready)),
        ("InvalidSpec", "InvalidSpec")
    );

    let update =
        ConditionUpdate::no(ConditionType::AbleToScale, Reason::FailedGetScale, "not found");
    status.fail(update, false, None, Some(1));
    assert_eq!(
        (reason(&status, ConditionType::Stalled), reason(&status, ConditionType::ScalingActive)),
        ("", "")
    );
    assert_eq!(reason(&status, ConditionType::Ready), "FailedGetScale");

    let fine =
        after(&status, &Moment { current: 1, waiting: Some(5), problems: Vec::new() }, at(2));
    assert_eq!(reason(&fine, ConditionType::Ready), "Scaling");
    let types: Vec<_> = fine.conditions.keys().map(|type_| type_.as_str()).collect();
    assert_eq!(
        types,
        ["AbleToScale", "ScalingActive", "ScalingLimited", "Ready", "SamplesComplete", "Advisory"]
    );
}

#[test]
fn the_sources_of_samples_are_in_the_status() {
    let mut spec = spec();
    let sources = json!([{"scrape": {}}, {"prometheus": {"url": "http://p:9090"}}]);
    spec.sources = serde_json::from_value(sources).unwrap();
    let config = parse_target(&spec, Profile::Default).unwrap();
    let step = Moment { current: 3, waiting: None, problems: Vec::new() };
    let none = RoleStatus::default();
    let first = after_change(
        &none,
        &step,
        &observed(3, 5),
        &config,
        |findings, _| findings.origins[0].samples = vec![3, 0],
        at(9),
    );
    assert_eq!(reason(&first, ConditionType::FirstSourceUsed), "FirstSource");
    let metric = &target(&first).metrics[0];
    assert_eq!(
        (metric.source.as_deref(), &metric.sampled_at),
        (Some("scrape"), &Some(time::to_kubernetes(at(9))))
    );

    let why = |findings: &mut Findings, _: &mut WriteBlock| {
        let age = std::time::Duration::from_secs(4);
        findings.origins[0] = Origin {
            samples: vec![1, 2],
            age,
            alternative: None,
            source: 0,
            why: Some("a-1: refused".to_owned()),
        };
    };
    let over = after_change(&first, &step, &observed(3, 5), &config, why, at(10));
    let condition = condition(&over, ConditionType::FirstSourceUsed).unwrap();
    assert_eq!((condition.holds, condition.reason), (false, Reason::FailedOver));
    assert_eq!(
        condition.message,
        "WaitingRequests: 1 from sources[0], 2 from sources[1] (a-1: refused)"
    );
    let metric = &target(&over).metrics[0];
    assert_eq!(metric.source.as_deref(), Some("scrape, prometheus"));
    assert_eq!(metric.sampled_at, Some(time::to_kubernetes(at(6))));
}

#[test]
fn optional_conditions_come_and_go() {
    let config = parse_target(&spec(), Profile::Default).unwrap();
    let step = Moment { current: 1, waiting: None, problems: Vec::new() };
    let none = RoleStatus::default();
    let change = |findings: &mut Findings, _: &mut WriteBlock| {
        findings.stuck = vec![("a-1".to_owned(), TroubleKind::Crashing)];
    };
    let there = after_change(&none, &step, &observed(1, 5), &config, change, at(0));
    assert_eq!(
        (reason(&there, ConditionType::ReplicasStuck), reason(&there, ConditionType::Advisory)),
        ("Crashing", "QueueOnly")
    );
    let gone = after_change(
        &there,
        &step,
        &observed(1, 5),
        &config,
        |findings, _| findings.advice.clear(),
        at(1),
    );
    assert_eq!(
        (
            reason(&gone, ConditionType::ReplicasStuck),
            reason(&gone, ConditionType::Advisory),
            reason(&gone, ConditionType::FirstSourceUsed)
        ),
        ("", "", "")
    );
}
