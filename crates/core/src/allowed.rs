//! The size that windows, rate policies and bounds allow, now and at the next time at which they
//! allow another one.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    decision::Limit,
    history::{History, Recommendation},
    limit,
    policy::{Behavior, Policy},
    profile::Deviation,
    stabilize,
};

/// The time after which an entry of a window without `behavior` no longer counts: one that is
/// exactly as old as the window still does.
const AFTER_THE_EDGE: TimeDelta = TimeDelta::milliseconds(1);

/// A recommendation after the windows, the rate policies and the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The number after the stabilization windows.
    pub stabilized: i32,
    /// The number after rate policies, minimum and maximum.
    pub limited: i32,
    /// The limit that applied.
    pub limit: Limit,
}

/// A later time at which another size is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextChange {
    /// The earliest time.
    pub at: DateTime<Utc>,
    /// The number of replicas that is allowed then.
    pub replicas: i32,
}

/// Returns the size that is allowed now for a recommendation.
pub(crate) fn allowed(
    policy: &Policy,
    history: &History,
    current: i32,
    recommended: i32,
    now: DateTime<Utc>,
) -> Allowed {
    let first = [Recommendation { replicas: current, at: now }];
    let past = history.recommendations().unwrap_or(&first);
    let (stabilized, (limited, limit)) = match &policy.behavior {
        None => {
            let window = policy.settings.downscale_stabilization;
            let highest = stabilize::legacy(past, window, recommended, now);
            let stabilized = without_growth(policy, highest, current.max(recommended));
            (stabilized, limit::legacy(policy, history, current, stabilized, now))
        }
        Some(behavior) => {
            let stabilized = stabilize::with_behavior(past, behavior, current, recommended, now);
            (stabilized, limit::with_behavior(policy, behavior, history, current, stabilized, now))
        }
    };
    Allowed { stabilized, limited, limit }
}

/// Returns the first later time at which windows and rate policies allow another size than now, if
/// the metrics go on recommending this one and nothing is written in between. `None` if time alone
/// changes nothing.
///
/// It tells what is ahead, and decides nothing.
pub fn next_change(
    policy: &Policy,
    history: &History,
    current: i32,
    recommended: i32,
    now: DateTime<Utc>,
) -> Option<NextChange> {
    let before = allowed(policy, history, current, recommended, now).limited;
    let replicas = |at| allowed(policy, history, current, recommended, at).limited;
    expiries(policy, history)
        .into_iter()
        .filter(|at| *at > now)
        .map(|at| NextChange { at, replicas: replicas(at) })
        .find(|change| change.replicas != before)
}

/// Returns the times at which an entry of the history no longer counts.
fn expiries(policy: &Policy, history: &History) -> BTreeSet<DateTime<Utc>> {
    let legacy = Behavior::legacy();
    let behavior = policy.behavior.as_ref().unwrap_or(&legacy);
    let of_legacy = policy.settings.downscale_stabilization + AFTER_THE_EDGE;
    let windows = match policy.behavior {
        Some(_) => [behavior.scale_up.window, behavior.scale_down.window],
        None => [of_legacy; 2],
    };
    let rules = [&behavior.scale_up, &behavior.scale_down];
    let periods: Vec<TimeDelta> =
        rules.iter().flat_map(|rules| &rules.policies).map(|policy| policy.period).collect();
    let recommendations = history.recommendations().unwrap_or_default().iter();
    let events = history.scale_ups().iter().chain(history.scale_downs());
    let ends_of_windows = recommendations.flat_map(|past| windows.map(|window| past.at + window));
    let ends_of_periods =
        events.flat_map(|event| periods.iter().map(move |period| event.at + *period));
    ends_of_windows.chain(ends_of_periods).collect()
}

/// Caps the result of the window of a spec without `behavior`. It keeps the current size, and must
/// not restore a larger one that something else has reduced.
fn without_growth(policy: &Policy, highest: i32, cap: i32) -> i32 {
    if policy.profile.has(Deviation::WindowNeverGrows) { highest.min(cap) } else { highest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        history::ScaleEvent,
        policy::{Amount, RatePolicy, Rules, Select},
        profile::Profile,
        tests::support::{at, legacy_policy},
    };

    fn recommended(list: &[(i64, i32)]) -> Vec<Recommendation> {
        list.iter()
            .map(|(second, replicas)| Recommendation { replicas: *replicas, at: at(*second) })
            .collect()
    }

    fn event(second: i64, change: i32) -> ScaleEvent {
        ScaleEvent { change, at: at(second), outdated: false }
    }

    /// Two replicas a minute in each direction, a scale-up window of 30 s, one of 60 s to shrink.
    fn slow() -> Policy {
        let policies =
            vec![RatePolicy { amount: Amount::Replicas(2), period: TimeDelta::seconds(60) }];
        let rules = |window| Rules {
            window: TimeDelta::seconds(window),
            select: Select::Max,
            policies: policies.clone(),
        };
        let behavior = Behavior { scale_up: rules(30), scale_down: rules(60) };
        Policy { behavior: Some(behavior), ..legacy_policy() }
    }

    #[test]
    fn a_window_ends_with_its_oldest_entry_that_matters() {
        // past recommendations, current, recommended; the next change
        let table = [
            (&[(-100, 6)][..], 6, 6, None),
            // The edge of a window without behavior still counts.
            (&[(-100, 6)], 6, 2, Some((200_001, 2))),
            (&[(-200, 6), (-50, 4)], 6, 2, Some((100_001, 4))),
            // A window that has ended.
            (&[(-301, 6)], 6, 2, None),
        ];
        for (list, current, raw, expected) in table {
            let history = History::from_lists(Some(recommended(list)), vec![], vec![]);
            let next = next_change(&legacy_policy(), &history, current, raw, at(0));
            let next = next.map(|it| ((it.at - at(0)).num_milliseconds(), it.replicas));
            assert_eq!(next, expected, "{list:?} {current} {raw}");
        }
    }

    #[test]
    fn a_rate_policy_allows_more_when_its_period_has_passed() {
        // recommendations, scale-ups, scale-downs, current, recommended; the next change
        let table = [
            (&[(-90, 9)][..], vec![event(-20, 2)], vec![], 4, 9, Some((40, 6))),
            (&[(-10, 5)], vec![], vec![], 4, 9, Some((20, 6))),
            (&[(-90, 1)], vec![], vec![event(-50, 2)], 6, 1, Some((10, 4))),
            (&[(-30, 5)], vec![], vec![], 6, 1, Some((30, 4))),
            (&[(-90, 4)], vec![event(-20, 2)], vec![], 4, 4, None),
        ];
        for (list, ups, downs, current, raw, expected) in table {
            let history = History::from_lists(Some(recommended(list)), ups, downs);
            let next = next_change(&slow(), &history, current, raw, at(0));
            let next = next.map(|it| ((it.at - at(0)).num_seconds(), it.replicas));
            assert_eq!(next, expected, "{list:?} {current} {raw}");
        }
    }

    #[test]
    fn a_spec_without_behavior_doubles_every_15_seconds() {
        let history = History::from_lists(Some(vec![]), vec![event(-5, 4)], vec![]);
        let policy = Policy { profile: Profile::Default, ..legacy_policy() };
        let next = next_change(&policy, &history, 8, 20, at(0));
        assert_eq!(next, Some(NextChange { at: at(10), replicas: 16 }));
    }
}
