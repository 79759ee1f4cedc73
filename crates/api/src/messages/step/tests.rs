use chrono::{DateTime, TimeDelta};
use llm_autoscaler_core::{
    Doubt, Fallback, History, MetricKind, MetricPolicy, Milli, Observation, Profile, Reading,
    Replica, Scale, Settings, Target, Tolerances, decide,
};

use super::*;

fn policy() -> Policy {
    Policy {
        min_replicas: 1,
        max_replicas: 3,
        metrics: vec![MetricPolicy {
            kind: MetricKind::PerReplica,
            target: Target::AverageValue(Milli::whole(5)),
        }],
        tolerance: Tolerances { down: 0.1, up: 0.1 },
        behavior: None,
        to_zero: None,
        fallback: None,
        profile: Profile::Default,
        settings: Settings::HPA,
    }
}

fn decision(policy: &Policy, current: i32, reading: Reading) -> Decision {
    let observation = Observation {
        scale: Scale { current, status: current },
        replicas: vec![Replica::READY; 2],
        readings: vec![reading],
        ..Observation::default()
    };
    decide(policy, &History::default(), &observation, DateTime::UNIX_EPOCH)
}

fn waiting(each: i64) -> Reading {
    Reading::PerReplica { samples: vec![Some(Milli::whole(each)); 2], strays: Vec::new() }
}

fn metrics() -> Vec<MetricDescription> {
    let name = "vllm:num_requests_waiting".to_owned();
    vec![MetricDescription {
        name,
        error: Some("no endpoints".to_owned()),
        ..MetricDescription::default()
    }]
}

#[test]
fn a_fallback_gives_its_reason() {
    let fallback = Fallback { after: TimeDelta::seconds(180), replicas: 3 };
    let (policy, metrics) = (Policy { fallback: Some(fallback), ..policy() }, metrics());
    let mut history = History::default();
    let observation = Observation {
        scale: Scale { current: 1, status: 1 },
        replicas: vec![Replica::READY],
        readings: vec![Reading::Failed],
        ..Observation::default()
    };
    let begin = DateTime::UNIX_EPOCH;
    for (seconds, holds) in [(0, false), (180, true)] {
        let now = begin + TimeDelta::seconds(seconds);
        let decision = decide(&policy, &history, &observation, now);
        history.record(&policy, &decision, now);
        let step = Step { policy: &policy, decision: &decision, metrics: &metrics, selector: None };
        assert_eq!(step.fallback().unwrap().status, holds);
        assert_eq!(
            summaries(&step.conditions())[0],
            ("ScalingActive", false, "FailedGetPodsMetric")
        );
        assert_eq!(step.events().last().unwrap().reason, Reason::FailedComputeMetricsReplicas);
        if holds {
            assert_eq!(step.reason(), "no metric has been available for 180 s");
            let written = step.after_write("StatefulSet/models/qwen3", 3, Ok(()));
            assert_eq!(
                written.event.message,
                "New size: 3; reason: no metric has been available for 180 s"
            );
        }
    }
}

fn summaries(conditions: &[ConditionUpdate]) -> Vec<(&str, bool, &str)> {
    conditions
        .iter()
        .map(|update| (update.type_.as_str(), update.status, update.reason.as_str()))
        .collect()
}

#[test]
fn a_queue_above_its_target() {
    let (policy, metrics) = (policy(), metrics());
    let decision = decision(&policy, 2, waiting(11));
    let step = Step { policy: &policy, decision: &decision, metrics: &metrics, selector: None };
    let conditions = step.conditions();
    assert_eq!(
        summaries(&conditions),
        [
            ("ScalingActive", true, "ValidMetricFound"),
            ("AbleToScale", true, "ReadyForNewScale"),
            ("ScalingLimited", true, "TooManyReplicas"),
        ]
    );
    assert_eq!(
        conditions[0].message,
        "the HPA was able to successfully calculate a replica count from pods metric vllm:num_requests_waiting"
    );
    assert_eq!((step.events(), step.error("Deployment/models/qwen3")), (Vec::new(), None));

    let written = step.after_write("Deployment/models/qwen3", 3, Ok(()));
    assert_eq!(written.event.reason, Reason::SuccessfulRescale);
    assert_eq!(
        written.event.message,
        "New size: 3; reason: pods metric vllm:num_requests_waiting above target"
    );
    assert_eq!(
        summaries(&written.conditions),
        [("AbleToScale", true, "SucceededRescale"), ("ScaledToZero", false, "NotScaledToZero")]
    );
    let failed = step.after_write("Deployment/models/qwen3", 3, Err("forbidden"));
    assert_eq!(summaries(&failed.conditions), [("AbleToScale", false, "FailedUpdateScale")]);
    assert_eq!(failed.error.unwrap(), "failed to rescale Deployment/models/qwen3: forbidden");
}

