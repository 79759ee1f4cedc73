//! The Default profile's memory: what can still change an answer, and no more.
//!
//! The highest recommendation since any moment is one that no later one reaches; the lowest likewise. Those
//! that are neither can be forgotten at once. What is left is two staircases in one list: one leads down to
//! the latest entry, the other up to it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Behavior, Policy, Recommendation, ScaleEvent};

/// More entries than this, and neighbours are merged.
const ENTRIES: usize = 256;

/// Adds a recommendation and forgets what it has made pointless.
pub(super) fn remember(list: &mut Vec<Recommendation>, policy: &Policy, latest: Recommendation) {
    let edge = latest.at - longest_window(policy);
    list.retain(|past| past.at >= edge);
    for past in list.iter_mut() {
        // A clock that was set back must not make a memory outlive its window.
        past.at = past.at.min(latest.at);
    }
    list.push(latest);
    keep_steps(list);
    if list.len() > ENTRIES {
        coarsen(list, ENTRIES / 2);
    }
}

/// The longer of the two windows.
pub(super) fn longest_window(policy: &Policy) -> TimeDelta {
    match &policy.behavior {
        Some(behavior) => behavior.scale_up.window.max(behavior.scale_down.window),
        None => policy.settings.downscale_stabilization,
    }
}

/// Adds a change of size and forgets those that no policy of either direction counts any more.
pub(super) fn remember_event(
    (changed, other): (&mut Vec<ScaleEvent>, &mut Vec<ScaleEvent>),
    behavior: &Behavior,
    event: ScaleEvent,
    later: Later,
) {
    changed.push(event);
    let begin =
        event.at - behavior.scale_up.longest_period().max(behavior.scale_down.longest_period());
    for list in [&mut *changed, other] {
        list.retain(|past| past.at > begin);
        for past in list.iter_mut() {
            past.at = past.at.min(event.at);
        }
    }
    merge_events(changed, ENTRIES, later);
}

/// Keeps the entries that are higher than all later ones, or lower than all of them.
pub(super) fn keep_steps(list: &mut Vec<Recommendation>) {
    let mut later: Option<(i32, i32)> = None;
    list.reverse();
    list.retain(|entry| {
        let (lowest, highest) = later.unwrap_or((entry.replicas, entry.replicas));
        let is_step = later.is_none() || entry.replicas < lowest || entry.replicas > highest;
        later = Some((lowest.min(entry.replicas), highest.max(entry.replicas)));
        is_step
    });
    list.reverse();
}

/// Brings each of the two staircases down to `steps` entries.
pub(super) fn coarsen(list: &mut Vec<Recommendation>, steps: usize) {
    let mut down = staircase(list, |past, later| past > later);
    let mut up = staircase(list, |past, later| past < later);
    merge_steps(&mut down, steps);
    merge_steps(&mut up, steps);
    down.append(&mut up);
    down.sort_by_key(|entry| entry.at);
    keep_steps(&mut down);
    *list = down;
}

/// The entries, oldest first, that are `beyond` every later one.
fn staircase(list: &[Recommendation], beyond: fn(i32, i32) -> bool) -> Vec<Recommendation> {
    let mut steps: Vec<Recommendation> = Vec::new();
    for entry in list {
        while steps.last().is_some_and(|last| !beyond(last.replicas, entry.replicas)) {
            steps.pop();
        }
        steps.push(*entry);
    }
    steps
}

/// Merges the nearest neighbours: the earlier number holds until the later moment, so that a merge makes a
/// window longer and never shorter.
fn merge_steps(steps: &mut Vec<Recommendation>, limit: usize) {
    while steps.len() > limit {
        let place = nearest(steps, |step| step.at);
        let earlier = steps.remove(place);
        steps[place].replicas = earlier.replicas;
    }
}

/// Which moment a merged change of size takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Later {
    /// The later one: it is counted longer.
    Yes,
    /// The earlier one: it is counted shorter.
    No,
}

/// Merges the nearest changes of size. Growth takes the earlier moment and shrinking the later one: both
/// make the size at the start of a period larger, and so a limit of scale-down never lower.
pub(super) fn merge_events(events: &mut Vec<ScaleEvent>, limit: usize, later: Later) {
    while events.len() > limit {
        let place = nearest(events, |event| event.at);
        let earlier = events.remove(place);
        let merged = &mut events[place];
        merged.change = merged.change.saturating_add(earlier.change);
        if later == Later::No {
            merged.at = earlier.at;
        }
    }
}

/// The first of the two neighbours that are nearest to each other in time.
fn nearest<T>(entries: &[T], at: fn(&T) -> DateTime<Utc>) -> usize {
    let gaps = entries.windows(2).map(|pair| at(&pair[1]) - at(&pair[0]));
    gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, policy_with_windows};
    use crate::{History, Profile};

    /// What is kept of these recommendations, one a second.
    fn kept(recommended: impl IntoIterator<Item = i32>) -> Vec<i32> {
        let policy = policy_with_windows(Profile::Default, 3600, 3600);
        let mut history = History::default();
        for (second, replicas) in recommended.into_iter().enumerate() {
            history.recommended(&policy, replicas, at(second as i64));
        }
        history.recommendations().unwrap().iter().map(|entry| entry.replicas).collect()
    }

    #[test]
    fn what_is_neither_higher_nor_lower_than_all_later_ones_is_forgotten() {
        let table = [
            (&[5, 4, 6][..], &[4, 6][..]),
            (&[5, 6, 4], &[6, 4]),
            (&[6, 6], &[6]),
            (&[9, 1, 8, 2, 5], &[9, 1, 8, 2, 5]),
        ];
        for (recommended, expected) in table {
            assert_eq!(kept(recommended.iter().copied()), expected, "{recommended:?}");
        }
    }

    #[test]
    fn nothing_is_merged_before_the_space_is_used_up() {
        let entries = ENTRIES as i32;
        assert_eq!(kept((0..entries).rev()), (0..entries).rev().collect::<Vec<_>>());
        assert_eq!(kept((0..=entries).rev()).len(), ENTRIES / 2);
    }

    #[test]
    fn the_nearest_changes_are_merged_when_the_space_is_used_up() {
        let mut policy = policy_with_windows(Profile::Default, 0, 0);
        policy.behavior.as_mut().unwrap().scale_up.policies[0].period = TimeDelta::seconds(3600);
        let mut history = History::default();
        for size in 0..=ENTRIES as i32 {
            assert_eq!(history.scale_ups().len(), size as usize);
            // Ten seconds apart, but for two.
            let second = if size == 101 { 1000 } else { 10 * i64::from(size) };
            history.scaled(&policy, size, size + 1, at(second));
        }
        let changes: Vec<_> = history.scale_ups().iter().map(|event| event.change).collect();
        let mut expected = vec![1; ENTRIES];
        expected[100] = 2;
        assert_eq!(changes, expected);
    }

    #[test]
    fn a_change_is_forgotten_when_no_policy_counts_it() {
        let mut policy = policy_with_windows(Profile::Default, 0, 0);
        policy.behavior.as_mut().unwrap().scale_down.policies[0].period = TimeDelta::seconds(600);
        for (second, kept) in [(599, 2), (600, 1)] {
            let mut history = History::default();
            history.scaled(&policy, 1, 3, at(0));
            history.scaled(&policy, 3, 4, at(second));
            assert_eq!(history.scale_ups().len(), kept, "{second}");
        }
    }
}
