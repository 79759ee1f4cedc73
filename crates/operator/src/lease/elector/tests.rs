use chrono::{DateTime, TimeDelta};

use super::*;
use crate::lease::steps::Evening;

mod handover;

const DURATION: Duration = Duration::from_secs(15);
const AROUND: Surroundings = Surroundings {
    held: 0,
    is_watched: false,
    is_layout_own: true,
    evening: Evening::Nothing,
    is_idle: true,
};

/// Reads clocks that are right, after so many milliseconds.
fn at(millis: u64) -> Readings {
    let epoch = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let millis = i64::try_from(millis).unwrap();
    let fast = Duration::from_millis(millis.unsigned_abs());
    let system = epoch + TimeDelta::milliseconds(millis);
    Readings { system, monotonic: Monotonic(fast), fast }
}

fn elector(buckets: usize, is_anchor: bool) -> Elector {
    Elector::new(Settings { me: "a".to_owned(), duration: DURATION, buckets, is_anchor })
}

/// A Lease of one bucket.
fn record(holder: &str, version: u32) -> Record {
    Record {
        version: version.to_string(),
        uid: "u".to_owned(),
        holder: holder.to_owned(),
        seconds: Some(15),
        layout: Some(Layout::Settled(1)),
        ..Record::default()
    }
}

/// Expects a call, and returns it.
fn request(elector: &mut Elector, millis: u64, around: Surroundings) -> Request {
    match elector.step(at(millis), around) {
        Step::Call(request) => *request,
        step => panic!("{step:?} at {millis}"),
    }
}

/// Expects a wait, and returns it in milliseconds.
fn wait(elector: &mut Elector, millis: u64, around: Surroundings) -> u128 {
    match elector.step(at(millis), around) {
        Step::Wait(wait) => wait.as_millis(),
        step => panic!("{step:?} at {millis}"),
    }
}

/// Expects a look at the Lease, which finds a record.
fn finds(elector: &mut Elector, millis: u64, record: Option<Record>) {
    let request = request(elector, millis, AROUND);
    assert!(matches!(request.call, Call::Get), "{request:?}");
    let answer = record.map_or(Answer::Absent, Answer::Found);
    elector.answer(&request, answer, at(millis + 10));
}

/// Expects an update, which is accepted 10 ms later. Returns the record that it sent.
fn updates(elector: &mut Elector, millis: u64, version: u32) -> Record {
    let request = request(elector, millis, AROUND);
    let (Call::Update(record) | Call::Create(record)) = request.call.clone() else {
        panic!("{request:?}");
    };
    let stored = Record { version: version.to_string(), ..record.clone() };
    elector.answer(&request, Answer::Found(stored), at(millis + 10));
    record
}

fn held_since(elector: &Elector) -> Option<u128> {
    elector.held_from().map(|from| from.monotonic.0.as_millis())
}

#[test]
fn a_free_lease_is_taken_at_once_and_renewed_in_time() {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("", 7)));
    let sent = updates(&mut elector, 10, 8);
    assert_eq!((&*sent.version, &*sent.uid, &*sent.holder), ("7", "u", "a"));
    assert_eq!((sent.seconds, sent.transitions), (Some(15), 1));
    assert_eq!((sent.acquired, sent.renewed), (Some(at(10).system), Some(at(10).system)));
    assert_eq!(held_since(&elector), Some(10), "it counts from before it was sent");
    let due = 20 + u64::try_from(wait(&mut elector, 20, AROUND)).unwrap();
    assert!((4_510..=5_011).contains(&due), "{due}");
    let sent = updates(&mut elector, 5_100, 9);
    assert_eq!((&*sent.version, sent.transitions), ("8", 1));
    assert_eq!((sent.acquired, sent.renewed), (Some(at(10).system), Some(at(5_100).system)));
    assert_eq!(held_since(&elector), Some(5_100));
}

