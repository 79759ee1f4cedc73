//! The conditions of an `LLMAutoscaler`: their types, their reasons, and how a status takes them
//! up.
//!
//! Every type is a [`ConditionType`] and every reason a [`Reason`]; `docs/conditions.md` has a row
//! for each, which a test checks. Merging is pure: a transition is a change of status, and nothing
//! else moves `lastTransitionTime`.

mod reason;
mod types;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::time;

pub use reason::Reason;
pub use types::{ConditionType, Polarity};

/// Defines an enum with variants that are named as in Kubernetes, and with `ALL`, `as_str`
/// and [`Display`](std::fmt::Display), so that a name cannot differ from its text.
macro_rules! named_variants {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            /// Every variant, in the order of the enum.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the name as it is written in Kubernetes.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, other: &$name) -> bool {
                self == other.as_str()
            }
        }
    };
}
use named_variants;

/// A condition as it should be; [`set`] makes it part of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// The type, such as `AbleToScale`.
    pub type_: ConditionType,
    /// The status: `True` or `False`. Where the answer is not known, there is no update.
    pub status: bool,
    /// The reason, which scripts and alerts may match on.
    pub reason: Reason,
    /// A sentence for people. A borrowed text is the fixed sentence of its reason, so all targets
    /// share it; an owned text has details of one target.
    pub message: Cow<'static, str>,
}

impl ConditionUpdate {
    /// Returns a condition with the status `True`.
    pub fn yes(
        type_: ConditionType,
        reason: Reason,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { type_, status: true, reason, message: message.into() }
    }

    /// Returns a condition with the status `False`.
    pub fn no(type_: ConditionType, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { type_, status: false, reason, message: message.into() }
    }
}

/// The length of the longest message of a condition that the API server accepts.
const MESSAGE_LIMIT: usize = 32_768;

/// Returns `True` or `False`, as a condition's status is written.
pub const fn status_text(holds: bool) -> &'static str {
    if holds { "True" } else { "False" }
}

/// Sets one condition: in place if its type is there, else at the end.
pub fn set(
    conditions: &mut Vec<Condition>,
    update: ConditionUpdate,
    generation: Option<i64>,
    now: DateTime<Utc>,
) {
    let ConditionUpdate { type_, status, reason, message } = update;
    let condition = Condition {
        type_: type_.as_str().to_owned(),
        status: status_text(status).to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.into_owned(),
        observed_generation: generation,
        last_transition_time: time::to_kubernetes(now),
    };
    merge(conditions, condition);
}

/// Merges a condition with the current time as `lastTransitionTime`. The one before keeps its time
/// if its status is the same. Messages that the API server would refuse are cut.
pub fn merge(conditions: &mut Vec<Condition>, mut condition: Condition) {
    condition.message.truncate(condition.message.floor_char_boundary(MESSAGE_LIMIT));
    match conditions.iter_mut().find(|old| old.type_ == condition.type_) {
        Some(old) => {
            if old.status == condition.status {
                condition.last_transition_time = old.last_transition_time.clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

/// Removes a condition, for those that are present only while they hold.
pub fn remove(conditions: &mut Vec<Condition>, type_: ConditionType) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// Finds the condition of a type.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns whether a condition is present with the status `True`.
pub fn holds(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == status_text(true))
}

/// Sorts conditions into the order in which people read them, which is that of [`ConditionType`].
pub fn sort(conditions: &mut [Condition]) {
    conditions.sort_by_key(|condition| ConditionType::parse(&condition.type_));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    const READY: ConditionType = ConditionType::Ready;

    #[test]
    fn only_a_change_of_status_is_a_transition() {
        let mut conditions = Vec::new();
        set(&mut conditions, ConditionUpdate::yes(READY, Reason::Scaling, "first"), Some(1), at(1));
        set(&mut conditions, ConditionUpdate::yes(READY, Reason::Paused, "second"), Some(2), at(2));
        assert_eq!(conditions.len(), 1);
        assert_eq!(
            (conditions[0].reason.as_str(), conditions[0].message.as_str()),
            ("Paused", "second")
        );
        assert_eq!(time::from_kubernetes(&conditions[0].last_transition_time), at(1));
        assert!(holds(&conditions, READY));

        let update = ConditionUpdate::no(READY, Reason::PodsUnknown, "third");
        set(&mut conditions, update, Some(2), at(3));
        assert_eq!(time::from_kubernetes(&conditions[0].last_transition_time), at(3));
        assert!(!holds(&conditions, READY));

        remove(&mut conditions, READY);
        assert!(conditions.is_empty());
    }

    #[test]
    fn a_new_condition_is_appended_and_sorting_gives_the_order_of_the_enum() {
        let mut conditions = Vec::new();
        let (able, active) = (ConditionType::AbleToScale, ConditionType::ScalingActive);
        for type_ in [READY, active, able, active] {
            let update = ConditionUpdate::yes(type_, Reason::Scaling, "m");
            set(&mut conditions, update, None, at(0));
        }
        let types = |conditions: &[Condition]| -> Vec<String> {
            conditions.iter().map(|condition| condition.type_.clone()).collect()
        };
        assert_eq!(types(&conditions), ["Ready", "ScalingActive", "AbleToScale"]);
        sort(&mut conditions);
        assert_eq!(types(&conditions), ["AbleToScale", "ScalingActive", "Ready"]);
    }

    #[test]
    fn a_message_is_cut_to_the_api_servers_limit() {
        let mut conditions = Vec::new();
        let update = ConditionUpdate::no(READY, Reason::PodsUnknown, "é".repeat(40_000));
        set(&mut conditions, update, None, at(0));
        assert!(conditions[0].message.len() <= MESSAGE_LIMIT);
    }
}
