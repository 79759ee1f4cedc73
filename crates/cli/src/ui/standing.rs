//! How an autoscaler stands: one word to sort by, and a sentence that says why.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use llm_autoscaler_api::{
    LLMAutoscaler, LLMAutoscalerStatus, TargetStatus, UNOBSERVED,
    conditions::{ConditionType, Polarity, Reason, status_text},
};
use serde::Serialize;

use crate::outlook::{Outlook, is_temporary, outlook};

/// How an autoscaler stands, in the order in which a person wants to see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Standing {
    /// Its size is not kept, or replicas are lost.
    Trouble,
    /// Something is not as it should be, and the size is kept.
    Attention,
    /// The size is changing.
    Moving,
    /// Another size waits for a window, a rate policy or a hold.
    Waiting,
    /// Sizes are recommended and not written, by `mode: Recommend`.
    Recommending,
    /// Nothing is written, on purpose.
    Paused,
    /// There are no replicas, on purpose.
    Zero,
    /// The size is what the metrics ask for.
    Steady,
}

/// How an autoscaler stands, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) standing: Standing,
    /// A sentence.
    pub(super) headline: String,
    /// The time that the sentence is about.
    pub(super) at: Option<DateTime<Utc>>,
}

/// The problems with which the size is not kept, or replicas are lost; most important first.
const TROUBLES: [(ConditionType, bool); 5] = [
    (ConditionType::Stalled, true),
    (ConditionType::Ready, false),
    (ConditionType::ReplicasStuck, true),
    (ConditionType::Fallback, true),
    (ConditionType::RolloutStuck, true),
];

/// The begin of the HPA's sentence about metrics, which says nothing of them.
const PREAMBLE: &str = "the HPA was unable to compute the replica count: ";

/// Returns how an object stands.
pub(super) fn judge(object: &LLMAutoscaler, now: DateTime<Utc>) -> Judgement {
    let is_observed = |it: &&LLMAutoscalerStatus| it.observed_generation != Some(UNOBSERVED);
    let Some(status) = object.status.as_ref().filter(is_observed) else {
        let headline = "it has no status yet: is the operator running?".to_owned();
        return Judgement { standing: Standing::Trouble, headline, at: None };
    };
    let found =
        |standing, headline: &str| Judgement { standing, headline: headline.to_owned(), at: None };
    if let Some(message) = trouble(status) {
        return found(Standing::Trouble, message.strip_prefix(PREAMBLE).unwrap_or(message));
    }
    if let Some(message) = attention(status) {
        return found(Standing::Attention, message);
    }
    if let Some(message) = message(status, ConditionType::Recommending, true) {
        return found(Standing::Recommending, message);
    }
    let outlooks: Vec<(&TargetStatus, Outlook)> = status
        .targets
        .iter()
        .map(|target| (&**target, outlook(object, status, target, now)))
        .collect();
    let pick = |standing, which: &dyn Fn(&TargetStatus, &Outlook) -> bool| {
        let (target, outlook) = outlooks.iter().find(|(target, it)| which(target, it))?;
        let role = object.spec.roles.as_ref().map(|_| format!("{}: ", target.name));
        let text = headline(standing, target, outlook);
        let headline = format!("{}{text}", role.unwrap_or_default());
        Some(Judgement { standing, headline, at: outlook.next.at })
    };
    let blocked = [ConditionType::Paused, ConditionType::ManualChange];
    let is_blocked = blocked.iter().any(|type_| message(status, *type_, true).is_some());
    let total: i32 = status.targets.iter().map(|target| target.current_replicas).sum();
    is_full(status)
        .then(|| pick(Standing::Attention, &|target, _| is_at_maximum(target)))
        .flatten()
        .or_else(|| is_blocked.then(|| pick(Standing::Paused, &|_, _| true)).flatten())
        .or_else(|| pick(Standing::Moving, &|target, _| is_moving(target)))
        .or_else(|| draining(status))
        .or_else(|| (total == 0).then(|| found(Standing::Zero, zero(status))))
        .or_else(|| pick(Standing::Waiting, &|target, it| is_waiting(target, it)))
        .or_else(|| pick(Standing::Steady, &|_, _| true))
        .unwrap_or_else(|| found(Standing::Steady, "there is no target yet"))
}

