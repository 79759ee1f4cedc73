//! The status of an autoscaler with several roles, joined from the status of each role.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus, TargetStatus,
    conditions::{self, ConditionType, status_text},
    time,
};

/// The name of a role, if it has one, and the status that it would have as the only target.
type OfRole<'a> = (Option<&'a str>, &'a LLMAutoscalerStatus);

/// Extracts one role's state from a saved status, to resume after a restart. Conditions about all
/// roles are left out. Records of targets are matched by UID, so renaming a role does not lose
/// them.
pub fn of_role(status: &LLMAutoscalerStatus, role: Option<&str>) -> LLMAutoscalerStatus {
    let Some(role) = role else { return status.clone() };
    let own = status.targets.iter().find(|target| target.name == role);
    LLMAutoscalerStatus {
        current_replicas: own.map(|target| target.current_replicas),
        desired_replicas: own.map(|target| target.desired_replicas),
        last_scale_time: status.last_scale_time.clone(),
        targets: status.targets.clone(),
        ..LLMAutoscalerStatus::default()
    }
}

/// Returns the status that follows `previous`. An only target without a role name has its own.
pub fn merged(
    previous: &LLMAutoscalerStatus,
    whole: &LLMAutoscaler,
    roles: &[OfRole<'_>],
    now: DateTime<Utc>,
) -> LLMAutoscalerStatus {
    if let [(None, only)] = roles {
        return (*only).clone();
    }
    let sum = |of: fn(&LLMAutoscalerStatus) -> Option<i32>| -> Option<i32> {
        roles.iter().map(|(_, status)| of(status)).sum()
    };
    // Until every role has decided, conditions from before stay, except for those that kept a role
    // from deciding.
    let is_whole = roles.iter().all(|(_, status)| status.summary.is_some());
    let summary = summary(roles).filter(|_| is_whole);
    let mut status = LLMAutoscalerStatus {
        observed_generation: whole.metadata.generation,
        reference: Some(whole.spec.reference()),
        summary: summary.or_else(|| previous.summary.clone()),
        current_replicas: sum(|status| status.current_replicas).or(previous.current_replicas),
        desired_replicas: sum(|status| status.desired_replicas).or(previous.desired_replicas),
        last_scale_time: roles
            .iter()
            .filter_map(|(_, status)| status.last_scale_time.clone())
            .max_by_key(|time| time.0),
        conditions: previous.conditions.clone(),
        targets: roles.iter().filter_map(target).collect(),
    };
    for type_ in ConditionType::ALL {
        match condition(*type_, roles) {
            Some(joint) => {
                let joint = Condition {
                    observed_generation: whole.metadata.generation,
                    last_transition_time: time::to_kubernetes(now),
                    ..joint
                };
                conditions::merge(&mut status.conditions, joint);
            }
            None if !is_whole && *type_ != ConditionType::Stalled => {
                super::forget_precondition(&mut status.conditions, *type_);
            }
            None => conditions::remove(&mut status.conditions, *type_),
        }
    }
    conditions::sort(&mut status.conditions);
    status
}

/// Returns the status of a role's target.
fn target((name, status): &OfRole<'_>) -> Option<TargetStatus> {
    status.targets.iter().find(|target| Some(&*target.name) == *name).cloned()
}

fn summary(roles: &[OfRole<'_>]) -> Option<String> {
    let of = |(name, status): &OfRole<'_>| {
        Some(format!("{} {}", name.unwrap_or_default(), status.summary.as_ref()?))
    };
    let parts: Vec<String> = roles.iter().filter_map(of).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Joins the conditions of one type into one. If any role's is worth pointing out, only those are
/// in the message, and the reason is the first one's.
fn condition(type_: ConditionType, roles: &[OfRole<'_>]) -> Option<Condition> {
    let of = |(name, status): &OfRole<'_>| {
        let found = conditions::find(&status.conditions, type_)?;
        Some((name.unwrap_or_default().to_owned(), found.clone()))
    };
    let all: Vec<(String, Condition)> = roles.iter().filter_map(of).collect();
    let usual = status_text(type_.usual_status());
    let worth: Vec<&(String, Condition)> =
        all.iter().filter(|(_, found)| found.status != usual).collect();
    let shown = if worth.is_empty() { all.iter().collect() } else { worth };
    let (_, first) = shown.first()?;
    let is_one =
        shown.len() == roles.len() && shown.iter().all(|(_, found)| found.message == first.message);
    let message = if is_one {
        first.message.clone()
    } else {
        let each: Vec<String> =
            shown.iter().map(|(name, found)| format!("{name}: {}", found.message)).collect();
        each.join("; ")
    };
    Some(Condition { message, ..first.clone() })
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_api::conditions::{ConditionUpdate, Reason};
    use serde_json::json;

    use super::*;

    fn whole() -> LLMAutoscaler {
        let spec = json!({
            "scaleTargetRef": {"apiVersion": "workloads.x-k8s.io/v1alpha2", "kind": "RoleBasedGroup", "name": "pd"},
            "engine": "VLLM", "maxReplicas": 3, "roles": [],
        });
        let mut object = LLMAutoscaler::new("pd", serde_json::from_value(spec).unwrap());
        object.metadata.generation = Some(2);
        object
    }

    fn role(name: &str, sizes: (i32, i32), updates: Vec<ConditionUpdate>) -> LLMAutoscalerStatus {
        let mut status = LLMAutoscalerStatus {
            current_replicas: Some(sizes.0),
            desired_replicas: Some(sizes.1),
            summary: Some("in-flight 1/8".to_owned()),
            targets: vec![TargetStatus {
                name: name.to_owned(),
                current_replicas: sizes.0,
                desired_replicas: sizes.1,
                ..TargetStatus::default()
            }],
            ..LLMAutoscalerStatus::default()
        };
        for update in updates {
            conditions::set(&mut status.conditions, update, Some(1), DateTime::UNIX_EPOCH);
        }
        status
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
        let status =
            merged(&LLMAutoscalerStatus::default(), &whole(), &roles, DateTime::UNIX_EPOCH);
        assert_eq!((status.current_replicas, status.desired_replicas), (Some(6), Some(7)));
        assert_eq!(status.reference.as_deref(), Some("RoleBasedGroup/pd"));
        assert_eq!(status.summary.as_deref(), Some("prefill in-flight 1/8; decode in-flight 1/8"));
        let told: Vec<_> = status
            .conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str(), c.message.as_str()))
            .collect();
        let expected = [
            ("AbleToScale", "True", "ReadyForNewScale", "fine"),
            ("ScalingLimited", "True", "RoleRatio", "prefill: kept"),
            ("Ready", "False", "NoSignal", "decode: broken"),
        ];
        assert_eq!(told, expected);
        // A condition that no role has any longer is removed.
        let silent = role("prefill", (2, 2), Vec::new());
        let quiet = [(Some("prefill"), &silent)];
        assert_eq!(merged(&status, &whole(), &quiet, DateTime::UNIX_EPOCH).conditions, []);
    }

    #[test]
    fn a_restart_changes_nothing_until_something_is_observed() {
        let able =
            ConditionUpdate::no(ConditionType::AbleToScale, Reason::FailedGetScale, "not found");
        let prefill = role("prefill", (2, 3), vec![able.clone()]);
        let decode = role(
            "decode",
            (4, 4),
            vec![ConditionUpdate::no(ConditionType::Ready, Reason::NoSignal, "broken")],
        );
        let now = DateTime::UNIX_EPOCH;
        let merged = |previous: &_, roles: &[_]| merged(previous, &whole(), roles, now);
        let none = LLMAutoscalerStatus::default();
        let before = merged(&none, &[(Some("prefill"), &prefill), (Some("decode"), &decode)]);
        let [first, second] = ["prefill", "decode"].map(|role| of_role(&before, Some(role)));
        assert_eq!(
            merged(&before, &[(Some("prefill"), &first), (Some("decode"), &second)]),
            before
        );
        // A target is still missing.
        let mut missing = first.clone();
        conditions::set(&mut missing.conditions, able, Some(2), now);
        let told = merged(&before, &[(Some("prefill"), &missing), (Some("decode"), &second)]);
        assert_eq!(told, before);
        // A renamed role keeps the records of its object, and has no conditions.
        let renamed = of_role(&before, Some("p"));
        assert_eq!((renamed.current_replicas, renamed.targets.len()), (None, 2));
        let told = merged(&before, &[(Some("p"), &renamed), (Some("decode"), &second)]);
        assert_eq!((told.current_replicas, told.targets), (Some(6), second.targets[1..].to_vec()));
        assert_eq!(of_role(&before, None), before);
    }
}
