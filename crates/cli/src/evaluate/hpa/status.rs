//! The status of the timeline's autoscaler.

use chrono::{DateTime, Utc};
use llm_autoscaler_api::{
    conditions::{ConditionType, ConditionUpdate, status_text},
    messages::EventMessage,
};
use serde_json::{Value, json};

use super::scenario::{InitialCondition, InitialStatus};

/// The results of one reconcile besides the status.
#[derive(Default)]
pub(super) struct Reconciled {
    pub(super) events: Vec<EventMessage>,
    pub(super) error: Option<String>,
    pub(super) scaled: bool,
    /// The step in sentences.
    pub(super) explanation: String,
}

pub(super) struct Status {
    pub(super) current: i32,
    pub(super) desired: i32,
    pub(super) last_scale_time: Option<DateTime<Utc>>,
    pub(super) observed_generation: Option<i64>,
    conditions: Vec<Condition>,
}

struct Condition {
    type_: String,
    status: String,
    reason: String,
    message: String,
    transition: Option<DateTime<Utc>>,
}

impl Status {
    pub(super) fn new(initial: &InitialStatus) -> Self {
        Self {
            current: initial.current_replicas,
            desired: initial.desired_replicas,
            last_scale_time: initial.last_scale_time,
            observed_generation: initial.observed_generation,
            conditions: initial.conditions.iter().map(Condition::new).collect(),
        }
    }

    pub(super) fn set_all(&mut self, updates: Vec<ConditionUpdate>, now: DateTime<Utc>) {
        for update in updates {
            self.set(update, now);
        }
    }

    /// Sets a condition; only a change of its status is a transition.
    pub(super) fn set(&mut self, update: ConditionUpdate, now: DateTime<Utc>) {
        let place = self.conditions.iter().position(|condition| condition.type_ == update.type_);
        let old = place.map(|place| &self.conditions[place]);
        let status = status_text(update.status);
        let transition = match old {
            Some(old) if old.status == status => old.transition,
            _ => Some(now),
        };
        let condition = Condition {
            type_: update.type_.to_string(),
            status: status.to_owned(),
            reason: update.reason.to_string(),
            message: update.message.into_owned(),
            transition,
        };
        match place {
            Some(place) => self.conditions[place] = condition,
            None => self.conditions.push(condition),
        }
    }

    pub(super) fn remove(&mut self, type_: ConditionType) {
        self.conditions.retain(|condition| condition.type_ != type_);
    }

    pub(super) fn holds(&self, type_: ConditionType) -> bool {
        let found = self.conditions.iter().find(|condition| condition.type_ == type_);
        found.is_some_and(|condition| condition.status == status_text(true))
    }

    /// Returns one step as the oracle answers it.
    pub(super) fn snapshot(
        &self,
        t: f64,
        (before, after): (i32, i32),
        reconciled: &Reconciled,
        start: DateTime<Utc>,
    ) -> Value {
        let mut out = json!({
            "t": t,
            "before": before,
            "after": after,
            "scaled": reconciled.scaled,
            "status_current": self.current,
            "status_desired": self.desired,
            "conditions":
                self.conditions.iter().map(|condition| condition.out(start)).collect::<Value>(),
            "events": reconciled.events.iter().map(event_out).collect::<Value>(),
        });
        if let Some(time) = self.last_scale_time {
            out["last_scale_t"] = since(time, start).into();
        }
        if let Some(generation) = self.observed_generation {
            out["observed_generation"] = generation.into();
        }
        if let Some(error) = &reconciled.error {
            out["error"] = error.as_str().into();
        }
        out
    }
}

impl Condition {
    fn new(initial: &InitialCondition) -> Self {
        Self {
            type_: initial.type_.clone(),
            status: initial.status.clone(),
            reason: initial.reason.clone(),
            message: initial.message.clone(),
            transition: initial.last_transition_time,
        }
    }

    fn out(&self, start: DateTime<Utc>) -> Value {
        let Self { type_, status, reason, message, transition } = self;
        let mut out =
            json!({"type": type_, "status": status, "reason": reason, "message": message});
        if let Some(time) = transition {
            out["transition_t"] = since(*time, start).into();
        }
        out
    }
}

fn event_out(event: &EventMessage) -> Value {
    let type_ = if event.warning { "Warning" } else { "Normal" };
    json!({"type": type_, "reason": event.reason, "message": event.message})
}

fn since(time: DateTime<Utc>, start: DateTime<Utc>) -> f64 {
    (time - start).as_seconds_f64()
}