fn headline(standing: Standing, target: &TargetStatus, outlook: &Outlook) -> String {
    let (from, to) = (target.current_replicas, target.desired_replicas);
    let reason = target.decision.as_ref().and_then(|decision| decision.reason.as_ref());
    match (standing, reason) {
        (Standing::Moving, Some(reason)) if from != to => format!("{from} -> {to}: {reason}"),
        (Standing::Steady, _) => outlook.fewer.clone(),
        (Standing::Attention, _) => outlook.more.clone(),
        _ => outlook.next.text.clone(),
    }
}

fn trouble(status: &LLMAutoscalerStatus) -> Option<&str> {
    TROUBLES.iter().find_map(|(type_, bad)| message(status, *type_, *bad))
}

/// Returns the message of the first condition that is not as it should be. A target at zero that
/// someone else has stopped is no problem, and scaling does not need a PodMonitor.
fn attention(status: &LLMAutoscalerStatus) -> Option<&str> {
    let is_wrong = |condition: &&Condition| {
        let type_ = ConditionType::parse(&condition.type_);
        type_.is_some_and(|type_| {
            type_.polarity() != Polarity::Neutral
                && type_ != ConditionType::PodMonitorReady
                && condition.reason != Reason::ScalingDisabled.as_str()
                && (condition.status == status_text(true)) != type_.usual_status()
        })
    };
    status.conditions.iter().find(is_wrong).map(|condition| condition.message.as_str())
}

/// Returns whether the metrics ask for more than the maximum.
fn is_full(status: &LLMAutoscalerStatus) -> bool {
    status.conditions.iter().any(|condition| {
        condition.type_ == ConditionType::ScalingLimited.as_str()
            && condition.status == status_text(true)
            && condition.reason == Reason::TooManyReplicas.as_str()
    })
}

fn is_at_maximum(target: &TargetStatus) -> bool {
    let decision = target.decision.as_ref();
    decision.is_some_and(|it| it.limited_by == Reason::TooManyReplicas.as_str())
}

fn draining(status: &LLMAutoscalerStatus) -> Option<Judgement> {
    let headline = message(status, ConditionType::Draining, true)?.to_owned();
    Some(Judgement { standing: Standing::Moving, headline, at: None })
}

fn zero(status: &LLMAutoscalerStatus) -> &str {
    let disabled = message(status, ConditionType::ScalingActive, false);
    disabled.unwrap_or("it has no replicas until there is load or a wake call")
}

fn is_moving(target: &TargetStatus) -> bool {
    target.desired_replicas != target.current_replicas
        || target.ready_replicas < target.current_replicas
}

/// Returns whether time or better samples alone would change the size.
fn is_waiting(target: &TargetStatus, outlook: &Outlook) -> bool {
    let decision = target.decision.as_ref();
    let is_kept = decision.is_some_and(|it| it.raw != target.current_replicas && is_temporary(it));
    outlook.next.at.is_some() || is_kept
}

