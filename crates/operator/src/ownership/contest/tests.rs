//! Contests as rows of tables.

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_000_000 + second, 0).unwrap()
}

fn change(by: &str, from: i32, to: i32, second: i64) -> SizeChange {
    SizeChange { from, to, by: Some(by.to_owned()), at: at(second) }
}

/// Undoes a write of 5 that was made at `written`, a second after it. Returns whether a contest is
/// reported.
fn undo(tracker: &mut ContestTracker, by: &str, written: i64) -> bool {
    let undone = OwnWrite { at: at(written), before: Some(2) };
    tracker.record(&change(by, 5, 2, written + 1), undone, at(written + 1))
}

#[test]
fn writes_that_are_undone_wait_twice_as_long_each_time_and_five_minutes_at_most() {
    let mut tracker = ContestTracker::default();
    let mut second = 0;
    for expected in [0, 0, 30, 60, 120, 240, 300, 300, 300] {
        undo(&mut tracker, "model-operator", second);
        let wait = (0..=300)
            .find(|wait| {
                let contest = tracker.contest(false, at(second + 1 + wait));
                contest.is_none_or(|contest| contest.waits_until().is_none())
            })
            .unwrap();
        // The wait begins with the write, a second earlier.
        assert_eq!(wait, (expected - 1).max(0), "after {second} s");
        second += expected.max(15);
        tracker.record_write(false, at(second));
    }
}

#[test]
fn a_contest_lasts_until_a_write_has_stood() {
    let mut tracker = ContestTracker::default();
    let _ = [0, 15, 30].map(|written| undo(&mut tracker, "model-operator", written));
    let state = |tracker: &ContestTracker, stands, second| {
        tracker.contest(stands, at(second)).map(|contest| contest.state)
    };
    assert_eq!(state(&tracker, false, 31), Some(ContestState::WaitsUntil(at(60))));
    // In the step that writes, and after it, the contest is still reported.
    assert_eq!(state(&tracker, false, 60), Some(ContestState::MayWrite));
    tracker.record_write(false, at(60));
    assert_eq!(state(&tracker, true, 61), Some(ContestState::Stands));
    assert_eq!(state(&tracker, true, 419), Some(ContestState::Stands));
    assert_eq!(state(&tracker, true, 420), None);
    // It goes on where it was if the write is undone all the same, and begins anew once it has
    // ended.
    undo(&mut tracker, "model-operator", 60);
    assert_eq!(state(&tracker, false, 62), Some(ContestState::WaitsUntil(at(120))));
    tracker.record_write(false, at(120));
    let undone = OwnWrite { at: at(120), before: Some(2) };
    assert!(!tracker.record(&change("model-operator", 5, 2, 640), undone, at(640)));
    assert_eq!(state(&tracker, false, 640), None);
}

#[test]
fn a_clock_that_was_set_back_does_not_lengthen_a_wait() {
    let mut tracker = ContestTracker::default();
    let _ = [9000, 9015, 9030].map(|written| undo(&mut tracker, "model-operator", written));
    let contest = tracker.contest(false, at(0)).unwrap();
    assert_eq!(contest.state, ContestState::MayWrite);
}

#[test]
fn sizes_set_by_hand_are_a_contest_only_if_they_restore_the_size_before() {
    // the manager; the sizes that it sets after writes of 5, which came from 2; contested
    let table: &[(&str, &[i32], bool)] = &[
        ("kubectl", &[3, 4, 6, 7, 8], false),
        ("kubectl-edit", &[3, 4, 3], false),
        ("kubectl-scale", &[2, 2], false),
        ("kubectl-scale", &[2, 2, 2], true),
        // Another autoscaler may set a different number each time.
        ("model-operator", &[3, 4, 6], true),
        ("model-operator", &[2, 2], false),
        ("model-operator", &[2, 2, 2], true),
    ];
    for (by, sizes, expected) in table {
        let mut tracker = ContestTracker::default();
        for (second, size) in (0..).zip(*sizes) {
            let undone = OwnWrite { at: at(second), before: Some(2) };
            tracker.record(&change(by, 5, *size, second), undone, at(second));
        }
        assert_eq!(tracker.contest(false, at(10)).is_some(), *expected, "{by} {sizes:?}");
    }
}

#[test]
fn a_contest_waits_for_a_drain_and_ends_when_the_size_is_right() {
    let contested = || {
        let mut tracker = ContestTracker::default();
        let _ = [0, 15, 30].map(|written| undo(&mut tracker, "model-operator", written));
        tracker
    };
    // The next write comes late, because the replicas to be removed had requests, or not at all.
    for (second, expected) in [(30 + 1799, true), (30 + 1800, false)] {
        let mut tracker = contested();
        assert_eq!(tracker.contest(false, at(second)).is_some(), expected, "{second}");
        tracker.record_write(false, at(second));
        assert_eq!(tracker.contest(true, at(second)).is_some(), expected, "{second}");
    }
    // A further write after one that has stood contests nothing.
    let mut tracker = contested();
    tracker.record_write(false, at(60));
    tracker.record_write(true, at(420));
    assert_eq!(tracker.contest(true, at(420)), None);
}
