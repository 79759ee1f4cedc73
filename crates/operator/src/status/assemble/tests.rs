//! The status of an object with one target, and of one with several roles.

use llm_autoscaler_api::{TargetStatus, conditions::Reason};
use serde_json::json;

use super::*;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn object(spec: serde_json::Value) -> LLMAutoscaler {
    let mut object = LLMAutoscaler::new("pd", serde_json::from_value(spec).unwrap());
    object.metadata.generation = Some(2);
    object
}

fn with_roles() -> LLMAutoscaler {
    object(json!({
        "scaleTargetRef": {"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup", "name": "pd"},
        "engine": "VLLM", "maxReplicas": 3, "roles": [],
    }))
}

fn without_roles() -> LLMAutoscaler {
    object(json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
        "engine": "VLLM", "maxReplicas": 3, "metrics": [],
    }))
}

fn role(name: &str, sizes: (i32, i32), updates: Vec<ConditionUpdate>) -> RoleStatus {
    let mut role = RoleStatus::default();
    role.current_replicas = Some(sizes.0);
    role.desired_replicas = Some(sizes.1);
    role.summary = Some("in-flight 1/8".to_owned());
    role.set_target(TargetStatus {
        name: name.to_owned(),
        current_replicas: sizes.0,
        desired_replicas: sizes.1,
        ..TargetStatus::default()
    });
    for update in updates {
        role.set(update, Some(1), Some(NOW));
    }
    role
}

/// Returns type, status, reason and message of all conditions.
fn texts(status: &LLMAutoscalerStatus) -> Vec<(&str, &str, &str, &str)> {
    let conditions = status.conditions.iter();
    conditions
        .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str(), c.message.as_str()))
        .collect()
}

#[test]
fn several_roles_make_one_status() {
    let able =
        || ConditionUpdate::yes(ConditionType::AbleToScale, Reason::ReadyForNewScale, "fine");
    let prefill = role(
        "prefill",
        (2, 3),
        vec![
            able(),
            ConditionUpdate::yes(ConditionType::ScalingLimited, Reason::RoleRatio, "kept"),
            ConditionUpdate::yes(ConditionType::Ready, Reason::Scaling, "kept"),
        ],
    );
    let decode = role(
        "decode",
        (4, 4),
        vec![
            able(),
            ConditionUpdate::no(
                ConditionType::ScalingLimited,
                Reason::DesiredWithinRange,
                "in range",
            ),
            ConditionUpdate::no(ConditionType::Ready, Reason::NoSignal, "broken"),
        ],
    );
    let roles = [(Some("prefill"), &prefill), (Some("decode"), &decode)];
    let status = assemble(&LLMAutoscalerStatus::default(), &with_roles(), &roles, NOW);
    assert_eq!((status.current_replicas, status.desired_replicas), (Some(6), Some(7)));
    assert_eq!(status.reference.as_deref(), Some("RoleBasedGroup/pd"));
    assert_eq!(status.summary.as_deref(), Some("prefill in-flight 1/8; decode in-flight 1/8"));
    let expected = [
        ("AbleToScale", "True", "ReadyForNewScale", "fine"),
        ("ScalingLimited", "True", "RoleRatio", "prefill: kept"),
        ("Ready", "False", "NoSignal", "decode: broken"),
    ];
    assert_eq!(texts(&status), expected);
    // A condition that no role has any longer is removed.
    let silent = role("prefill", (2, 2), Vec::new());
    let quiet = [(Some("prefill"), &silent)];
    assert_eq!(assemble(&status, &with_roles(), &quiet, NOW).conditions, []);
}