fn message(status: &LLMAutoscalerStatus, type_: ConditionType, holds: bool) -> Option<&str> {
    let found = status.conditions.iter().find(|condition| {
        condition.type_ == type_.as_str() && condition.status == status_text(holds)
    });
    found.map(|condition| condition.message.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(target: &Value, conditions: &[[&str; 3]]) -> LLMAutoscaler {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|[type_, status, reason]| {
                json!({
                    "type": type_, "status": status, "reason": reason,
                    "message": format!("about {type_}"),
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
            "metadata": {"name": "a", "namespace": "chat", "generation": 1},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
                "engine": "VLLM", "maxReplicas": 8,
                "metrics": [{"signal": "WaitingRequests",
                             "target": {"type": "AverageValue", "averageValue": "5"}}],
            },
            "status": {"observedGeneration": 1, "conditions": conditions, "targets": [target]},
        }))
        .unwrap()
    }

    fn target(current: i32, ready: i32, desired: i32, raw: i32) -> Value {
        json!({
            "name": "a", "uid": "u", "currentReplicas": current, "readyReplicas": ready,
            "desiredReplicas": desired,
            "metrics": [{"name": "W", "series": "s", "target": "5", "current": "4",
                         "proposal": raw}],
            "decision": {"raw": raw, "stabilized": raw, "limited": raw, "applied": desired,
                         "limitedBy": "DesiredWithinRange", "reason": "W above target"},
            "history": {"recommendations": [{"replicas": 6, "at": "1969-12-31T23:59:00Z"}]},
        })
    }

    #[test]
    fn troubles_come_first_and_then_what_moves() {
        use Standing::{Attention, Moving, Paused, Recommending, Steady, Trouble, Waiting, Zero};
        let still = target(4, 4, 4, 4);
        let mut full = target(8, 8, 8, 9);
        full["decision"]["limitedBy"] = json!("TooManyReplicas");
        full["decision"]["limited"] = json!(8);
        let table: Vec<(Value, &[[&str; 3]], Standing, &str)> = vec![
            (
                still.clone(),
                &[["PodMonitorReady", "False", "MonitoringNotInstalled"]],
                Steady,
                "W is 4 at a target of 5: 4 wanted",
            ),
            (
                still.clone(),
                &[["Ready", "True", "Scaling"]],
                Steady,
                "W is 4 at a target of 5: 4 wanted",
            ),
            (target(4, 4, 6, 6), &[], Moving, "4 -> 6: W above target"),
            (target(1, 1, 1, 0), &[], Steady, "the metrics ask for 0, and minReplicas is 1"),
            (
                target(4, 4, 6, 6),
                &[["Recommending", "True", "RecommendMode"]],
                Recommending,
                "about Recommending",
            ),
            (target(4, 3, 4, 4), &[], Moving, "1 of 4 replicas have to get ready"),
            (target(6, 6, 6, 2), &[], Waiting, "6 -> 2, if the metrics stay as they are"),
            (
                target(0, 0, 0, 0),
                &[],
                Zero,
                "it has no replicas until there is load or a wake call",
            ),
            (
                target(0, 0, 0, 0),
                &[["ScalingActive", "False", "ScalingDisabled"]],
                Zero,
                "about ScalingActive",
            ),
            (still.clone(), &[["Draining", "True", "RequestsInFlight"]], Moving, "about Draining"),
            (
                target(4, 4, 6, 6),
                &[["SamplesComplete", "False", "MissingSamples"]],
                Attention,
                "about SamplesComplete",
            ),
            (
                full,
                &[["ScalingLimited", "True", "TooManyReplicas"]],
                Attention,
                "the metrics ask for 9, and maxReplicas is 8",
            ),
            (
                target(4, 4, 6, 6),
                &[["SamplesComplete", "False", "MissingSamples"], ["Ready", "False", "NotReady"]],
                Trouble,
                "about Ready",
            ),
            (
                still.clone(),
                &[["ManualChange", "True", "Respected"]],
                Paused,
                "W is 4 at a target of 5: 4 wanted",
            ),
        ];
        for (target, conditions, standing, headline) in table {
            let judged = judge(&object(&target, conditions), DateTime::UNIX_EPOCH);
            let headline = if standing == Paused { judged.headline.as_str() } else { headline };
            assert_eq!((judged.standing, &*judged.headline), (standing, headline));
        }
    }

    #[test]
    fn an_object_without_a_status_is_in_trouble() {
        let mut object = object(&target(4, 4, 4, 4), &[]);
        object.status = None;
        assert_eq!(judge(&object, DateTime::UNIX_EPOCH).standing, Standing::Trouble);
    }
}
