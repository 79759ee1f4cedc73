//! Limits: how far one step may go, by rate policies and bounds.

use chrono::{DateTime, Utc};

use crate::{Amount, Behavior, History, Limit, Policy, Profile, RatePolicy, Rules, ScaleEvent, Select};

/// At least this many replicas may always be reached at once without `behavior`.
const LEGACY_MINIMUM: f64 = 4.0;

/// Without `behavior`: within the bounds, and to the double (or 4) at once.
pub fn legacy(policy: &Policy, current: i32, desired: i32) -> (i32, Limit) {
    let growth = policy.settings.scale_up_limit_factor * f64::from(current);
    let fastest = policy.profile.trunc32(growth.max(LEGACY_MINIMUM));
    let (highest, limit) = if policy.max_replicas > fastest {
        (fastest, Limit::ScaleUpLimit)
    } else {
        (policy.max_replicas, Limit::TooManyReplicas)
    };
    if desired < policy.min_replicas {
        (policy.min_replicas, Limit::TooFewReplicas)
    } else if desired > highest {
        (highest, limit)
    } else {
        (desired, Limit::DesiredWithinRange)
    }
}

/// With `behavior`: within what the rate policies of the direction leave, and within its bound.
pub fn with_behavior(
    policy: &Policy,
    behavior: &Behavior,
    history: &History,
    current: i32,
    desired: i32,
    now: DateTime<Utc>,
) -> (i32, Limit) {
    let Policy { profile, min_replicas, max_replicas, .. } = *policy;
    if desired > current {
        let fastest = scale_up(profile, &behavior.scale_up, history, current, now).max(current);
        let (highest, limit) = if max_replicas > fastest {
            (fastest, Limit::ScaleUpLimit)
        } else {
            (max_replicas, Limit::TooManyReplicas)
        };
        if desired > highest {
            return (highest, limit);
        }
    } else if desired < current {
        let fastest = scale_down(profile, &behavior.scale_down, history, current, now).min(current);
        let (lowest, limit) = if min_replicas < fastest {
            (fastest, Limit::ScaleDownLimit)
        } else {
            (min_replicas, Limit::TooFewReplicas)
        };
        if desired < lowest {
            return (lowest, limit);
        }
    }
    (desired, Limit::DesiredWithinRange)
}

/// The highest number of replicas that the policies of scale-up allow now.
pub fn scale_up(profile: Profile, rules: &Rules, history: &History, current: i32, now: DateTime<Utc>) -> i32 {
    let allowed = rules.policies.iter().map(|policy| {
        let start = at_period_start(profile, policy, history, current, now);
        match policy.amount {
            Amount::Replicas(count) => profile.fit32(i64::from(start) + i64::from(count)),
            // Rounded up, so that a small share still moves; in this order, which gives 111 for 100 + 10 %.
            Amount::Percent(percent) => profile.ceil32(f64::from(start) * (1.0 + f64::from(percent) / 100.0)),
        }
    });
    match rules.select {
        Select::Disabled => current,
        Select::Min => allowed.min().unwrap_or(i32::MAX),
        Select::Max => allowed.max().unwrap_or(i32::MIN),
    }
}

/// The lowest number of replicas that the policies of scale-down allow now.
pub fn scale_down(
    profile: Profile,
    rules: &Rules,
    history: &History,
    current: i32,
    now: DateTime<Utc>,
) -> i32 {
    let allowed = rules.policies.iter().map(|policy| {
        let start = at_period_start(profile, policy, history, current, now);
        match policy.amount {
            Amount::Replicas(count) => profile.fit32(i64::from(start) - i64::from(count)),
            Amount::Percent(percent) => {
                profile.trunc32(f64::from(start) * (1.0 - f64::from(percent) / 100.0))
            }
        }
    });
    match rules.select {
        Select::Disabled => current,
        Select::Min => allowed.max().unwrap_or(i32::MIN),
        Select::Max => allowed.min().unwrap_or(i32::MAX),
    }
}

/// How many replicas there were when the policy's period began, as far as changes are remembered.
fn at_period_start(
    profile: Profile,
    policy: &RatePolicy,
    history: &History,
    current: i32,
    now: DateTime<Utc>,
) -> i32 {
    let begin = now - policy.period;
    let change = |events: &[ScaleEvent]| {
        events.iter().filter(|event| event.at > begin).map(|event| i64::from(event.change)).sum::<i64>()
    };
    profile.fit32(i64::from(current) - change(history.scale_ups()) + change(history.scale_downs()))
}
