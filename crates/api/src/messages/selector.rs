//! The texts about selectors.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::EventMessage;
use crate::conditions::{ConditionType, ConditionUpdate, Reason};

/// Why the pods of the target are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorProblem {
    /// The scale has no selector.
    Missing,
    /// The selector cannot be parsed.
    Invalid {
        /// The parser's error.
        error: String,
    },
    /// The selector selects pods that the targets of other autoscalers select too.
    Ambiguous {
        /// The selector.
        selector: String,
        /// Some of the other autoscalers, as the message lists them.
        autoscalers: String,
    },
    /// The selector selects a pod that is too large to be kept in memory.
    TooLarge {
        /// The pod.
        pod: String,
        /// The limits.
        limits: &'static str,
    },
}

impl SelectorProblem {
    /// Returns the error of the step, which is also the message of the event.
    pub(super) fn error(&self) -> String {
        match self {
            Self::Missing => "selector is required".to_owned(),
            Self::Invalid { error } => {
                format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                )
            }
            Self::Ambiguous { selector, autoscalers } => {
                format!(
                    "pods by selector {selector} are controlled by more than one HPA (e.g. {autoscalers})"
                )
            }
            Self::TooLarge { pod, limits } => {
                format!(
                    "the pod {pod} is too large for the operator to know it (a pod may have \
                     {limits}): remove labels, annotations or ports from it"
                )
            }
        }
    }

    pub(super) fn condition(&self) -> ConditionUpdate {
        let (reason, message) = match self {
            Self::Missing => {
                (Reason::InvalidSelector, "the HPA target's scale is missing a selector".to_owned())
            }
            Self::Invalid { .. } => (Reason::InvalidSelector, self.error()),
            Self::Ambiguous { .. } => (Reason::AmbiguousSelector, self.error()),
            Self::TooLarge { .. } => (Reason::PodsUnknown, self.error()),
        };
        ConditionUpdate::no(ConditionType::ScalingActive, reason, message)
    }

    pub(super) fn event(&self) -> EventMessage {
        let reason = match self {
            Self::Missing => Reason::SelectorRequired,
            Self::Invalid { .. } => Reason::InvalidSelector,
            Self::Ambiguous { .. } => Reason::AmbiguousSelector,
            Self::TooLarge { .. } => Reason::PodsUnknown,
        };
        EventMessage::warning(reason, self.error())
    }
}

/// Returns a metric's selector as the HPA prints it, which is Go's form of the struct.
pub fn selector_text(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let mut labels = String::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        let _ = write!(labels, "{key}: {value},");
    }
    let mut expressions = String::new();
    for expression in selector.match_expressions.iter().flatten() {
        let values = expression.values.as_deref().unwrap_or_default().join(" ");
        let _ = write!(
            expressions,
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
            expression.key, expression.operator
        );
    }
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_printed_as_go_prints_them() {
        let selector = serde_json::json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["x", "y"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        });
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let table = [
            (None, "nil"),
            (
                Some(LabelSelector::default()),
                "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{},}",
            ),
            (
                Some(selector),
                "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:[]LabelSelectorRequirement{\
                 LabelSelectorRequirement{Key:tier,Operator:In,Values:[x y],},\
                 LabelSelectorRequirement{Key:old,Operator:DoesNotExist,Values:[],},},}",
            ),
        ];
        for (selector, expected) in table {
            assert_eq!(selector_text(selector.as_ref()), expected);
        }
    }
}
