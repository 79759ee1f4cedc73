//! Limits: how far one step may go, by rate policies and bounds.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    Amount, Behavior, Deviation, History, Limit, Policy, Profile, Rules, ScaleEvent, Select,
};

/// At least this many replicas may always be reached at once without `behavior`.
const LEGACY_MINIMUM: f64 = 4.0;
/// For how long that limit holds: the HPA's usual time between two steps.
pub(crate) const LEGACY_PERIOD: TimeDelta = TimeDelta::seconds(15);

/// Without `behavior`: within the bounds, and to the double (or 4) at once; in the Default profile, within 15 s, which is
/// how often the HPA looks.
pub fn legacy(
    policy: &Policy,
    history: &History,
    current: i32,
    desired: i32,
    now: DateTime<Utc>,
) -> (i32, Limit) {
    let by_time = policy.profile.has(Deviation::GrowthByTime);
    let before = || replicas_before(LEGACY_PERIOD, policy.profile, history, current, now);
    // What has shrunk since is no reason to grow further than the HPA would.
    let start = if by_time { before().min(current) } else { current };
    let growth = policy.settings.scale_up_limit_factor * f64::from(start);
    let fastest = policy.profile.trunc32(growth.max(LEGACY_MINIMUM));
    // What there is already stays, however it came.
    let fastest = if by_time { fastest.max(current) } else { fastest };
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

/// The lowest and the highest number of replicas that may be asked for now, whatever the metrics say.
pub fn reach(policy: &Policy, history: &History, current: i32, now: DateTime<Utc>) -> (i32, i32) {
    let limited = |desired| match &policy.behavior {
        None => legacy(policy, history, current, desired, now).0,
        Some(behavior) => with_behavior(policy, behavior, history, current, desired, now).0,
    };
    (limited(policy.min_replicas), limited(policy.max_replicas))
}

/// The highest number of replicas that the policies of scale-up allow now.
pub fn scale_up(
    profile: Profile,
    rules: &Rules,
    history: &History,
    current: i32,
    now: DateTime<Utc>,
) -> i32 {
    let allowed = rules.policies.iter().map(|policy| {
        let start = replicas_before(policy.period, profile, history, current, now);
        match policy.amount {
            Amount::Replicas(count) => profile.fit32(i64::from(start) + i64::from(count)),
            // Rounded up, so that a small share still moves; in this order, which gives 111 for 100 + 10 %.
            Amount::Percent(percent) => {
                profile.ceil32(f64::from(start) * (1.0 + f64::from(percent) / 100.0))
            }
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
        let start = replicas_before(policy.period, profile, history, current, now);
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

/// How many replicas there were when a period that ends now began, as far as changes are remembered.
fn replicas_before(
    period: TimeDelta,
    profile: Profile,
    history: &History,
    current: i32,
    now: DateTime<Utc>,
) -> i32 {
    let begin = now - period;
    let change = |events: &[ScaleEvent]| {
        events
            .iter()
            .filter(|event| event.at > begin)
            .map(|event| i64::from(event.change))
            .sum::<i64>()
    };
    profile.fit32(i64::from(current) - change(history.scale_ups()) + change(history.scale_downs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RatePolicy;
    use crate::testing::{at, legacy_policy};

    fn rules(select: Select, policies: &[(Amount, i64)]) -> Rules {
        let policy = |(amount, seconds): &(Amount, i64)| RatePolicy {
            amount: *amount,
            period: TimeDelta::seconds(*seconds),
        };
        Rules {
            select,
            policies: policies.iter().map(policy).collect(),
            ..Rules::default_scale_up()
        }
    }

    fn events(list: &[(i32, i64)]) -> Vec<ScaleEvent> {
        list.iter()
            .map(|(change, second)| ScaleEvent {
                change: *change,
                at: at(*second),
                outdated: false,
            })
            .collect()
    }

    #[test]
    fn the_policies_allow_the_most_the_least_or_nothing() {
        use Amount::{Percent, Replicas};
        // policy, current, up, down
        let table = [
            (rules(Select::Max, &[(Replicas(2), 60), (Percent(50), 60)]), 10, 15, 5),
            (rules(Select::Min, &[(Replicas(2), 60), (Percent(50), 60)]), 10, 12, 8),
            (rules(Select::Disabled, &[(Replicas(2), 60)]), 10, 10, 10),
            // Floats, in this order: 110.00000000000001 and 9.999999999999998.
            (rules(Select::Max, &[(Percent(10), 60)]), 100, 111, 90),
            (rules(Select::Max, &[(Percent(90), 60)]), 100, 190, 9),
            (rules(Select::Max, &[]), 10, i32::MIN, i32::MAX),
            (rules(Select::Min, &[]), 10, i32::MAX, i32::MIN),
            (rules(Select::Max, &[(Percent(i32::MAX), 60)]), 1000, i32::MIN, i32::MIN),
        ];
        let (profile, history) = (Profile::HpaExact, History::default());
        for (rules, current, up, down) in table {
            assert_eq!(scale_up(profile, &rules, &history, current, at(0)), up, "{rules:?}");
            assert_eq!(scale_down(profile, &rules, &history, current, at(0)), down, "{rules:?}");
        }
    }

    #[test]
    fn changes_of_both_directions_count_for_their_period() {
        let history = History::from_lists(None, events(&[(5, -59), (7, -60)]), events(&[(2, -10)]));
        let rules = rules(Select::Max, &[(Amount::Replicas(3), 60)]);
        // 10 now; 5 came and 2 went within the period: 7 at its start.
        assert_eq!(scale_up(Profile::HpaExact, &rules, &history, 10, at(0)), 10);
        assert_eq!(scale_down(Profile::HpaExact, &rules, &history, 10, at(0)), 4);
    }

    #[test]
    fn bounds_and_rates_say_which_of_them_it_was() {
        use Limit::{
            DesiredWithinRange, ScaleDownLimit, ScaleUpLimit, TooFewReplicas, TooManyReplicas,
        };
        let slow = rules(Select::Max, &[(Amount::Replicas(2), 60)]);
        let behavior = Behavior { scale_up: slow.clone(), scale_down: slow };
        // current, desired; without and with behavior
        let table = [
            (5, 7, (7, DesiredWithinRange), (7, DesiredWithinRange)),
            (5, 10, (10, DesiredWithinRange), (7, ScaleUpLimit)),
            (5, 12, (10, ScaleUpLimit), (7, ScaleUpLimit)),
            (1, 9, (4, ScaleUpLimit), (3, ScaleUpLimit)),
            (19, 30, (20, TooManyReplicas), (20, TooManyReplicas)),
            // Where rate and bound are the same number, it was the bound.
            (10, 30, (20, TooManyReplicas), (12, ScaleUpLimit)),
            (18, 30, (20, TooManyReplicas), (20, TooManyReplicas)),
            (3, 0, (1, TooFewReplicas), (1, TooFewReplicas)),
            // With behavior, what stays is not bounded.
            (25, 25, (20, TooManyReplicas), (25, DesiredWithinRange)),
            (0, 0, (1, TooFewReplicas), (0, DesiredWithinRange)),
            (5, 3, (3, DesiredWithinRange), (3, DesiredWithinRange)),
            (5, 1, (1, DesiredWithinRange), (3, ScaleDownLimit)),
            (2, 0, (1, TooFewReplicas), (1, TooFewReplicas)),
        ];
        let policy = legacy_policy();
        for (current, desired, without, with) in table {
            assert_eq!(
                legacy(&policy, &History::default(), current, desired, at(0)),
                without,
                "{current} {desired}"
            );
            let limited =
                with_behavior(&policy, &behavior, &History::default(), current, desired, at(0));
            assert_eq!(limited, with, "{current} {desired}");
        }
    }
}