#[test]
fn a_metric_that_cannot_be_read() {
    let (policy, metrics) = (policy(), metrics());
    let decision = decision(&policy, 2, Reading::Failed);
    let step = Step { policy: &policy, decision: &decision, metrics: &metrics, selector: None };
    assert_eq!(summaries(&step.conditions()), [("ScalingActive", false, "FailedGetPodsMetric")]);
    let events = step.events();
    let reasons: Vec<_> =
        events.iter().map(|event| (event.warning, event.reason.as_str())).collect();
    assert_eq!(reasons, [(true, "FailedGetPodsMetric"), (true, "FailedComputeMetricsReplicas")]);
    assert_eq!(
        events[1].message,
        "invalid metrics (1 invalid out of 1), first error is: failed to get pods metric value: \
         unable to get metric vllm:num_requests_waiting: no endpoints"
    );
    assert_eq!(
        step.error("Deployment/models/qwen3").unwrap(),
        "failed to compute desired number of replicas based on listed metrics for Deployment/models/qwen3: "
            .to_owned()
            + &events[1].message
    );
}

#[test]
fn a_hold_takes_the_place_of_a_limit() {
    let (policy, metrics) = (policy(), metrics());
    let observation = Observation {
        scale: Scale { current: 2, status: 2 },
        replicas: vec![Replica::READY; 2],
        readings: vec![waiting(1)],
        doubt: Some(Doubt::Samples),
        ..Observation::default()
    };
    let decision = decide(&policy, &History::default(), &observation, DateTime::UNIX_EPOCH);
    let step = Step { policy: &policy, decision: &decision, metrics: &metrics, selector: None };
    assert_eq!(summaries(&step.conditions())[2], ("ScalingLimited", true, "SamplesInDoubt"));
}

#[test]
fn a_scale_without_a_selector() {
    let policy = policy();
    let decision =
        Decision { current: 2, outcome: Outcome::NoSelector, metrics: Vec::new(), adjusted: None };
    let table = [
        (SelectorProblem::Missing, "InvalidSelector", "SelectorRequired", "selector is required"),
        (
            SelectorProblem::Invalid { error: "odd".to_owned() },
            "InvalidSelector",
            "InvalidSelector",
            "couldn't convert selector into a corresponding internal selector object: odd",
        ),
        (
            SelectorProblem::Ambiguous {
                selector: "a=b".to_owned(),
                autoscalers: "[x y]".to_owned(),
            },
            "AmbiguousSelector",
            "AmbiguousSelector",
            "pods by selector a=b are controlled by more than one HPA (e.g. [x y])",
        ),
        (
            SelectorProblem::TooLarge { pod: "a-0".to_owned(), limits: "2 labels" },
            "PodsUnknown",
            "PodsUnknown",
            "the pod a-0 is too large for the operator to know it (a pod may have 2 labels): remove \
             labels, annotations or ports from it",
        ),
    ];
    for (problem, reason, event, message) in table {
        let step =
            Step { policy: &policy, decision: &decision, metrics: &[], selector: Some(&problem) };
        assert_eq!(summaries(&step.conditions()), [("ScalingActive", false, reason)]);
        let events = step.events();
        assert_eq!((events[0].reason.as_str(), events[0].message.as_str()), (event, message));
        assert_eq!(events[1].reason, Reason::FailedComputeMetricsReplicas);
    }
}

#[test]
fn minimum_and_maximum_give_reasons_of_their_own() {
    let policy = policy();
    let table = [
        (0, "", "ScalingDisabled"),
        (4, "Current number of replicas above Spec.MaxReplicas", ""),
        (2, "All metrics below target", "ValidMetricFound"),
    ];
    for (current, reason, condition) in table {
        let decision = decision(&policy, current, waiting(0));
        let metrics = metrics();
        let step = Step { policy: &policy, decision: &decision, metrics: &metrics, selector: None };
        assert_eq!(step.reason(), reason);
        let first = step.conditions().first().map_or("", |update| update.reason.as_str());
        assert_eq!(first, condition);
    }
}
