//! The status of one role between steps. It is typed, so that no step reads a text back.

use std::{borrow::Cow, sync::Arc};

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use litemap::LiteMap;
use llm_autoscaler_api::{
    LLMAutoscalerStatus, TargetStatus,
    conditions::{ConditionType, ConditionUpdate, Reason, status_text},
    time,
};

/// The status of one role between steps. It becomes part of a Kubernetes status only in
/// [`assemble`](super::assemble::assemble).
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoleStatus {
    /// The metrics, abbreviated; `None` until the first decision since the start.
    pub summary: Option<String>,
    /// The number of replicas in the spec of the target when the last decision was made.
    pub current_replicas: Option<i32>,
    /// The number of replicas that the last decision asks for.
    pub desired_replicas: Option<i32>,
    /// The time of the last write of another size.
    pub last_scale_time: Option<DateTime<Utc>>,
    /// The target in detail.
    pub target: Option<Arc<TargetStatus>>,
    pub(super) conditions: LiteMap<ConditionType, RoleCondition>,
    /// The generation of the spec in the last step that changed this status.
    pub(super) generation: Option<i64>,
    /// The reason of the last failure to find the target, or to be in charge of it.
    obstacle: Option<Reason>,
    /// All targets of the status before a restart, until the first decision. A role that was
    /// renamed finds its object here by the UID.
    restored: Vec<Arc<TargetStatus>>,
}

/// A condition of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleCondition {
    pub(super) holds: bool,
    pub(super) reason: Reason,
    pub(super) message: Cow<'static, str>,
    /// The generation of the spec in the step that set the condition.
    pub(super) generation: Option<i64>,
    /// The last time at which a step changed `holds`. Like the HPA's, a condition may become False
    /// and True again within one step, and that is a transition, although the statuses before and
    /// after the step do not differ.
    pub(super) changed_at: Option<DateTime<Utc>>,
}

impl RoleStatus {
    /// Returns the status of a role as a saved status has it, to resume after a restart.
    ///
    /// The only target of an autoscaler without roles gets everything back. A role among several
    /// gets its sizes back and no conditions, because those of the saved status are about all
    /// roles. Conditions with unknown types or reasons are dropped.
    pub(crate) fn restored(status: &LLMAutoscalerStatus, role: Option<&str>) -> Self {
        let common = Self {
            last_scale_time: status.last_scale_time.as_ref().map(time::from_kubernetes),
            restored: status.targets.clone(),
            ..Self::default()
        };
        if let Some(role) = role {
            let own = status.targets.iter().find(|target| target.name == role);
            return Self {
                current_replicas: own.map(|target| target.current_replicas),
                desired_replicas: own.map(|target| target.desired_replicas),
                target: own.cloned(),
                ..common
            };
        }
        Self {
            summary: status.summary.clone(),
            current_replicas: status.current_replicas,
            desired_replicas: status.desired_replicas,
            target: only(&status.targets).cloned(),
            conditions: status.conditions.iter().filter_map(RoleCondition::restored).collect(),
            generation: status.observed_generation,
            ..common
        }
    }

    /// Returns whether this autoscaler was the one that scaled the target to zero.
    pub(crate) fn is_scaled_to_zero(&self) -> bool {
        self.conditions.get(&ConditionType::ScaledToZero).is_some_and(|condition| condition.holds)
    }

    /// Records that a step ended before a decision: the update says why, `Ready` is False with the
    /// same reason, and `Stalled` is True if waiting does not help. `Paused` is as given, and
    /// nothing else changes.
    pub(crate) fn fail(
        &mut self,
        update: ConditionUpdate,
        terminal: bool,
        paused: Option<ConditionUpdate>,
        generation: Option<i64>,
    ) {
        self.generation = generation;
        self.forget_preconditions();
        if update.type_ == ConditionType::AbleToScale {
            self.obstacle = Some(update.reason);
        }
        let (ready, stalled) = consequences(&update, terminal);
        self.set(update, generation, None);
        self.set(ready, generation, None);
        self.set_or_remove(ConditionType::Stalled, stalled, generation, None);
        self.set_or_remove(ConditionType::Paused, paused, generation, None);
    }

    /// Removes the recommendation, because the mode asks for none. The size of the target is all
    /// that is desired until the next decision, and that of the shadow is no size that it had.
    pub(crate) fn end_recommendation(&mut self) {
        self.conditions.remove(&ConditionType::Recommending);
        let Some(target) = &mut self.target else { return };
        if target.recommendation.is_some() {
            let target = Arc::make_mut(target);
            target.recommendation = None;
            target.desired_replicas = target.current_replicas;
            self.desired_replicas = self.current_replicas;
            if let Some(history) = &mut target.history {
                history.record.replicas = None;
            }
        }
    }

