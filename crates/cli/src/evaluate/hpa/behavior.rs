//! The parts of a decision after the recommendation, each by itself: limits, windows and scale
//! events.

use chrono::{DateTime, TimeDelta, Utc};
use llm_autoscaler_api::messages::{limit_reason, stabilization_reason};
use llm_autoscaler_core::{
    Behavior, History, Limit, Policy, Profile, Rules, ScaleEvent, Stabilization, Tolerances, limit,
    stabilize,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    history::HistoryCase,
    settings::SettingsCase,
    spec::{RulesSpec, rules_as_written, rules_of_scale_down, rules_of_scale_up},
};
use crate::evaluate::{answer::Unsupported, fields::or_default};

/// A case about limits, windows or scale events.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "struct Case")]
pub(super) struct BehaviorCase {
    #[serde(default, deserialize_with = "or_default")]
    current: i32,
    #[serde(default, deserialize_with = "or_default")]
    desired: i32,
    #[serde(default, deserialize_with = "or_default")]
    min: i32,
    #[serde(default, deserialize_with = "or_default")]
    max: i32,
    scale_up_rules: Option<RulesSpec>,
    scale_down_rules: Option<RulesSpec>,
    #[serde(default, deserialize_with = "or_default")]
    up_window_s: i32,
    #[serde(default, deserialize_with = "or_default")]
    down_window_s: i32,
    #[serde(default, deserialize_with = "or_default")]
    direction: String,
    #[serde(default, deserialize_with = "or_default")]
    prev: i32,
    #[serde(default, deserialize_with = "or_default")]
    next: i32,
}

/// Answers a case about limits, windows or scale events.
pub(super) fn answer(
    case: &BehaviorCase,
    mode: &str,
    history: &HistoryCase,
    settings: &SettingsCase,
    profile: Profile,
) -> Result<Value, Unsupported> {
    let now = DateTime::UNIX_EPOCH;
    let settings = settings.settings();
    let behavior = Behavior {
        scale_up: rules_of_scale_up(case.scale_up_rules.as_ref()),
        scale_down: rules_of_scale_down(case.scale_down_rules.as_ref(), &settings),
    };
    let mut policy = Policy {
        min_replicas: case.min,
        max_replicas: case.max,
        metrics: Vec::new(),
        tolerance: Tolerances { down: 0.1, up: 0.1 },
        behavior: None,
        to_zero: None,
        fallback: None,
        profile,
        settings,
    };
    let history = history.at(now);
    let (current, desired) = (case.current, case.desired);
    Ok(match mode {
        "rules" => limited(limit::legacy(&policy, &history, current, desired, now)),
        "rate" => {
            limited(limit::with_behavior(&policy, &behavior, &history, current, desired, now))
        }
        "limit_up" => {
            let rules = &behavior.scale_up;
            json!({"limit": limit::scale_up(profile, rules, &history, current, now)})
        }
        "limit_down" => {
            let rules = &behavior.scale_down;
            json!({"limit": limit::scale_down(profile, rules, &history, current, now)})
        }
        "stabilize" => stabilized(&policy, history, desired, now),
        "stabilize_behavior" => {
            let behavior = with_windows(behavior, case);
            policy.behavior = Some(behavior.clone());
            let past = history.recommendations().unwrap_or_default();
            let replicas = stabilize::with_behavior(past, &behavior, current, desired, now);
            stabilized_with_behavior(&policy, history, replicas, (current, desired), now)
        }
        "store_event" => stored_event(policy, case, history, now),
        other => return Err(Unsupported::new(format!("mode {other}"))),
    })
}

fn limited((replicas, limit): (i32, Limit)) -> Value {
    let (reason, message) = limit_reason(limit);
    json!({"replicas": replicas, "reason": reason, "message": message})
}

fn stabilized(policy: &Policy, mut history: History, desired: i32, now: DateTime<Utc>) -> Value {
    let past = history.recommendations().unwrap_or_default();
    let replicas = stabilize::legacy(past, policy.settings.downscale_stabilization, desired, now);
    history.record_recommendation(policy, desired, now);
    json!({
        "replicas": replicas,
        "recommendations": recommendations(&history, now),
        "log_length": history.recommendations().unwrap_or_default().len(),
    })
}

fn stabilized_with_behavior(
    policy: &Policy,
    mut history: History,
    replicas: i32,
    (current, desired): (i32, i32),
    now: DateTime<Utc>,
) -> Value {
    history.record_recommendation(policy, desired, now);
    // The function always names the direction in which it would hold; only a step checks whether
    // it did.
    let direction = if desired >= current { Stabilization::Up } else { Stabilization::Down };
    let (reason, message) = stabilization_reason(direction);
    json!({
        "replicas": replicas,
        "reason": reason,
        "message": message,
        "recommendations": recommendations(&history, now),
    })
}

fn with_windows(behavior: Behavior, case: &BehaviorCase) -> Behavior {
    let window = |seconds: i32| TimeDelta::seconds(seconds.into());
    Behavior {
        scale_up: Rules { window: window(case.up_window_s), ..behavior.scale_up },
        scale_down: Rules { window: window(case.down_window_s), ..behavior.scale_down },
    }
}

fn stored_event(
    mut policy: Policy,
    case: &BehaviorCase,
    mut history: History,
    now: DateTime<Utc>,
) -> Value {
    let down = case.direction == "down";
    let rules = if down { &case.scale_down_rules } else { &case.scale_up_rules };
    let events =
        |history: &History| if down { history.scale_downs() } else { history.scale_ups() }.to_vec();
    let begin = now - TimeDelta::seconds(60);
    let recent = events(&history).into_iter().filter(|event| event.at > begin);
    let change = recent.fold(0_i32, |sum, event| sum.wrapping_add(event.change));
    policy.behavior = rules.as_ref().map(|rules| {
        let rules = rules_as_written(rules);
        Behavior { scale_up: rules.clone(), scale_down: rules }
    });
    history.record_scale(&policy, case.prev, case.next, now);
    let events: Vec<_> = events(&history).iter().map(|event| event_out(event, now)).collect();
    json!({"change_in_60s": change, "events": events})
}

fn recommendations(history: &History, now: DateTime<Utc>) -> Value {
    let list = history.recommendations().unwrap_or_default().iter();
    list.map(|past| json!({"replicas": past.replicas, "ago_s": age(past.at, now)})).collect()
}

fn event_out(event: &ScaleEvent, now: DateTime<Utc>) -> Value {
    let mut out = json!({"change": event.change, "ago_s": age(event.at, now)});
    if event.outdated {
        out["outdated"] = true.into();
    }
    out
}

fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - at).as_seconds_f64()
}
