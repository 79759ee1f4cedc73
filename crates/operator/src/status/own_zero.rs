//! A zero that the operator has written, and whose status is missing: it ended in between, or the
//! write had no answer. A target at zero would stay there otherwise, as one that something else has
//! scaled to zero.

use chrono::{DateTime, Utc};
use llm_autoscaler_api::conditions::{ConditionType, ConditionUpdate, Reason};

use crate::status::role_status::RoleStatus;

impl RoleStatus {
    /// Returns whether the latest decision was on the way to zero: the metrics required nothing,
    /// and the idle time or a window had yet to pass, or zero was asked for. Nothing else held the
    /// size.
    pub(crate) fn was_going_to_zero(&self) -> bool {
        let is_paused = self.conditions.get(&ConditionType::Paused).is_some_and(|it| it.holds);
        let Some(target) = self.target.as_deref().filter(|_| !is_paused) else { return false };
        let waits = [Reason::NotIdleYet, Reason::ScaleDownStabilized].map(Reason::as_str);
        let is_left_alone = target.recommendation.is_some() || target.manual_change.is_some();
        !is_left_alone
            && target.decision.as_ref().is_some_and(|decision| {
                let is_waiting = waits.contains(&&*decision.limited_by);
                decision.raw == 0 && (is_waiting || decision.applied == 0)
            })
    }

    /// Records a write that no step has reported: its time, where it is known, and whether it was
    /// one to zero.
    pub(crate) fn record_write(
        &mut self,
        at: Option<DateTime<Utc>>,
        to_zero: Option<ConditionUpdate>,
        generation: Option<i64>,
    ) {
        self.last_scale_time = self.last_scale_time.max(at);
        if let Some(to_zero) = to_zero {
            self.set(to_zero, generation, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use llm_autoscaler_api::{
        DecisionStatus, LLMAutoscalerStatus, ManualChangeStatus, TargetStatus, time,
    };

    use super::*;

    #[test]
    fn a_status_tells_whether_zero_was_next() {
        let limited = |raw: i32, applied: i32, limited_by: &str| TargetStatus {
            decision: Some(DecisionStatus {
                raw,
                applied,
                limited_by: limited_by.to_owned(),
                stabilized: applied,
                limited: applied,
                reason: None,
            }),
            ..TargetStatus::default()
        };
        let idle = || limited(0, 1, "NotIdleYet");
        let recommended = TargetStatus { recommendation: Some(Box::default()), ..idle() };
        let time = time::to_kubernetes(DateTime::UNIX_EPOCH);
        let change = ManualChangeStatus { time, from: 0, to: 1, by: None };
        let by_hand = TargetStatus { manual_change: Some(change), ..idle() };
        let cases = [
            ("idle, and not for long enough", idle(), true),
            ("within a window", limited(0, 1, "ScaleDownStabilized"), true),
            ("asked for, and drained first", limited(0, 0, "DesiredWithinRange"), true),
            ("held by doubt", limited(0, 1, "SamplesIncomplete"), false),
            ("with load", limited(1, 1, "DesiredWithinRange"), false),
            ("recommended only", recommended, false),
            ("while a size by hand is respected", by_hand, false),
            ("without a decision", TargetStatus::default(), false),
        ];
        for (case, target, expected) in cases {
            let targets = vec![Arc::new(target)];
            let saved = LLMAutoscalerStatus { targets, ..LLMAutoscalerStatus::default() };
            let mut status = RoleStatus::restored(&saved, None);
            assert_eq!(status.was_going_to_zero(), expected, "{case}");
            let paused =
                ConditionUpdate::yes(ConditionType::Paused, Reason::PausedByAnnotation, "");
            status.set(paused, None, None);
            assert!(!status.was_going_to_zero(), "{case}, paused");
        }
    }

    #[test]
    fn a_write_without_a_report_is_made_up_for() {
        let at = |second| DateTime::from_timestamp(second, 0);
        let mut status = RoleStatus::default();
        status.record_write(at(100), None, Some(1));
        let zero = ConditionUpdate::yes(ConditionType::ScaledToZero, Reason::ScaledToZero, "zero");
        status.record_write(None, Some(zero), Some(1));
        assert!(status.is_scaled_to_zero() && status.last_scale_time == at(100));
        status.record_write(at(200), None, Some(1));
        assert!(status.is_scaled_to_zero() && status.last_scale_time == at(200));
    }
}
