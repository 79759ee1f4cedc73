//! The status of an autoscaler with several roles, from those that each would have by itself.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{LLMAutoscaler, LLMAutoscalerStatus, conditions};

use super::ORDER;

/// A role by its name, where it has one, and the status that it would have by itself.
type OfRole<'a> = (Option<&'a str>, &'a LLMAutoscalerStatus);

/// The part of a status that is about one role, to go on from after a restart.
pub fn of_role(status: &LLMAutoscalerStatus, role: Option<&str>) -> LLMAutoscalerStatus {
    let is_its_own = |name: &str| role.is_none_or(|role| role == name);
    let targets = status.targets.iter().filter(|target| is_its_own(&target.name)).cloned().collect();
    LLMAutoscalerStatus { targets, ..status.clone() }
}

/// The status that follows `previous`. That of an only target is its own.
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
    let mut status = LLMAutoscalerStatus {
        observed_generation: whole.metadata.generation,
        reference: Some(whole.spec.reference()),
        summary: summary(roles),
        current_replicas: sum(|status| status.current_replicas),
        desired_replicas: sum(|status| status.desired_replicas),
        last_scale_time: roles
            .iter()
            .filter_map(|(_, status)| status.last_scale_time.clone())
            .max_by_key(|time| time.0),
        conditions: previous.conditions.clone(),
        targets: roles.iter().flat_map(|(_, status)| status.targets.clone()).collect(),
    };
    for type_ in ORDER {
        match condition(type_, roles) {
            Some(Told { holds, reason, message }) => {
                conditions::put(
                    &mut status.conditions,
                    (type_, holds, &reason),
                    message,
                    whole.metadata.generation,
                    now,
                );
            }
            None => conditions::remove(&mut status.conditions, type_),
        }
    }
    super::in_order(&mut status.conditions);
    status
}

fn summary(roles: &[OfRole<'_>]) -> Option<String> {
    let of = |(name, status): &OfRole<'_>| {
        Some(format!("{} {}", name.unwrap_or_default(), status.summary.as_ref()?))
    };
    let parts: Vec<String> = roles.iter().filter_map(of).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// One condition of all roles.
struct Told {
    holds: bool,
    reason: String,
    message: String,
}

/// What the roles say in one condition: of those of which it is worth a word, if there are any, by the first one's reason.
fn condition(type_: &str, roles: &[OfRole<'_>]) -> Option<Told> {
    let of = |(name, status): &OfRole<'_>| {
        let found = status.conditions.iter().find(|condition| condition.type_ == type_)?;
        Some((name.unwrap_or_default().to_owned(), found.clone()))
    };
    let all: Vec<(String, Condition)> = roles.iter().filter_map(of).collect();
    let usual = if conditions::GOOD.contains(&type_) { "True" } else { "False" };
    let worth: Vec<&(String, Condition)> = all.iter().filter(|(_, found)| found.status != usual).collect();
    let told = if worth.is_empty() { all.iter().collect() } else { worth };
    let (_, first) = told.first()?;
    let is_one = told.len() == roles.len() && told.iter().all(|(_, found)| found.message == first.message);
    let message = if is_one {
        first.message.clone()
    } else {
        let each: Vec<String> =
            told.iter().map(|(name, found)| format!("{name}: {}", found.message)).collect();
        each.join("; ")
    };
    Some(Told { holds: first.status == "True", reason: first.reason.clone(), message })
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_api::{TargetStatus, conditions::ConditionUpdate};
    use serde_json::json;

    use super::*;
    use crate::report::ABLE_TO_SCALE;

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
            targets: vec![TargetStatus { name: name.to_owned(), ..TargetStatus::default() }],
            ..LLMAutoscalerStatus::default()
        };
        for update in updates {
            conditions::set(&mut status.conditions, update, Some(1), DateTime::UNIX_EPOCH);
        }
        status
    }

    #[test]
    fn several_roles_make_one_status() {
        let able = || ConditionUpdate::yes(ABLE_TO_SCALE, "ReadyForNewScale", "fine");
        let prefill = role(
            "prefill",
            (2, 3),
            vec![
                able(),
                ConditionUpdate::yes("ScalingLimited", "RoleRatio", "kept"),
                ConditionUpdate::yes("Ready", "Scaling", "kept"),
            ],
        );
        let decode = role(
            "decode",
            (4, 4),
            vec![
                able(),
                ConditionUpdate::no("ScalingLimited", "Within", "in range"),
                ConditionUpdate::no("Ready", "Bad", "broken"),
            ],
        );
        let roles = [(Some("prefill"), &prefill), (Some("decode"), &decode)];
        let status = merged(&LLMAutoscalerStatus::default(), &whole(), &roles, DateTime::UNIX_EPOCH);
        assert_eq!((status.current_replicas, status.desired_replicas), (Some(6), Some(7)));
        assert_eq!(status.reference.as_deref(), Some("RoleBasedGroup/pd"));
        assert_eq!(status.summary.as_deref(), Some("prefill in-flight 1/8; decode in-flight 1/8"));
        let told: Vec<_> = status
            .conditions
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str(), c.message.as_str()))
            .collect();
        let expected = [
            (ABLE_TO_SCALE, "True", "ReadyForNewScale", "fine"),
            ("ScalingLimited", "True", "RoleRatio", "prefill: kept"),
            ("Ready", "False", "Bad", "decode: broken"),
        ];
        assert_eq!(told, expected);
        // What no role says any longer is gone, and each finds its own again.
        let quiet = [(Some("prefill"), &LLMAutoscalerStatus::default())];
        assert_eq!(merged(&status, &whole(), &quiet, DateTime::UNIX_EPOCH).conditions, []);
        assert_eq!(of_role(&status, Some("decode")).targets[0].name, "decode");
        assert_eq!(of_role(&status, None).targets.len(), 2);
    }
}