#[test]
fn another_copys_lease_is_taken_once_it_has_not_changed_for_its_duration() {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("b", 7)));
    for look in (510..14_500).step_by(520) {
        finds(&mut elector, look, Some(record("b", if look < 2_000 { 7 } else { 8 })));
    }
    // Version 8 was first seen at 2,080 ms.
    finds(&mut elector, 15_010, Some(record("b", 8)));
    finds(&mut elector, 16_900, Some(record("b", 8)));
    assert_eq!(wait(&mut elector, 17_070, AROUND), 10);
    assert_eq!(updates(&mut elector, 17_080, 9).version, "8");
    assert_eq!(held_since(&elector), Some(17_080));
}

#[test]
fn a_lease_that_was_not_there_permits_nothing_for_its_duration() {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, None);
    assert_eq!(updates(&mut elector, 10, 1).layout, Some(Layout::Announced(1)));
    assert_eq!((held_since(&elector), elector.layout_read().is_some()), (None, false));
    assert_eq!(updates(&mut elector, 5_020, 2).layout, Some(Layout::Announced(1)));
    assert_eq!(updates(&mut elector, 10_600, 3).layout, Some(Layout::Announced(1)));
    assert_eq!(wait(&mut elector, 15_010, AROUND), 10);
    assert_eq!(updates(&mut elector, 15_020, 4).layout, Some(Layout::Settled(1)));
    assert_eq!(held_since(&elector), Some(15_020));
}

#[test]
fn another_number_of_buckets_is_announced_for_the_longer_duration() {
    let mut elector = elector(4, true);
    finds(&mut elector, 0, Some(Record { seconds: Some(20), ..record("", 7) }));
    assert_eq!(updates(&mut elector, 10, 8).layout, Some(Layout::Announced(4)));
    for millis in [5_020, 10_030, 15_040] {
        assert_eq!(updates(&mut elector, millis, 9).layout, Some(Layout::Announced(4)));
        assert_eq!(held_since(&elector), None);
    }
    assert_eq!(updates(&mut elector, 20_020, 10).layout, Some(Layout::Settled(4)));
    assert_eq!(held_since(&elector), Some(20_020));
}

#[test]
fn a_further_lease_is_left_alone_while_the_first_one_has_another_number_of_buckets() {
    let other = Surroundings { is_layout_own: false, ..AROUND };
    for there in [None, Some(record("", 7)), Some(record("a", 7))] {
        let mut elector = elector(4, false);
        finds(&mut elector, 0, there.clone());
        assert!(wait(&mut elector, 10, other) <= 500, "{there:?}");
        let acts = !matches!(request(&mut elector, 10, AROUND).call, Call::Get);
        assert!(acts, "{there:?}");
    }
}

#[test]
fn a_renewal_without_an_answer_is_none_and_the_lease_is_read_back() {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("", 7)));
    updates(&mut elector, 10, 8);
    let lost = request(&mut elector, 5_100, AROUND);
    assert_eq!(lost.deadline, Duration::from_secs(1));
    elector.answer(&lost, Answer::Unknown(None), at(6_100));
    assert_eq!(held_since(&elector), Some(10), "what is left counts still");
    assert!((75..=125).contains(&wait(&mut elector, 6_100, AROUND)));
    // It was carried out: that is seen, and does not count.
    let look = request(&mut elector, 6_300, AROUND);
    assert!(matches!(look.call, Call::Get));
    assert_eq!(look.deadline, Duration::from_secs(2), "the API server has become slower");
    elector.answer(&look, Answer::Found(record("a", 9)), at(6_310));
    assert_eq!(held_since(&elector), Some(10));
    assert_eq!(updates(&mut elector, 6_310, 10).version, "9");
    assert_eq!(held_since(&elector), Some(6_310));
    // A step without an answer in between, as after a panic or before a release, is the same.
    let _ = request(&mut elector, 11_400, AROUND);
    assert!(matches!(request(&mut elector, 11_500, AROUND).call, Call::Get));
}

#[test]
fn a_call_ends_before_the_permit() {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("", 7)));
    updates(&mut elector, 10, 8);
    let late = request(&mut elector, 9_800, AROUND);
    assert_eq!(late.deadline, Duration::from_millis(210));
    // Nothing is left.
    assert_eq!(request(&mut elector, 10_100, AROUND).deadline, Duration::from_secs(1));
}

