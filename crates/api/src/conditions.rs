//! Conditions as a pure merge: a transition is a change of status, and only that moves its time.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::time;

/// One condition as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// Its type, such as `AbleToScale`.
    pub type_: &'static str,
    /// True or False; nothing here is ever unknown.
    pub status: bool,
    /// A word for machines.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl ConditionUpdate {
    /// A condition that holds.
    pub fn yes(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status: true, reason, message: message.into() }
    }

    /// A condition that does not hold.
    pub fn no(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status: false, reason, message: message.into() }
    }
}

/// The types that are good news when they hold. All others tell of an exception when they do.
pub const GOOD: [&str; 7] = [
    "AbleToScale",
    "ScalingActive",
    "Ready",
    "SamplesComplete",
    "FirstSourceUsed",
    "ReadinessGateKept",
    "PodMonitorReady",
];

/// The API server's limit for a condition's message.
const MESSAGE_LIMIT: usize = 32_768;

/// Sets one condition, in place if it is there, else at the end.
pub fn set(
    conditions: &mut Vec<Condition>,
    update: ConditionUpdate,
    generation: Option<i64>,
    now: DateTime<Utc>,
) {
    let ConditionUpdate { type_, status, reason, message } = update;
    put(conditions, (type_, status, reason), message, generation, now);
}

/// The same of a type, a status and a reason that need not be constants.
pub fn put(
    conditions: &mut Vec<Condition>,
    (type_, holds, reason): (&str, bool, &str),
    mut message: String,
    generation: Option<i64>,
    now: DateTime<Utc>,
) {
    let status = if holds { "True" } else { "False" };
    message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
    let position = conditions.iter().position(|condition| condition.type_ == type_);
    let last_transition_time = match position.map(|index| &conditions[index]) {
        Some(old) if old.status == status => old.last_transition_time.clone(),
        _ => time::to_kubernetes(now),
    };
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time,
    };
    match position {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}

/// Takes a condition away, for those that are present only while they hold.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Whether a condition is there and holds.
pub fn holds(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn only_a_change_of_status_is_a_transition() {
        let mut conditions = Vec::new();
        set(&mut conditions, ConditionUpdate::yes("Ready", "One", "first"), Some(1), at(1));
        set(&mut conditions, ConditionUpdate::yes("Ready", "Two", "second"), Some(2), at(2));
        assert_eq!(conditions.len(), 1);
        assert_eq!(
            (conditions[0].reason.as_str(), conditions[0].message.as_str()),
            ("Two", "second")
        );
        assert_eq!(time::from_kubernetes(&conditions[0].last_transition_time), at(1));
        assert!(holds(&conditions, "Ready"));

        set(&mut conditions, ConditionUpdate::no("Ready", "Three", "third"), Some(2), at(3));
        assert_eq!(time::from_kubernetes(&conditions[0].last_transition_time), at(3));
        assert!(!holds(&conditions, "Ready"));

        remove(&mut conditions, "Ready");
        assert!(conditions.is_empty());
    }

    #[test]
    fn the_order_is_that_of_first_appearance() {
        let mut conditions = Vec::new();
        for type_ in ["AbleToScale", "ScalingActive", "AbleToScale"] {
            set(&mut conditions, ConditionUpdate::yes(type_, "R", "m"), None, at(0));
        }
        let types: Vec<_> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["AbleToScale", "ScalingActive"]);
    }

    #[test]
    fn a_message_is_never_longer_than_the_server_takes() {
        let mut conditions = Vec::new();
        set(&mut conditions, ConditionUpdate::no("Ready", "R", "é".repeat(40_000)), None, at(0));
        assert!(conditions[0].message.len() <= MESSAGE_LIMIT);
    }
}
