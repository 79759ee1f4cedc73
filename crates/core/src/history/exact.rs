//! The HPA's lists: an entry that is too old to count gives its place to the new one.

use crate::{Policy, Recommendation, Rules, ScaleEvent};

/// Puts a recommendation into the last outdated place, else at the end.
pub(super) fn remember(list: &mut Vec<Recommendation>, policy: &Policy, latest: Recommendation) {
    // With `behavior`, outdated means before both windows.
    let window = match &policy.behavior {
        Some(behavior) => behavior.scale_up.window.max(behavior.scale_down.window),
        None => policy.settings.downscale_stabilization,
    };
    let edge = latest.at - window;
    match list.iter().rposition(|past| past.at < edge) {
        Some(place) => list[place] = latest,
        None => list.push(latest),
    }
}

/// Marks what its own direction's policies no longer look at, and puts the event into the last marked place,
/// else at the end.
pub(super) fn remember_event(list: &mut Vec<ScaleEvent>, rules: &Rules, event: ScaleEvent) {
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
    use crate::testing::{at, legacy_policy};
    use crate::{Amount, RatePolicy};

    #[test]
    fn the_last_outdated_recommendation_gives_its_place() {
        let table: &[(&[i64], usize)] =
            &[(&[], 0), (&[-120, -60], 2), (&[-600, -540], 1), (&[-600, -100], 0), (&[-300], 1)];
        for (past, place) in table {
            let mut list: Vec<_> =
                past.iter().map(|second| Recommendation { replicas: 9, at: at(*second) }).collect();
            remember(&mut list, &legacy_policy(), Recommendation { replicas: 3, at: at(0) });
            assert_eq!(list.iter().position(|kept| kept.at == at(0)), Some(*place), "{past:?}");
        }
    }

    #[test]
    fn the_last_outdated_event_gives_its_place() {
        let period = TimeDelta::seconds(60);
        let rules = Rules {
            policies: vec![RatePolicy { amount: Amount::Replicas(1), period }],
            ..Rules::default_scale_up()
        };
        let event = |second| ScaleEvent { change: 1, at: at(second), outdated: false };
        let mut list = vec![event(-29), event(-61), event(-62), event(-60)];
        remember_event(&mut list, &rules, event(0));
        let kept: Vec<_> =
            list.iter().map(|event| ((event.at - at(0)).num_seconds(), event.outdated)).collect();
        assert_eq!(kept, [(-29, false), (-61, true), (0, false), (-60, false)]);
    }

    #[test]
    fn a_change_of_nothing_is_among_the_scale_downs() {
        let policy = crate::testing::policy_with_windows(crate::Profile::HpaExact, 0, 0);
        let mut history = crate::History::default();
        history.scaled(&policy, 5, 5, at(0));
        assert_eq!((history.scale_ups().len(), history.scale_downs().len()), (0, 1));
    }
}
