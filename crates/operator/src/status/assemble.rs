//! The whole status of an autoscaler, from the statuses of its roles.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus,
    conditions::{self, ConditionType, ConditionUpdate, Reason},
    time,
};

use super::{
    report::paused_without_decision,
    role_status::{RoleCondition, RoleStatus, consequences, is_precondition},
};

/// A role's name, if it has one, and its status.
type NamedRole<'a> = (Option<&'a str>, &'a RoleStatus);

/// Returns the whole status that follows `previous`. An only target without a role name has its own
/// conditions as they are; those of several roles are joined into one of each type.
pub(crate) fn assemble(
    previous: &LLMAutoscalerStatus,
    object: &LLMAutoscaler,
    roles: &[(Option<&str>, &RoleStatus)],
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    match roles {
        [(None, only)] => of_only_target(previous, object, only, now),
        _ => of_roles(previous, object, roles, now),
    }
}

/// Returns the whole status that follows `previous`, where a step ended before any role was looked
/// up: the update says why, `Ready` is False with the same reason, and `Stalled` is True if waiting
/// does not help. `Paused` is as the object says, and nothing else changes.
pub(crate) fn obstructed(
    previous: &LLMAutoscalerStatus,
    object: &LLMAutoscaler,
    update: ConditionUpdate,
    terminal: bool,
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let generation = object.metadata.generation;
    let reference = object.spec.reference();
    let (ready, stalled) = consequences(&update, terminal);
    let paused = paused_without_decision(object, &reference);
    let updates: Vec<_> =
        [Some(update), Some(ready), stalled, paused].into_iter().flatten().collect();
    let mut status = LLMAutoscalerStatus {
        observed_generation: generation,
        reference: Some(reference),
        ..previous.clone()
    };
    // A condition that is set again stays until then, so that it keeps its transition time.
    status.conditions.retain(|condition| {
        let is_temporary = is_saved_precondition(condition)
            || [ConditionType::Stalled, ConditionType::Paused]
                .iter()
                .any(|type_| condition.type_ == *type_);
        !is_temporary || updates.iter().any(|update| condition.type_ == update.type_)
    });
    for update in updates {
        conditions::set(&mut status.conditions, update, generation, now);
    }
    conditions::sort(&mut status.conditions);
    status
}

/// Makes `Ready` False in a status that follows `previous`, for a reason that is none of its
/// roles'.
pub(crate) fn unready(
    previous: &LLMAutoscalerStatus,
    mut status: LLMAutoscalerStatus,
    reason: Reason,
    message: String,
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let update = ConditionUpdate::no(ConditionType::Ready, reason, message);
    // It keeps its transition time if it was False before.
    if let Some(before) = conditions::find(&previous.conditions, ConditionType::Ready) {
        conditions::remove(&mut status.conditions, ConditionType::Ready);
        status.conditions.push(before.clone());
    }
    conditions::set(&mut status.conditions, update, status.observed_generation, now);
    conditions::sort(&mut status.conditions);
    status
}

/// Adds `SchemaMismatch` to a status that follows `previous`, or removes it: it is of no role.
pub(crate) fn add_schema_mismatch(
    previous: &LLMAutoscalerStatus,
    status: &mut LLMAutoscalerStatus,
    update: Option<ConditionUpdate>,
    now: DateTime<Utc>,
) {
    conditions::remove(&mut status.conditions, ConditionType::SchemaMismatch);
    let Some(update) = update else { return };
    // It keeps its transition time if it was there before.
    status.conditions.extend(conditions::find(&previous.conditions, update.type_).cloned());
    conditions::set(&mut status.conditions, update, status.observed_generation, now);
    conditions::sort(&mut status.conditions);
}

/// Returns the status of an autoscaler with one target and no roles.
fn of_only_target(
    previous: &LLMAutoscalerStatus,
    object: &LLMAutoscaler,
    only: &RoleStatus,
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    // Until a step has come to a result under this spec, the status is about the one before.
    let is_observed = !only.conditions.is_empty() && only.generation == object.metadata.generation;
    let reference = is_observed.then(|| object.spec.reference());
    let is_present = |saved: &&Condition| {
        ConditionType::parse(&saved.type_).is_some_and(|type_| only.conditions.contains_key(&type_))
    };
    let mut conditions = previous.conditions.iter().filter(is_present).cloned().collect();
    for (type_, condition) in &only.conditions {
        conditions::set(&mut conditions, condition.update(*type_), condition.generation, now);
    }
    count_transitions_within_steps(&mut conditions, only);
    conditions::sort(&mut conditions);
    LLMAutoscalerStatus {
        observed_generation: only.generation,
        reference: reference.or_else(|| previous.reference.clone()),
        summary: only.summary.clone(),
        current_replicas: only.current_replicas,
        desired_replicas: only.desired_replicas,
        last_scale_time: only.last_scale_time.map(time::to_kubernetes),
        last_wake_time: None,
        conditions,
        targets: only.all_targets(),
    }
}

