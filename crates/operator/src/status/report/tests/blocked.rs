//! The status of a role to which nothing is written for a reason.

use std::time::Duration;

use llm_autoscaler_core::Profile;

use super::*;
use crate::ownership::{
    contest::{Contest, ContestState},
    manual_changes::RespectedChange,
    size_change::SizeChange,
};

#[test]
fn a_paused_autoscaler_reports_what_it_would_do() {
    let step = Moment { current: 1, waiting: Some(11), problems: Vec::new() };
    let config = parse_target(&spec(), Profile::Default).unwrap();
    let change = SizeChange { from: 2, to: 1, by: Some("kubectl".to_owned()), at: at(0) };
    let respected = RespectedChange { change: change.clone(), until: at(60) };
    let none = RoleStatus::default();
    // paused, respected; the reasons of Ready, Paused and ManualChange
    let table = [
        (false, None, ["Scaling", "", ""]),
        (true, None, ["Paused", "PausedByAnnotation", ""]),
        (false, Some(respected.clone()), ["ManualChange", "", "Respected"]),
        (true, Some(respected), ["Paused", "PausedByAnnotation", "Respected"]),
    ];
    for (paused, manual_change, expected) in table {
        let block = WriteBlock { paused, manual_change, contest: None };
        let is_blocked = block != WriteBlock::default();
        let kept = block.manual_change.as_ref().map(|respected| respected.change.status());
        let status = after_change(
            &none,
            &step,
            &observed(1, 11),
            &config,
            |_, current| *current = block,
            at(1),
        );
        assert_eq!(
            [ConditionType::Ready, ConditionType::Paused, ConditionType::ManualChange]
                .map(|type_| reason(&status, type_)),
            expected
        );
        assert!(condition(&status, ConditionType::Ready).unwrap().holds);
        assert_eq!(
            (status.desired_replicas, status.last_scale_time.is_none()),
            (Some(3), is_blocked)
        );
        assert_eq!(target(&status).manual_change, kept);
        for type_ in [ConditionType::Paused, ConditionType::ManualChange] {
            if let Some(condition) = condition(&status, type_) {
                let text = &condition.message;
                assert!(text.ends_with("it would be scaled from 1 to 3 now"), "{type_}: {text}");
            }
        }
    }
}

#[test]
fn ready_is_false_while_another_writer_undoes_what_is_written() {
    let step = Moment { current: 2, waiting: Some(11), problems: Vec::new() };
    let change = SizeChange { from: 3, to: 2, by: Some("model-operator".to_owned()), at: at(0) };
    let none = RoleStatus::default();
    // profile, the state of the latest write; AbleToScale, a part of the message
    let table = [
        (
            Profile::Default,
            ContestState::WaitsUntil(at(60)),
            "ReplicasContested",
            "the next size is written at 1970-01-12T13:47:40Z at the earliest",
        ),
        (Profile::Default, ContestState::Stands, "ReplicasContested", "has stood so far"),
        (Profile::HpaExact, ContestState::MayWrite, "ReadyForNewScale", "may be written now"),
    ];
    for (profile, state, able, part) in table {
        let config = parse_target(&spec(), profile).unwrap();
        let contest = Contest { change: change.clone(), written_at: at(-1), state };
        let block = WriteBlock { contest: Some(contest), ..WriteBlock::default() };
        let observation = observed(2, 11);
        let status = |previous: &RoleStatus, now| {
            let change = |_: &mut Findings, current: &mut WriteBlock| *current = block.clone();
            after_change(previous, &step, &observation, &config, change, now)
        };
        let first = status(&none, at(1));
        assert_eq!(reason(&first, ConditionType::AbleToScale), able);
        assert_eq!(reason(&first, ConditionType::Ready), "ReplicasContested");
        let ready = condition(&first, ConditionType::Ready).unwrap();
        assert!(!ready.holds);
        let text = &ready.message;
        assert!(
            text.starts_with(
                "model-operator changes the size that this autoscaler writes again and again, most \
                 recently from 3 to 2 at 1970-01-12T13:46:40Z; "
            ),
            "{text}"
        );
        assert!(text.contains(part) && text.contains("remove spec.replicas"), "{text}");
        assert!(text.contains("it would be scaled from 2 to 3 now"), "{text}");
        // Nothing becomes True and False again within a step.
        let second = status(&first, at(16));
        let changed_at = |status, type_| condition(status, type_).unwrap().changed_at;
        for type_ in [ConditionType::AbleToScale, ConditionType::Ready] {
            assert_eq!(changed_at(&second, type_), changed_at(&first, type_), "{type_}");
        }
        // A size that is the right one is not contested.
        let agreed = |_: &mut Findings, current: &mut WriteBlock| *current = block.clone();
        let agreed = after_change(&none, &step, &observed(2, 5), &config, agreed, at(1));
        let is_false = reason(&agreed, ConditionType::Ready) == "ReplicasContested";
        assert_eq!(is_false, state != ContestState::MayWrite);
        // A paused autoscaler writes nothing, so nothing is contested.
        let paused = |_: &mut Findings, current: &mut WriteBlock| {
            *current = WriteBlock { paused: true, ..block.clone() };
        };
        let paused = after_change(&first, &step, &observation, &config, paused, at(31));
        assert_eq!(reason(&paused, ConditionType::Ready), "Paused");
    }
}

#[test]
fn a_size_that_waits_for_its_namespace_says_so_after_five_seconds() {
    assert_eq!(super::super::paced(Duration::from_millis(4_999)), None);
    let advice = super::super::paced(Duration::from_secs(5)).unwrap();
    assert_eq!(advice.reason, Reason::TooManySizeChanges);
    assert!(advice.text.contains("20 a second"), "{}", advice.text);
}