    /// Removes the conditions about the obstacle that [`fail`](Self::fail) recorded: the target was
    /// found, while that of another role was not.
    pub(crate) fn clear_obstacle(&mut self) {
        self.forget_preconditions();
        if let Some(obstacle) = self.obstacle.take() {
            self.conditions.retain(|_, condition| condition.reason != obstacle);
        }
    }

    /// Returns the status with which a step begins that reaches a decision: without all conditions
    /// that do not outlive the step that set them.
    pub(super) fn begun(&self, generation: Option<i64>) -> Self {
        let mut begun = self.clone();
        (begun.generation, begun.obstacle) = (generation, None);
        begun.forget_preconditions();
        begun.conditions.retain(|type_, condition| match type_ {
            ConditionType::Stalled => false,
            ConditionType::ScalingLimited => !Reason::is_of_roles(condition.reason.as_str()),
            _ => true,
        });
        begun
    }

    /// Sets a condition. `now` is the time of the step, where a transition within it counts.
    pub(super) fn set(
        &mut self,
        update: ConditionUpdate,
        generation: Option<i64>,
        now: Option<DateTime<Utc>>,
    ) {
        let ConditionUpdate { type_, status: holds, reason, message } = update;
        let changed_at = match self.conditions.get(&type_) {
            Some(old) if old.holds != holds => now,
            Some(old) => old.changed_at,
            None => None,
        };
        let condition = RoleCondition { holds, reason, message, generation, changed_at };
        self.conditions.insert(type_, condition);
    }

    /// Sets a condition, or removes it where there is none.
    pub(super) fn set_or_remove(
        &mut self,
        type_: ConditionType,
        update: Option<ConditionUpdate>,
        generation: Option<i64>,
        now: Option<DateTime<Utc>>,
    ) {
        match update {
            Some(update) => self.set(update, generation, now),
            None => {
                self.conditions.remove(&type_);
            }
        }
    }

    /// Returns the target of the last decision, or of the status before a restart, if it is the
    /// object with this UID.
    pub(super) fn target_with_uid(&self, uid: &str) -> Option<&TargetStatus> {
        let mut targets = self.target.iter().chain(&self.restored);
        targets.find(|target| target.uid.as_deref() == Some(uid)).map(|target| &**target)
    }

    /// Sets the target of a decision. Targets of the status before a restart are forgotten.
    pub(super) fn set_target(&mut self, target: TargetStatus) {
        self.target = Some(Arc::new(target));
        self.restored.clear();
    }

    /// Returns the targets of an autoscaler without roles: before its first decision all targets
    /// of the saved status, so that a restart loses none of them.
    pub(super) fn all_targets(&self) -> Vec<Arc<TargetStatus>> {
        if self.restored.is_empty() {
            self.target.iter().cloned().collect()
        } else {
            self.restored.clone()
        }
    }

    /// Removes the conditions about what kept an earlier step from deciding. If it still does, they
    /// are set again.
    fn forget_preconditions(&mut self) {
        self.conditions.retain(|_, condition| !is_precondition(condition.reason));
    }
}

impl RoleCondition {
    /// Parses a saved condition. Returns `None` if its type, status or reason is not one of ours.
    fn restored(saved: &Condition) -> Option<(ConditionType, Self)> {
        let holds = saved.status == status_text(true);
        if !holds && saved.status != status_text(false) {
            return None;
        }
        let condition = Self {
            holds,
            reason: Reason::parse(&saved.reason)?,
            message: saved.message.clone().into(),
            generation: saved.observed_generation,
            changed_at: None,
        };
        Some((ConditionType::parse(&saved.type_)?, condition))
    }

    /// Returns the condition as an update of a Kubernetes status.
    pub(super) fn update(&self, type_: ConditionType) -> ConditionUpdate {
        let Self { holds, reason, message, .. } = self;
        ConditionUpdate { type_, status: *holds, reason: *reason, message: message.clone() }
    }
}

/// Returns `Ready` and `Stalled` of a step that ended before a decision, for the reason in
/// `update`. `Stalled` is present only if waiting does not help.
pub(super) fn consequences(
    update: &ConditionUpdate,
    terminal: bool,
) -> (ConditionUpdate, Option<ConditionUpdate>) {
    let ConditionUpdate { reason, message, .. } = update;
    let stalled = || ConditionUpdate::yes(ConditionType::Stalled, *reason, message.clone());
    let ready = ConditionUpdate::no(ConditionType::Ready, *reason, message.clone());
    (ready, terminal.then(stalled))
}

/// Returns whether a reason is about what keeps a step from looking up any target.
pub(super) fn is_precondition(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::InvalidSpec
            | Reason::PodsUnknown
            | Reason::TooManyAutoscalers
            | Reason::InternalError
    )
}