/// Moves the transition times of conditions that became the opposite and returned within one step,
/// as the HPA does. A failed write is such a case: `AbleToScale` becomes True when the scale is
/// read, and False again when it cannot be written.
fn count_transitions_within_steps(conditions: &mut [Condition], role: &RoleStatus) {
    for condition in conditions {
        let of_role = ConditionType::parse(&condition.type_)
            .and_then(|type_| role.conditions.get(&type_)?.changed_at)
            .map(time::to_kubernetes);
        if let Some(changed_at) = of_role
            && changed_at.0 > condition.last_transition_time.0
        {
            condition.last_transition_time = changed_at;
        }
    }
}

/// Returns the status of an autoscaler with several roles.
fn of_roles(
    previous: &LLMAutoscalerStatus,
    object: &LLMAutoscaler,
    roles: &[NamedRole<'_>],
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    let generation = object.metadata.generation;
    // Until every role has decided, conditions from before stay, except for those that kept a role
    // from deciding.
    let is_whole = roles.iter().all(|(_, role)| role.summary.is_some());
    let mut conditions = previous.conditions.clone();
    for type_ in ConditionType::ALL {
        match joint_condition(*type_, roles) {
            Some(joint) => conditions::set(&mut conditions, joint, generation, now),
            None if !is_whole && *type_ != ConditionType::Stalled => {
                conditions.retain(|saved| saved.type_ != *type_ || !is_saved_precondition(saved));
            }
            None => conditions::remove(&mut conditions, *type_),
        }
    }
    conditions::sort(&mut conditions);
    let current: Option<i32> = roles.iter().map(|(_, role)| role.current_replicas).sum();
    let desired: Option<i32> = roles.iter().map(|(_, role)| role.desired_replicas).sum();
    let last_scale_time = roles.iter().filter_map(|(_, role)| role.last_scale_time).max();
    let summary = joint_summary(roles).filter(|_| is_whole);
    let observed =
        if is_about(generation, roles) { generation } else { previous.observed_generation };
    LLMAutoscalerStatus {
        observed_generation: observed,
        reference: Some(object.spec.reference()),
        summary: summary.or_else(|| previous.summary.clone()),
        current_replicas: current.or(previous.current_replicas),
        desired_replicas: desired.or(previous.desired_replicas),
        last_scale_time: last_scale_time.map(time::to_kubernetes),
        last_wake_time: None,
        conditions,
        targets: roles.iter().filter_map(|(_, role)| role.target.clone()).collect(),
    }
}

/// Returns whether the statuses of roles are about this generation of the spec: all of them, or one
/// that keeps the others from deciding. Until then the status is about the generation before, since
/// a tool that waits for it would take the conditions of that one for an answer.
fn is_about(generation: Option<i64>, roles: &[NamedRole<'_>]) -> bool {
    let is_unready = |role: &RoleStatus| {
        role.conditions.get(&ConditionType::Ready).is_some_and(|ready| !ready.holds)
    };
    roles.iter().all(|(_, role)| role.generation == generation)
        || roles.iter().any(|(_, role)| role.generation == generation && is_unready(role))
}

fn joint_summary(roles: &[NamedRole<'_>]) -> Option<String> {
    let parts: Vec<String> = roles
        .iter()
        .filter_map(|(name, role)| {
            Some(format!("{} {}", name.unwrap_or_default(), role.summary.as_ref()?))
        })
        .collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Joins the conditions of one type. If those of some roles are worth pointing out, only these are
/// in the message. The status and the reason are the first one's.
fn joint_condition(type_: ConditionType, roles: &[NamedRole<'_>]) -> Option<ConditionUpdate> {
    let all: Vec<(&str, &RoleCondition)> = roles
        .iter()
        .filter_map(|(name, role)| Some((name.unwrap_or_default(), role.conditions.get(&type_)?)))
        .collect();
    let worth_pointing_out: Vec<(&str, &RoleCondition)> = all
        .iter()
        .filter(|(_, condition)| condition.holds != type_.usual_status())
        .copied()
        .collect();
    let shown = if worth_pointing_out.is_empty() { all } else { worth_pointing_out };
    let (_, first) = shown.first()?;
    let is_same_sentence = shown.len() == roles.len()
        && shown.iter().all(|(_, condition)| is_sentence_of(condition, first));
    let message = if is_same_sentence { first.message.clone() } else { by_role(&shown).into() };
    Some(ConditionUpdate { message, ..first.update(type_) })
}

/// Returns whether a condition has the same fixed sentence as another one. The sentence of a reason
/// is fixed where it has no details of a target.
fn is_sentence_of(condition: &RoleCondition, other: &RoleCondition) -> bool {
    matches!(condition.message, Cow::Borrowed(_)) && condition.reason == other.reason
}

/// Returns the messages of several roles, each after the role's name.
fn by_role(shown: &[(&str, &RoleCondition)]) -> String {
    let messages: Vec<String> =
        shown.iter().map(|(name, condition)| format!("{name}: {}", condition.message)).collect();
    messages.join("; ")
}

/// Returns whether a saved condition is about what kept an earlier step from looking up any target.
fn is_saved_precondition(saved: &Condition) -> bool {
    Reason::parse(&saved.reason).is_some_and(is_precondition)
}

#[cfg(test)]
mod tests;
