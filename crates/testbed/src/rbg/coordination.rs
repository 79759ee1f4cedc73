//! The rules of a CoordinatedPolicy: roles grow in batches, and no role may be far ahead of the
//! others.

use std::collections::BTreeMap;

use serde_json::Value;

/// A scaling rule for some roles.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) roles: Vec<String>,
    /// The largest lead in progress (current / desired) of one role over the slowest, from 0 to 1.
    max_skew: f64,
    progression: Option<Progression>,
}

/// The state that a batch must reach before the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progression {
    Scheduled,
    Ready,
}

/// The progress of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) desired: i64,
    /// The replicas that its workload currently requests.
    pub(super) current: i64,
    pub(super) ready: i64,
    /// The number of its pods that have a node. As in the real controller it is compared with
    /// replicas, even if a replica is several pods.
    pub(super) scheduled: i64,
}

/// Parses the rules of a policy that are about scaling.
///
/// # Errors
/// Fails if a skew is not a percentage; then no role is scaled at all.
pub(super) fn rules(policy: &Value) -> Result<Vec<Rule>, String> {
    let policies = policy["spec"]["policies"].as_array();
    let about_scaling =
        policies.into_iter().flatten().filter(|rule| rule["strategy"]["scaling"].is_object());
    about_scaling.map(rule).collect()
}

fn rule(rule: &Value) -> Result<Rule, String> {
    let scaling = &rule["strategy"]["scaling"];
    let roles = rule["roles"].as_array().into_iter().flatten();
    let max_skew = match &scaling["maxSkew"] {
        Value::Null => 1.0,
        skew => percentage(skew)
            .ok_or_else(|| format!("failed to parse maxSkew: {skew} is no percentage"))?,
    };
    Ok(Rule {
        roles: roles.filter_map(Value::as_str).map(str::to_owned).collect(),
        max_skew,
        progression: match scaling["progression"].as_str() {
            Some("OrderReady") => Some(Progression::Ready),
            Some("OrderScheduled") => Some(Progression::Scheduled),
            _ => None,
        },
    })
}

fn percentage(text: &Value) -> Option<f64> {
    let number: f64 = text.as_str()?.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(number / 100.0)
}

impl Rule {
    /// Returns the replicas that each role's workload may request now. While the batch of a role
    /// that grows is not done, all roles of the rule keep their size, also those that shrink.
    pub(super) fn targets(&self, states: &BTreeMap<String, State>) -> BTreeMap<String, i64> {
        let growing = || states.values().filter(|state| state.current < state.desired);
        let waits = growing().any(|state| !self.batch_is_done(state));
        let slowest = growing().map(State::progress).fold(1.0, f64::min);
        let target = |state: &State| match state {
            state if waits => state.current,
            state if state.desired <= state.current => state.desired,
            state => state.up_to(slowest + self.max_skew),
        };
        states.iter().map(|(name, state)| (name.clone(), target(state))).collect()
    }

    fn batch_is_done(&self, state: &State) -> bool {
        match self.progression {
            None => true,
            Some(Progression::Ready) => state.ready >= state.current,
            Some(Progression::Scheduled) => state.scheduled >= state.current,
        }
    }
}

impl State {
    fn progress(&self) -> f64 {
        self.current as f64 / self.desired as f64
    }

    /// Returns the replicas at this progress: at least one more than now, and at most the desired
    /// number.
    fn up_to(&self, progress: f64) -> i64 {
        if self.progress() >= progress {
            return self.current;
        }
        let target = (progress * self.desired as f64).ceil() as i64;
        target.max(self.current + 1).min(self.desired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn targets(progression: &str, prefill: (i64, i64, i64), decode: (i64, i64, i64)) -> (i64, i64) {
        let scaling = json!({"maxSkew": "20%", "progression": progression});
        let policy = json!({"spec": {"policies": [
            {"roles": ["prefill", "decode"], "strategy": {"scaling": scaling}},
            {"roles": ["prefill", "decode"], "strategy": {"rollingUpdate": {"maxSkew": 1}}},
        ]}});
        let rules = rules(&policy).unwrap();
        assert_eq!(rules.len(), 1);
        let state =
            |(desired, current, ready)| State { desired, current, ready, scheduled: current };
        let states = [("prefill".to_owned(), state(prefill)), ("decode".to_owned(), state(decode))];
        let targets = rules[0].targets(&states.into_iter().collect());
        (targets["prefill"], targets["decode"])
    }

    #[test]
    fn batches_wait_for_readiness() {
        // Each triple is (desired, current, ready).
        assert_eq!(targets("OrderReady", (10, 2, 2), (2, 2, 2)), (4, 2));
        assert_eq!(targets("OrderReady", (10, 4, 2), (10, 2, 2)), (4, 2));
        assert_eq!(targets("OrderReady", (10, 4, 4), (10, 2, 2)), (4, 4));
        // 0.4 + 0.2 is slightly more than 0.6 in floats; the real controller has the same error.
        assert_eq!(targets("OrderReady", (10, 4, 4), (10, 4, 4)), (7, 7));
        assert_eq!(targets("OrderReady", (10, 10, 9), (10, 8, 8)), (10, 10));
        assert_eq!(targets("OrderScheduled", (10, 4, 2), (10, 4, 2)), (7, 7));
    }

    #[test]
    fn shrinking_waits_for_the_batches_of_other_roles_only() {
        assert_eq!(targets("OrderReady", (3, 20, 20), (20, 20, 20)), (3, 20));
        assert_eq!(targets("OrderReady", (3, 20, 0), (20, 12, 6)), (20, 12));
        assert_eq!(targets("OrderReady", (3, 20, 0), (20, 12, 12)), (3, 16));
        assert_eq!(targets("OrderReady", (3, 14, 10), (2, 2, 2)), (3, 2));
        assert_eq!(targets("OrderReady", (0, 2, 2), (0, 0, 0)), (0, 0));
    }

    #[test]
    fn skew_is_a_percentage_or_an_error() {
        let skew = |skew: Value| {
            rules(&json!({
                "spec": {
                    "policies": [{"roles": ["a"], "strategy": {"scaling": {"maxSkew": skew}}}],
                },
            }))
        };
        assert!(skew(json!(2)).unwrap_err().contains("maxSkew"));
        assert!(skew(json!("200%")).is_err());
        assert!((skew(json!("5%")).unwrap()[0].max_skew - 0.05).abs() < 1e-9);
    }
}