#[test]
fn a_status_of_roles_is_about_a_spec_once_all_have_decided_or_one_cannot() {
    let able = ConditionUpdate::yes(ConditionType::Ready, Reason::Scaling, "fine");
    let missing = ConditionUpdate::no(ConditionType::Ready, Reason::FailedGetScale, "not found");
    // the generation and `Ready` of prefill and decode; the generation that is observed
    let table = [
        ((None, None), (None, None), Some(1)),
        ((Some(1), Some(&able)), (Some(1), Some(&able)), Some(1)),
        ((Some(2), Some(&able)), (Some(1), Some(&able)), Some(1)),
        ((Some(2), Some(&able)), (None, None), Some(1)),
        ((Some(2), Some(&able)), (Some(2), Some(&able)), Some(2)),
        ((None, None), (Some(2), Some(&missing)), Some(2)),
        ((Some(2), Some(&able)), (Some(1), Some(&missing)), Some(1)),
    ];
    let previous =
        LLMAutoscalerStatus { observed_generation: Some(1), ..LLMAutoscalerStatus::default() };
    for (prefill, decode, expected) in table {
        let [prefill, decode] = [prefill, decode].map(|(generation, ready)| {
            let mut role = RoleStatus::default();
            if let Some(ready) = ready {
                role.set(ready.clone(), generation, None);
            }
            role.generation = generation;
            role
        });
        let roles = [(Some("prefill"), &prefill), (Some("decode"), &decode)];
        let status = assemble(&previous, &with_roles(), &roles, NOW);
        assert_eq!(status.observed_generation, expected, "{prefill:?} {decode:?}");
    }
}

#[test]
fn only_a_fixed_sentence_of_all_roles_is_shown_once() {
    type Role = (bool, Reason, Cow<'static, str>);
    fn fixed(holds: bool, reason: Reason, text: &'static str) -> Role {
        (holds, reason, Cow::Borrowed(text))
    }
    fn details(holds: bool, reason: Reason, text: &str) -> Role {
        (holds, reason, Cow::Owned(text.to_owned()))
    }
    let of = |type_, role: &Option<Role>| {
        let (status, reason, message) = role.clone()?;
        Some(ConditionUpdate { type_, status, reason, message })
    };
    let (ready, limited) = (ConditionType::Ready, ConditionType::ScalingLimited);
    // type; the conditions of prefill and decode; status, reason and message of both
    let table = [
        // Equal fixed sentences.
        (
            ready,
            Some(fixed(true, Reason::Scaling, "fine")),
            Some(fixed(true, Reason::Scaling, "fine")),
            Some((true, Reason::Scaling, "fine")),
        ),
        // Details, although they are the same by chance.
        (
            ready,
            Some(details(false, Reason::NoSignal, "a")),
            Some(details(false, Reason::NoSignal, "a")),
            Some((false, Reason::NoSignal, "prefill: a; decode: a")),
        ),
        // Details of one role only.
        (
            ready,
            Some(fixed(false, Reason::NoSignal, "a")),
            Some(details(false, Reason::NoSignal, "b")),
            Some((false, Reason::NoSignal, "prefill: a; decode: b")),
        ),
        (
            ready,
            Some(details(false, Reason::NoSignal, "a")),
            Some(fixed(false, Reason::NoSignal, "b")),
            Some((false, Reason::NoSignal, "prefill: a; decode: b")),
        ),
        // Fixed sentences of different reasons.
        (
            ready,
            Some(fixed(true, Reason::Scaling, "fine")),
            Some(fixed(true, Reason::Paused, "paused")),
            Some((true, Reason::Scaling, "prefill: fine; decode: paused")),
        ),
        // Only one of them has it.
        (
            ready,
            None,
            Some(fixed(true, Reason::Scaling, "fine")),
            Some((true, Reason::Scaling, "decode: fine")),
        ),
        // Only one of them is worth pointing out, and that is another status for each type.
        (
            ready,
            Some(fixed(true, Reason::Scaling, "fine")),
            Some(fixed(false, Reason::InvalidSelector, "broken")),
            Some((false, Reason::InvalidSelector, "decode: broken")),
        ),
        (
            limited,
            Some(fixed(true, Reason::TooManyReplicas, "at the maximum")),
            Some(fixed(false, Reason::DesiredWithinRange, "in range")),
            Some((true, Reason::TooManyReplicas, "prefill: at the maximum")),
        ),
        (
            limited,
            Some(fixed(false, Reason::DesiredWithinRange, "in range")),
            Some(fixed(false, Reason::DesiredWithinRange, "in range")),
            Some((false, Reason::DesiredWithinRange, "in range")),
        ),
        (ready, None, None, None),
    ];
    for (type_, prefill, decode, expected) in table {
        let [first, second] = [("prefill", &prefill), ("decode", &decode)]
            .map(|(name, update)| role(name, (1, 1), of(type_, update).into_iter().collect()));
        let roles = [(Some("prefill"), &first), (Some("decode"), &second)];
        let status = assemble(&LLMAutoscalerStatus::default(), &with_roles(), &roles, NOW);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(holds, reason, text)| {
                (type_.as_str(), conditions::status_text(holds), reason.as_str(), text)
            })
            .collect();
        assert_eq!(texts(&status), expected, "{prefill:?}, {decode:?}");
    }
}