#[test]
fn a_lease_that_another_copy_holds_now_is_lost() {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("", 7)));
    updates(&mut elector, 10, 8);
    let refused = request(&mut elector, 5_100, AROUND);
    elector.answer(&refused, Answer::Conflict, at(5_110));
    assert_eq!(held_since(&elector), Some(10), "a person may have labelled it");
    finds(&mut elector, 5_300, Some(record("b", 9)));
    assert_eq!(held_since(&elector), None);
    assert!(wait(&mut elector, 5_310, AROUND) <= 500);
    // The same by its deletion.
    let mut elector = elector_with_lease();
    let refused = request(&mut elector, 5_100, AROUND);
    elector.answer(&refused, Answer::Absent, at(5_110));
    assert_eq!(held_since(&elector), None);
    assert!(matches!(request(&mut elector, 5_110, AROUND).call, Call::Create(_)));
}

fn elector_with_lease() -> Elector {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("", 7)));
    updates(&mut elector, 10, 8);
    elector
}

#[test]
fn a_refusal_is_tried_again_with_back_off_and_when_the_server_asks_for_it() {
    let mut elector = elector_with_lease();
    // the time that the server asks for, the shortest and the longest wait in milliseconds
    let table =
        [(None, 75, 125), (None, 150, 250), (Some(2), 2_000, 2_000), (Some(99), 5_000, 5_000)];
    let mut now = 5_100;
    for (asked, shortest, longest) in table {
        let refused = request(&mut elector, now, AROUND);
        assert!(matches!(refused.call, Call::Update(_)), "nothing has to be read back");
        elector.answer(&refused, Answer::Refused(asked.map(Duration::from_secs)), at(now));
        let wait = u64::try_from(wait(&mut elector, now, AROUND)).unwrap();
        assert!((shortest..=longest).contains(&wait), "{asked:?}: {wait} ms");
        now += wait + 1;
    }
}

#[test]
fn a_release_is_written_once_and_only_if_writes_were_permitted() {
    let mut elector = elector_with_lease();
    elector.release();
    assert_eq!(held_since(&elector), None);
    let released = updates(&mut elector, 100, 9);
    assert_eq!((&*released.version, &*released.holder), ("8", ""));
    assert!(matches!(elector.step(at(120), AROUND), Step::Done));
    // In the announcement of a new Lease others may still write by a deleted one.
    let mut elector = self::elector(1, true);
    finds(&mut elector, 0, None);
    updates(&mut elector, 10, 1);
    elector.release();
    assert!(matches!(elector.step(at(100), AROUND), Step::Done));
    // Another copy's.
    let mut elector = self::elector(1, true);
    finds(&mut elector, 0, Some(record("b", 7)));
    elector.release();
    assert!(matches!(elector.step(at(100), AROUND), Step::Done));
}

#[test]
fn a_copy_lets_others_go_first_for_each_lease_that_it_holds() {
    // the Leases held, the wait in milliseconds
    for (held, expected) in [(0, 0), (1, 537), (4, 650), (64, 800)] {
        let around = Surroundings { held, is_watched: true, ..AROUND };
        for there in [None, Some(record("", 7))] {
            let mut elector = self::elector(8, true);
            finds(&mut elector, 0, there);
            match elector.step(at(10), around) {
                Step::Wait(wait) => assert_eq!(wait.as_millis(), expected),
                step => assert!(expected == 0, "{step:?}"),
            }
        }
    }
}

#[test]
fn a_watched_lease_is_looked_at_seldom_and_after_each_change() {
    let watched = Surroundings { is_watched: true, ..AROUND };
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("b", 7)));
    assert_eq!(wait(&mut elector, 10, AROUND), 500);
    assert_eq!(wait(&mut elector, 10, watched), 3_000);
    elector.nudge();
    assert!(matches!(request(&mut elector, 10, watched).call, Call::Get));
}
