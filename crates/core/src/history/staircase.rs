//! The Default profile's lists, which keep only entries that can still change a decision.
//!
//! A stabilization window needs the highest or the lowest recommendation since some time. A
//! recommendation that a later one equals or exceeds is never the highest since any time, and
//! likewise for the lowest; an entry that is neither can be forgotten at once. Of 5, 9, 1, 3 the
//! list keeps a staircase down to the latest entry (9, 3) and one up to it (1, 3), and forgets 5.
//!
//! Each of the two staircases is the monotonic queue of a sliding-window maximum or minimum, known
//! as "ascending minima" (<http://www.richardhartersworld.com/cri/2001/slidingmin.html>); Knative's
//! `pkg/autoscaler/aggregation/max/window.go` uses it too. Here both share one list, and windows
//! may be of any length.

use chrono::{DateTime, Utc};

use crate::{
    history::{Recommendation, ScaleEvent},
    policy::Policy,
};

/// The number of entries above which neighbours are merged.
const CAPACITY: usize = 256;

/// Adds a recommendation, and forgets those that can no longer change a decision.
pub(super) fn insert(list: &mut Vec<Recommendation>, policy: &Policy, latest: Recommendation) {
    let edge = latest.at - policy.longest_window();
    list.retain(|past| past.at >= edge);
    for past in list.iter_mut() {
        // A clock that was set back must not make an entry outlive its window.
        past.at = past.at.min(latest.at);
    }
    list.push(latest);
    keep_steps(list);
    if list.len() > CAPACITY {
        coarsen(list, CAPACITY / 2);
    }
}

/// Adds a scale event to the events of its direction, and forgets those at or before `begin`.
pub(super) fn insert_event(
    events: &mut Vec<ScaleEvent>,
    event: ScaleEvent,
    begin: DateTime<Utc>,
    merge_to: MergeTo,
) {
    events.push(event);
    forget_events(events, begin, event.at);
    merge_events(events, CAPACITY, merge_to);
}

/// Forgets the events at or before `begin`. Events after `now`, from a clock that was set back, are
/// moved to `now`.
pub(super) fn forget_events(
    events: &mut Vec<ScaleEvent>,
    begin: DateTime<Utc>,
    now: DateTime<Utc>,
) {
    events.retain(|past| past.at > begin);
    for past in events.iter_mut() {
        past.at = past.at.min(now);
    }
}

/// Keeps the entries that are higher, or lower, than all later ones.
fn keep_steps(list: &mut Vec<Recommendation>) {
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

/// Merges each of the two staircases down to at most `steps` entries.
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

/// Returns the entries, oldest first, that are `beyond` every later one.
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

/// Merges the pairs of entries that are nearest in time. The earlier number holds until the later
/// time, so that a merge makes a window longer and never shorter.
fn merge_steps(steps: &mut Vec<Recommendation>, limit: usize) {
    while steps.len() > limit {
        let place = nearest(steps, |step| step.at);
        let earlier = steps.remove(place);
        steps[place].replicas = earlier.replicas;
    }
}

/// The time that two merged scale events get.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MergeTo {
    /// The time of the later event: the change counts longer.
    Later,
    /// The time of the earlier event: the change counts shorter.
    Earlier,
}

/// Merges the pairs of scale events that are nearest in time.
///
/// Scale-ups take the earlier time and scale-downs the later one. Both make the computed size at
/// the start of a period larger, so a merge never allows a faster scale-down.
pub(super) fn merge_events(events: &mut Vec<ScaleEvent>, limit: usize, merge_to: MergeTo) {
    while events.len() > limit {
        let place = nearest(events, |event| event.at);
        let earlier = events.remove(place);
        let merged = &mut events[place];
        merged.change = merged.change.saturating_add(earlier.change);
        if merge_to == MergeTo::Earlier {
            merged.at = earlier.at;
        }
    }
}

/// Returns the index of the first of the two neighbours that are nearest in time.
fn nearest<T>(entries: &[T], at: fn(&T) -> DateTime<Utc>) -> usize {
    let gaps = entries.windows(2).map(|pair| at(&pair[1]) - at(&pair[0]));
    gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{
        history::History,
        profile::Profile,
        tests::support::{at, policy_with_windows},
    };

    /// Returns the recommendations that remain of these, which are one second apart.
    fn kept(recommended: impl IntoIterator<Item = i32>) -> Vec<i32> {
        let policy = policy_with_windows(Profile::Default, 3600, 3600);
        let mut history = History::default();
        for (second, replicas) in recommended.into_iter().enumerate() {
            history.record_recommendation(&policy, replicas, at(second as i64));
        }
        history.recommendations().unwrap().iter().map(|entry| entry.replicas).collect()
    }

    #[test]
    fn an_entry_neither_higher_nor_lower_than_all_later_ones_is_forgotten() {
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
    fn nothing_is_merged_below_the_capacity() {
        let entries = CAPACITY as i32;
        assert_eq!(kept((0..entries).rev()), (0..entries).rev().collect::<Vec<_>>());
        assert_eq!(kept((0..=entries).rev()).len(), CAPACITY / 2);
    }

    #[test]
    fn the_nearest_events_are_merged_at_the_capacity() {
        let mut policy = policy_with_windows(Profile::Default, 0, 0);
        policy.behavior.as_mut().unwrap().scale_up.policies[0].period = TimeDelta::seconds(3600);
        let mut history = History::default();
        for size in 0..=CAPACITY as i32 {
            assert_eq!(history.scale_ups().len(), size as usize);
            // Ten seconds apart, except for two.
            let second = if size == 101 { 1000 } else { 10 * i64::from(size) };
            history.record_scale(&policy, size, size + 1, at(second));
        }
        let changes: Vec<_> = history.scale_ups().iter().map(|event| event.change).collect();
        let mut expected = vec![1; CAPACITY];
        expected[100] = 2;
        assert_eq!(changes, expected);
    }

    #[test]
    fn an_event_is_forgotten_when_no_policy_counts_it() {
        let mut policy = policy_with_windows(Profile::Default, 0, 0);
        policy.behavior.as_mut().unwrap().scale_down.policies[0].period = TimeDelta::seconds(600);
        for (second, kept) in [(599, 2), (600, 1)] {
            let mut history = History::default();
            history.record_scale(&policy, 1, 3, at(0));
            history.record_scale(&policy, 3, 4, at(second));
            assert_eq!(history.scale_ups().len(), kept, "{second}");
        }
    }
}
