//! The promise of a spec in a status, before an engine is learned.

use super::*;

fn config(slo: bool) -> TargetConfig {
    let slo = slo.then(
        || json!({"timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 100}),
    );
    let spec =
        LLMAutoscalerSpec { slo: slo.map(|it| serde_json::from_value(it).unwrap()), ..spec() };
    parse_target(&spec, Profile::Default).unwrap()
}

#[test]
fn a_promise_that_does_not_decide_yet_says_what_does() {
    let step = Moment { current: 2, waiting: Some(7), problems: Vec::new() };
    let observation = Observation {
        readings: vec![observed(2, 7).readings[0].clone(), observed(2, 3).readings[0].clone()],
        ..observed(2, 7)
    };
    let previous = RoleStatus::default();
    let config_with = config(true);
    let status = after_change(&previous, &step, &observation, &config_with, |_, _| {}, at(0));
    let found = condition(&status, ConditionType::SLOActive).unwrap();
    assert_eq!((found.holds, found.reason), (false, Reason::LearningEngine));
    assert!(
        found.message.ends_with(
            "it needs nothing but load; meanwhile 32 running and waiting requests for each replica \
             decide"
        ),
        "{}",
        found.message
    );
    let summary = status.summary.as_deref().unwrap();
    let expected = "ttft <unknown>/2 s, itl <unknown>/100 ms, in-flight 7/32, + 1 more...";
    assert_eq!(summary, expected);
    assert_eq!(target(&status).slo, Some(Box::default()));
    let names: Vec<_> = target(&status).metrics.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["slo", "WaitingRequests"]);
}

#[test]
fn without_a_promise_nothing_is_said_of_one() {
    let step = Moment { current: 2, waiting: Some(7), problems: Vec::new() };
    let status = after_change(
        &RoleStatus::default(),
        &step,
        &observed(2, 7),
        &config(false),
        |_, _| {},
        at(0),
    );
    assert_eq!(condition(&status, ConditionType::SLOActive), None);
    assert_eq!(target(&status).slo, None);
}
