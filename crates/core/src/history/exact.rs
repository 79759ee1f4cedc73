//! The HPA's lists, in which a new entry overwrites an outdated one.

use crate::{
    history::{Recommendation, ScaleEvent},
    policy::{Policy, Rules},
};

/// Overwrites the last outdated recommendation, or appends, as `stabilizeRecommendation` and
/// `stabilizeRecommendationWithBehaviors` of `pkg/controller/podautoscaler/horizontal.go` do.
pub(super) fn insert(list: &mut Vec<Recommendation>, policy: &Policy, latest: Recommendation) {
    // With `behavior`, an outdated recommendation is older than both windows.
    let edge = latest.at - policy.longest_window();
    match list.iter().rposition(|past| past.at < edge) {
        Some(place) => list[place] = latest,
        None => list.push(latest),
    }
}

/// Marks the events that are older than the longest period of their own direction, and overwrites
/// the last marked one, or appends, as `storeScaleEvent` and `markScaleEventsOutdated` of
/// `pkg/controller/podautoscaler/horizontal.go` do.
pub(super) fn insert_event(list: &mut Vec<ScaleEvent>, rules: &Rules, event: ScaleEvent) {
    let edge = event.at - rules.longest_period();
    for past in list.iter_mut() {
        past.outdated |= past.at < edge;
    }
    match list.iter().rposition(|past| past.outdated) {
        Some(place) => list[place] = event,
        None => list.push(event),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{
        history::History,
        policy::{Amount, RatePolicy},
        profile::Profile,
        tests::support::{at, legacy_policy, policy_with_windows},
    };

    #[test]
    fn the_last_outdated_recommendation_is_overwritten() {
        let table: &[(&[i64], usize)] =
            &[(&[], 0), (&[-120, -60], 2), (&[-600, -540], 1), (&[-600, -100], 0), (&[-300], 1)];
        for (past, place) in table {
            let mut list: Vec<_> =
                past.iter().map(|second| Recommendation { replicas: 9, at: at(*second) }).collect();
            insert(&mut list, &legacy_policy(), Recommendation { replicas: 3, at: at(0) });
            assert_eq!(list.iter().position(|kept| kept.at == at(0)), Some(*place), "{past:?}");
        }
    }

    #[test]
    fn the_last_outdated_event_is_overwritten() {
        let period = TimeDelta::seconds(60);
        let rules = Rules {
            policies: vec![RatePolicy { amount: Amount::Replicas(1), period }],
            ..Rules::default_scale_up()
        };
        let event = |second| ScaleEvent { change: 1, at: at(second), outdated: false };
        let mut list = vec![event(-29), event(-61), event(-62), event(-60)];
        insert_event(&mut list, &rules, event(0));
        let kept: Vec<_> =
            list.iter().map(|event| ((event.at - at(0)).num_seconds(), event.outdated)).collect();
        assert_eq!(kept, [(-29, false), (-61, true), (0, false), (-60, false)]);
    }

    #[test]
    fn a_change_by_zero_is_a_scale_down() {
        let policy = policy_with_windows(Profile::HpaExact, 0, 0);
        let mut history = History::default();
        history.record_scale(&policy, 5, 5, at(0));
        assert_eq!((history.scale_ups().len(), history.scale_downs().len()), (0, 1));
    }
}