#[test]
fn a_restart_changes_nothing_until_something_is_observed() {
    let able = ConditionUpdate::no(ConditionType::AbleToScale, Reason::FailedGetScale, "not found");
    let prefill = role("prefill", (2, 3), vec![able.clone()]);
    let decode = role(
        "decode",
        (4, 4),
        vec![ConditionUpdate::no(ConditionType::Ready, Reason::NoSignal, "broken")],
    );
    let whole = |previous: &_, roles: &[_]| assemble(previous, &with_roles(), roles, NOW);
    let none = LLMAutoscalerStatus::default();
    let before = whole(&none, &[(Some("prefill"), &prefill), (Some("decode"), &decode)]);
    let [first, second] =
        ["prefill", "decode"].map(|role| RoleStatus::restored(&before, Some(role)));
    assert_eq!(whole(&before, &[(Some("prefill"), &first), (Some("decode"), &second)]), before);
    // A target is still missing.
    let mut missing = first.clone();
    missing.set(able, Some(2), Some(NOW));
    let status = whole(&before, &[(Some("prefill"), &missing), (Some("decode"), &second)]);
    assert_eq!(status, before);
    // A renamed role keeps the records of its object, and has no conditions.
    let renamed = RoleStatus::restored(&before, Some("p"));
    assert_eq!((renamed.current_replicas, renamed.all_targets().len()), (None, 2));
    assert_eq!(renamed.target, None);
    let status = whole(&before, &[(Some("p"), &renamed), (Some("decode"), &second)]);
    assert_eq!((status.current_replicas, status.targets), (Some(6), before.targets[1..].to_vec()));
    let only = RoleStatus::restored(&before, None);
    assert_eq!(whole(&before, &[(None, &only)]), before);
}

#[test]
fn a_status_is_about_the_old_spec_until_a_step_has_a_result() {
    let none = LLMAutoscalerStatus::default();
    let nothing = RoleStatus::restored(&none, None);
    assert_eq!(assemble(&none, &without_roles(), &[(None, &nothing)], NOW), none);

    let mut role = RoleStatus::default();
    let update =
        ConditionUpdate::no(ConditionType::AbleToScale, Reason::FailedGetScale, "not found");
    role.fail(update, false, None, Some(2));
    let status = assemble(&none, &without_roles(), &[(None, &role)], NOW);
    assert_eq!(status.reference.as_deref(), Some("StatefulSet/a"));
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(status.conditions[0].observed_generation, Some(2));

    let mut changed = without_roles();
    changed.metadata.generation = Some(3);
    changed.spec.scale_target_ref.as_mut().unwrap().name = "b".to_owned();
    assert_eq!(assemble(&status, &changed, &[(None, &role)], NOW), status);
}