fn only(targets: &[Arc<TargetStatus>]) -> Option<&Arc<TargetStatus>> {
    match targets {
        [only] => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_api::conditions;

    use super::*;

    fn failure(type_: ConditionType, reason: Reason, text: &'static str) -> ConditionUpdate {
        ConditionUpdate::no(type_, reason, text)
    }

    fn reason_of(status: &RoleStatus, type_: ConditionType) -> &str {
        status.conditions.get(&type_).map_or("", |condition| condition.reason.as_str())
    }

    #[test]
    fn a_failure_replaces_the_one_before() {
        let mut status = RoleStatus::default();
        let invalid = failure(ConditionType::ScalingActive, Reason::InvalidSpec, "nonsense");
        status.fail(invalid, true, None, Some(1));
        assert_eq!(
            [ConditionType::ScalingActive, ConditionType::Ready, ConditionType::Stalled]
                .map(|type_| reason_of(&status, type_)),
            ["InvalidSpec"; 3]
        );
        let missing = failure(ConditionType::AbleToScale, Reason::FailedGetScale, "not found");
        status.fail(missing, false, None, Some(2));
        let types: Vec<_> = status.conditions.keys().copied().collect();
        assert_eq!(types, [ConditionType::AbleToScale, ConditionType::Ready]);
        assert_eq!(reason_of(&status, ConditionType::Ready), "FailedGetScale");
    }

    #[test]
    fn only_the_obstacle_of_the_role_itself_is_cleared() {
        let mut status = RoleStatus::default();
        let limited = ConditionUpdate::no(
            ConditionType::ScalingLimited,
            Reason::DesiredWithinRange,
            "in range",
        );
        status.set(limited, Some(1), None);
        let taken = failure(ConditionType::AbleToScale, Reason::TargetTaken, "of another");
        status.fail(taken, true, None, Some(1));
        // The pods became unknown later; the target is still taken as far as is known.
        let unknown = failure(ConditionType::ScalingActive, Reason::PodsUnknown, "not listed");
        status.fail(unknown, false, None, Some(1));
        assert_eq!(reason_of(&status, ConditionType::AbleToScale), "TargetTaken");
        status.clear_obstacle();
        assert_eq!(
            status.conditions.keys().copied().collect::<Vec<_>>(),
            [ConditionType::ScalingLimited]
        );
        let before = status.clone();
        status.clear_obstacle();
        assert_eq!(status, before);
    }

    #[test]
    fn a_recommendation_ends_with_its_mode() {
        let recommended = LLMAutoscalerStatus {
            current_replicas: Some(5),
            desired_replicas: Some(3),
            targets: vec![Arc::new(TargetStatus {
                current_replicas: 5,
                desired_replicas: 3,
                recommendation: Some(Box::default()),
                ..TargetStatus::default()
            })],
            ..LLMAutoscalerStatus::default()
        };
        let mut status = RoleStatus::restored(&recommended, None);
        let recommending =
            ConditionUpdate::yes(ConditionType::Recommending, Reason::RecommendMode, "3 of 5");
        status.set(recommending, Some(1), None);
        status.end_recommendation();
        let target = status.target.as_ref().unwrap();
        assert!(!status.conditions.contains_key(&ConditionType::Recommending));
        assert_eq!((target.desired_replicas, status.desired_replicas), (5, Some(5)));
        assert_eq!(target.recommendation, None);
    }

    #[test]
    fn a_saved_status_without_roles_is_restored_and_unknown_conditions_are_dropped() {
        let mut saved = LLMAutoscalerStatus {
            summary: Some("waiting 1/5".to_owned()),
            desired_replicas: Some(3),
            ..LLMAutoscalerStatus::default()
        };
        let zero = ConditionUpdate::yes(ConditionType::ScaledToZero, Reason::ScaledToZero, "zero");
        conditions::set(&mut saved.conditions, zero, Some(4), DateTime::UNIX_EPOCH);
        let known = saved.conditions[0].clone();
        let other_type = Condition { type_: "Reconciling".to_owned(), ..known.clone() };
        let other_reason = Condition {
            type_: ConditionType::Ready.to_string(),
            reason: "OfAnotherVersion".to_owned(),
            ..known
        };
        saved.conditions.extend([other_type, other_reason]);
        let restored = RoleStatus::restored(&saved, None);
        assert!(restored.is_scaled_to_zero());
        assert_eq!(restored.conditions.len(), 1);
        assert_eq!(restored.conditions[&ConditionType::ScaledToZero].generation, Some(4));
        assert_eq!(restored.summary, saved.summary);
        assert!(!RoleStatus::restored(&saved, Some("decode")).is_scaled_to_zero());
    }
}
