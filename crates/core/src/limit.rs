//! The limits of one step: rate policies and bounds.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    decision::Limit,
    history::{History, ScaleEvent},
    policy::{Amount, Behavior, Policy, Rules, Select},
    profile::{Deviation, Profile},
};

/// The size to which a spec without `behavior` may always grow at once (`scaleUpLimitMinimum`).
const LEGACY_MINIMUM: f64 = 4.0;
/// The period of the scale-up limit of a spec without `behavior`: the HPA's default time between
/// steps.
const LEGACY_PERIOD: TimeDelta = TimeDelta::seconds(15);

/// Limits a recommendation of a spec without `behavior` to the bounds, and to twice the size or 4
/// replicas, whichever is more. Returns the size and the limit that applied.
///
/// The rule is `convertDesiredReplicasWithRules` of `pkg/controller/podautoscaler/horizontal.go`,
/// which applies the factor to the current size at every step. With [`Deviation::GrowthByTime`] it
/// applies to the size 15 s ago, so that frequent steps grow no faster. Example: with a step every
/// second, a target of 4 replicas grows to 8 and stays there for 15 s.
pub fn legacy(
    policy: &Policy,
    history: &History,
    current: i32,
    desired: i32,
    now: DateTime<Utc>,
) -> (i32, Limit) {
    let by_time = policy.profile.has(Deviation::GrowthByTime);
    // A scale-down within the period must not allow more growth than the HPA would.
    let start = if by_time {
        replicas_before(LEGACY_PERIOD, policy.profile, history, current, now).min(current)
    } else {
        current
    };
    let growth = policy.settings.scale_up_limit_factor * f64::from(start);
    let fastest = policy.profile.trunc32(growth.max(LEGACY_MINIMUM));
    // The current size stays allowed, even if something else has grown it.
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

/// Limits a recommendation of a spec with `behavior` to the rate policies and the bound of its
/// direction. Returns the size and the limit that applied.
///
/// The rule is `convertDesiredReplicasWithBehaviorRate` of
/// `pkg/controller/podautoscaler/horizontal.go`.
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

/// The range of sizes that one step can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The smallest size, in replicas.
    pub lowest: i32,
    /// The largest size, in replicas.
    pub highest: i32,
}

/// Returns the range of sizes that bounds and rate policies allow now, whatever the metrics ask
/// for.
pub fn reach(policy: &Policy, history: &History, current: i32, now: DateTime<Utc>) -> Reach {
    let limited = |desired| match &policy.behavior {
        None => legacy(policy, history, current, desired, now).0,
        Some(behavior) => with_behavior(policy, behavior, history, current, desired, now).0,
    };
    Reach { lowest: limited(policy.min_replicas), highest: limited(policy.max_replicas) }
}

/// Returns the largest size that the scale-up policies allow now.
///
/// The rule is `calculateScaleUpLimitWithScalingRules` of
/// `pkg/controller/podautoscaler/horizontal.go`.
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
            // Rounded up, so that a small percentage still adds a replica. The order of operations
            // is the HPA's: 100 replicas and 10 % give 111, because the product is
            // 110.00000000000001.
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

/// Returns the smallest size that the scale-down policies allow now.
///
/// The rule is `calculateScaleDownLimitWithBehaviors` of
/// `pkg/controller/podautoscaler/horizontal.go`.
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

/// Returns the size at the start of a period that ends now: the current size without the remembered
/// changes within the period (`getReplicasChangePerPeriod`).
fn replicas_before(
    period: TimeDelta,
    profile: Profile,
    history: &History,
    current: i32,
    now: DateTime<Utc>,
) -> i32 {
    let begin = now - period;
    let added = change_since(history.scale_ups(), begin);
    let removed = change_since(history.scale_downs(), begin);
    profile.fit32(i64::from(current) - added + removed)
}

fn change_since(events: &[ScaleEvent], begin: DateTime<Utc>) -> i64 {
    events.iter().filter(|event| event.at > begin).map(|event| i64::from(event.change)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::RatePolicy,
        tests::support::{at, legacy_policy},
    };

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
        // There are 10 now; within the period 5 were added and 2 removed, so there were 7 at its
        // start.
        assert_eq!(scale_up(Profile::HpaExact, &rules, &history, 10, at(0)), 10);
        assert_eq!(scale_down(Profile::HpaExact, &rules, &history, 10, at(0)), 4);
    }

    #[test]
    fn the_limit_names_the_bound_or_the_rate_that_applied() {
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
            // Where rate and bound are the same number, the bound is named.
            (10, 30, (20, TooManyReplicas), (12, ScaleUpLimit)),
            (18, 30, (20, TooManyReplicas), (20, TooManyReplicas)),
            (3, 0, (1, TooFewReplicas), (1, TooFewReplicas)),
            // With behavior, a size that stays is not bounded.
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