#[test]
fn a_condition_that_is_lost_and_regained_within_a_step_has_a_transition() {
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    let read = || ConditionUpdate::yes(ConditionType::AbleToScale, Reason::SucceededGetScale, "");
    let unwritten =
        || ConditionUpdate::no(ConditionType::AbleToScale, Reason::FailedUpdateScale, "");
    let (mut role, mut status) = (RoleStatus::default(), LLMAutoscalerStatus::default());
    // The updates of each step, and the transition time after it
    let table = [
        (1, vec![read(), unwritten()], 1),
        (2, vec![read(), unwritten()], 2),
        (3, vec![unwritten()], 2),
        (4, vec![read()], 4),
        (5, vec![read()], 4),
    ];
    for (second, updates, expected) in table {
        for update in updates {
            role.set(update, Some(2), Some(at(second)));
        }
        status = assemble(&status, &without_roles(), &[(None, &role)], at(second));
        let transition = &status.conditions[0].last_transition_time;
        assert_eq!(time::from_kubernetes(transition), at(expected), "step {second}");
    }
}

#[test]
fn a_mismatch_of_the_schema_is_of_no_role_and_keeps_its_transition_time() {
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    let fine = role("a", (2, 3), Vec::new());
    let next = |before: &LLMAutoscalerStatus, is_there: bool, second| {
        let mut status = assemble(before, &without_roles(), &[(None, &fine)], at(second));
        let update = ConditionUpdate::yes(ConditionType::SchemaMismatch, Reason::CRDOlder, "m");
        add_schema_mismatch(before, &mut status, is_there.then_some(update), at(second));
        status
    };
    let none = next(&LLMAutoscalerStatus::default(), false, 1);
    assert_eq!(conditions::find(&none.conditions, ConditionType::SchemaMismatch), None);
    let first = next(&none, true, 2);
    let second = next(&first, true, 3);
    let found = conditions::find(&second.conditions, ConditionType::SchemaMismatch).unwrap();
    assert_eq!(time::from_kubernetes(&found.last_transition_time), at(2));
    assert_eq!(next(&second, false, 4), none);
}

#[test]
fn an_obstruction_is_one_condition_and_changes_nothing_else() {
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    let reason = |status: &LLMAutoscalerStatus, type_| {
        conditions::find(&status.conditions, type_).map_or("", |c| &c.reason).to_owned()
    };
    let limited =
        ConditionUpdate::no(ConditionType::ScalingLimited, Reason::DesiredWithinRange, "in range");
    let fine = role("a", (2, 3), vec![limited]);
    let before =
        assemble(&LLMAutoscalerStatus::default(), &without_roles(), &[(None, &fine)], at(0));
    let invalid = || {
        let message = "spec.metrics: nonsense".to_owned();
        ConditionUpdate::no(ConditionType::ScalingActive, Reason::InvalidSpec, message)
    };
    let mut object = without_roles();
    object
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(llm_autoscaler_api::PAUSED.to_owned(), "true".to_owned());
    let status = obstructed(&before, &object, invalid(), true, at(1));
    let expected = [
        ("ScalingActive", "False", "InvalidSpec", "spec.metrics: nonsense"),
        ("ScalingLimited", "False", "DesiredWithinRange", "in range"),
        ("Ready", "False", "InvalidSpec", "spec.metrics: nonsense"),
        ("Stalled", "True", "InvalidSpec", "spec.metrics: nonsense"),
        (
            "Paused",
            "True",
            "PausedByAnnotation",
            "nothing is written to StatefulSet/a while this object has the annotation \
             llmautoscaler.io/paused",
        ),
    ];
    assert_eq!(texts(&status), expected);
    assert_eq!(status.observed_generation, Some(2));
    assert_eq!(
        (status.summary.clone(), status.desired_replicas, status.targets.clone()),
        (before.summary, before.desired_replicas, before.targets)
    );
    // Only a change of status is a transition.
    let again = obstructed(&status, &object, invalid(), true, at(2));
    assert_eq!(again, status);

    let unknown =
        ConditionUpdate::no(ConditionType::ScalingActive, Reason::PodsUnknown, "not listed");
    let waiting = obstructed(&status, &without_roles(), unknown, false, at(3));
    assert_eq!(
        [ConditionType::ScalingActive, ConditionType::Ready].map(|type_| reason(&waiting, type_)),
        ["PodsUnknown"; 2]
    );
    assert_eq!(
        [ConditionType::Stalled, ConditionType::Paused].map(|type_| reason(&waiting, type_)),
        [""; 2]
    );
}
