use chrono::DateTime;

use super::*;

fn readings(fast: u64, monotonic: u64) -> Readings {
    let (fast, monotonic) = (Duration::from_secs(fast), Duration::from_secs(monotonic));
    Readings { system: DateTime::UNIX_EPOCH, monotonic: Monotonic(monotonic), fast }
}

/// A board with a renewal of both buckets at second 100 of both clocks, for 10 s.
fn board() -> Board {
    let mut board = Board::new("a".to_owned(), 2, Duration::from_secs(15));
    let at = Some(readings(100, 100));
    board.entries.iter_mut().for_each(|entry| entry.from = at);
    board.layout_read = at;
    board
}

#[test]
fn a_permit_ends_by_the_fast_clock() {
    // the fast clock, the monotonic clock, the time left
    let table = [
        (100, 100, Some(10)),
        (104, 104, Some(6)),
        (109, 109, Some(1)),
        (110, 110, None),
        // The machine was suspended for 5 s, and for an hour.
        (109, 104, Some(1)),
        (3_704, 104, None),
    ];
    for (fast, monotonic, expected) in table {
        let (mut board, now) = (board(), readings(fast, monotonic));
        let left = board.left(0, now).map(|left| left.as_secs());
        assert_eq!(left, expected, "{fast}, {monotonic}");
        board.refresh(now);
        let deadline = board.permit(0).deadline(now.monotonic);
        assert_eq!(deadline.map(|left| left.as_secs()), expected, "{fast}, {monotonic}");
    }
}

#[test]
fn a_further_bucket_is_held_as_long_as_its_number_is_known_to_count() {
    let mut board = board();
    board.layout_read = Some(readings(97, 97));
    assert_eq!(board.left(1, readings(104, 104)), Some(Duration::from_secs(3)));
    assert_eq!(board.left(1, readings(107, 107)), None);
    assert_eq!(board.left(0, readings(107, 107)), Some(Duration::from_secs(3)));
    board.layout_read = None;
    assert_eq!(board.left(1, readings(100, 100)), None);
}

#[test]
fn another_copy_is_there_if_it_was_seen_to_renew_its_lease_a_moment_ago() {
    let (mut board, at) = (board(), |second| Monotonic(Duration::from_secs(second)));
    let entry = &mut board.entries[0];
    entry.record = Some(Record { holder: "b".to_owned(), ..Record::default() });
    // the second since which the record has been seen like this, now, when it was renewed
    let table = [
        (100, 100, None),
        (100, 109, None),
        (105, 106, Some(105)),
        (105, 114, Some(105)),
        (105, 115, None),
        (116, 117, Some(116)),
    ];
    for (since, now, expected) in table {
        board.entries[0].observe(Some(at(since)));
        let found = board.renewed_by_another(0, readings(now, now));
        assert_eq!(found, expected.map(at), "{since} {now}");
    }
    board.entries[0].part = Part::Holds;
    assert_eq!(board.renewed_by_another(0, readings(117, 117)), None);
}

#[test]
fn changes_are_told_once_and_an_end_is_for_good() {
    let (mut board, now) = (board(), readings(101, 101));
    let change = |bucket, is_held| Change { bucket, is_held, is_given: false };
    assert_eq!(board.refresh(now), [change(0, true), change(1, true)]);
    assert_eq!(board.refresh(now), []);
    assert_eq!(board.close(now), [change(0, false), change(1, false)]);
    assert_eq!(board.refresh(now), []);
    assert_eq!(board.permit(0).deadline(now.monotonic), None);
    assert_eq!(board.held(), [false, false]);
}

/// A board of "a" at second 100, with a record of each bucket: its holder, and its wish.
fn shared(records: [(&str, &str); 4]) -> Board {
    let mut board = Board::new("a".to_owned(), 4, Duration::from_secs(15));
    for (entry, (holder, wanted_by)) in board.entries.iter_mut().zip(records) {
        let wanted_by = Some(wanted_by.to_owned()).filter(|copy| !copy.is_empty());
        entry.wanted_since = wanted_by.as_ref().map(|_| Monotonic(Duration::from_secs(100)));
        let layout = Some(Layout::Settled(4));
        let is_mine = holder == "a";
        entry.part = if is_mine { Part::Holds } else { Part::Follows };
        entry.from = is_mine.then(|| readings(100, 100));
        entry.record =
            Some(Record { holder: holder.to_owned(), layout, wanted_by, ..Record::default() });
    }
    board.layout_read = Some(readings(100, 100));
    board.steady_since = Some(Monotonic(Duration::from_secs(70)));
    board.refresh(readings(100, 100));
    board
}

fn wishes(board: &Board, second: u64) -> Vec<bool> {
    let around = |bucket| board.surroundings(bucket, true, readings(second, second));
    (0..4).map(|bucket| around(bucket).evening == Evening::Wish).collect()
}

#[test]
fn a_copy_wishes_once_it_has_taken_part_for_two_durations_without_a_loss() {
    let others = [("b", ""), ("b", ""), ("b", ""), ("c", "")];
    let mut board = shared(others);
    assert_eq!(wishes(&board, 99), [false; 4]);
    assert_eq!(wishes(&board, 100), [true, true, true, false]);
    // A wish that was sent and one that is to be seen still are the same, and there is one only.
    board.entries[1].part = Part::Wishes;
    assert_eq!(wishes(&board, 100), [false; 4]);
    board.entries[1].part = Part::Follows;
    // By another number of buckets these are other Leases.
    board.layout_read = None;
    assert_eq!(wishes(&board, 100), [false; 4]);

    // A Lease that was lost, as by an API server that does not answer, and one that was given.
    let mut board = shared([("a", ""), ("b", ""), ("b", ""), ("b", "")]);
    assert_eq!(wishes(&board, 105), [false, true, true, true]);
    let is_loss = |change: &Change| (change.is_held, change.is_given);
    (board.entries[0].part, board.entries[0].from) = (Part::Gives, None);
    assert_eq!(board.refresh(readings(110, 110)).iter().map(is_loss).next(), Some((false, true)));
    assert_eq!(wishes(&board, 112), [false, true, true, true]);
    let mut board = shared([("a", ""), ("b", ""), ("b", ""), ("b", "")]);
    assert_eq!(board.refresh(readings(110, 110)).iter().map(is_loss).next(), Some((false, false)));
    assert_eq!(wishes(&board, 139), [false; 4]);
    assert_eq!(wishes(&board, 140), [false, true, true, true]);
}

#[test]
fn a_wish_that_its_holder_does_not_answer_is_outlived() {
    let board = shared([("b", "a"), ("b", ""), ("c", ""), ("c", "")]);
    assert_eq!(wishes(&board, 115), [false; 4]);
    assert_eq!(wishes(&board, 116), [false, false, true, true]);
}

#[test]
fn a_lease_is_given_while_it_is_held() {
    let mut board = shared([("a", "b"), ("a", ""), ("c", "d"), ("", "c")]);
    let gives = |board: &Board, second| {
        let around = |bucket| board.surroundings(bucket, true, readings(second, second));
        (0..4).map(|bucket| around(bucket).evening == Evening::Give).collect::<Vec<_>>()
    };
    assert_eq!(gives(&board, 105), [true, false, false, false]);
    board.refresh(readings(110, 110));
    assert_eq!(gives(&board, 110), [false; 4], "its renewals have run out");
}
