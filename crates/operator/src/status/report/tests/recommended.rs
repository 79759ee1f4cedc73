//! The status of a role that only recommends.

use llm_autoscaler_core::Shadow;

use super::*;

#[test]
fn a_recommendation_has_the_targets_size_and_what_the_autoscaler_would_have() {
    let config =
        TargetConfig { mode: Mode::Recommend, ..parse_target(&spec(), Profile::Default).unwrap() };
    // replicas of the target, size that recommendations have led to, waiting requests of each of
    // them; recommended size
    let table = [(5, 1, Some(11), 3), (2, 3, Some(5), 3), (5, 2, None, 2)];
    for (current, from, waiting, expected) in table {
        let step = Moment { current, waiting, problems: Vec::new() };
        let observation = waiting.map_or_else(|| unobserved(from), |each| observed(from, each));
        let decision = decide(&config.policy, &History::default(), &observation, at(1));
        let none = RoleStatus::default();
        let status = after_decision(&none, &step, &decision, &config, |_, _| {}, at(1));
        let sizes = (status.current_replicas, status.desired_replicas, status.last_scale_time);
        assert_eq!(sizes, (Some(current), Some(expected), None), "{current} {from}");
        let target = target(&status);
        assert_eq!((target.current_replicas, target.desired_replicas), (current, expected));
        let text = format!(
            "nothing is written to StatefulSet/a with mode Recommend: its size is {current}, \
             and {expected} is recommended"
        );
        let condition = condition(&status, ConditionType::Recommending).unwrap();
        assert_eq!((condition.holds, &*condition.message), (true, &*text));
        let ready = if waiting.is_some() { "Recommending" } else { "FailedGetPodsMetric" };
        assert_eq!(reason(&status, ConditionType::Ready), ready);
    }
}

#[test]
fn a_decision_of_a_recommendation_is_kept_as_if_it_had_been_written() {
    let config =
        TargetConfig { mode: Mode::Recommend, ..parse_target(&spec(), Profile::Default).unwrap() };
    let step = Moment { current: 2, waiting: Some(11), problems: Vec::new() };
    let none = RoleStatus::default();
    let status = after_change(&none, &step, &observed(1, 11), &config, |_, _| {}, at(1));
    let past = &target(&status).decisions[0];
    assert_eq!((past.from, past.to), (1, 3));
}

#[test]
fn a_bill_that_grows_a_little_changes_no_status() {
    let bill = |seconds: i64| {
        let milliseconds = 1000 * seconds;
        let bill = llm_autoscaler_core::ShadowBill {
            milliseconds,
            actual: 2 * milliseconds,
            recommended: milliseconds,
        };
        let hours = vec![llm_autoscaler_core::BilledHour { hour: 490_000, bill }];
        let shadow = Some(Shadow::restored(1, hours, Vec::new()));
        RoleMemory { shadow, ..RoleMemory::default() }
    };
    let first = recommending::status(None, &bill(10)).unwrap();
    assert_eq!(first.bill.actual_replica_seconds, 20);
    let before =
        TargetStatus { recommendation: Some(Box::new(first.clone())), ..TargetStatus::default() };
    assert_eq!(recommending::status(Some(&before), &bill(309)), Some(first));
    let grown = recommending::status(Some(&before), &bill(310)).unwrap();
    assert_eq!(grown.bill.recommended_replica_seconds, 310);
    assert_eq!(recommending::status(Some(&before), &RoleMemory::default()), None);
}
