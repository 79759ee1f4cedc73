use super::*;

const WISHES: Surroundings = Surroundings { evening: Evening::Wish, ..AROUND };
const GIVES: Surroundings = Surroundings { evening: Evening::Give, ..AROUND };
const WATCHED: Surroundings = Surroundings { is_watched: true, ..AROUND };
const BUSY: Surroundings = Surroundings { is_idle: false, ..GIVES };

/// A Lease of one bucket that another copy wishes for.
fn wanted(holder: &str, wanted_by: &str, version: u32) -> Record {
    Record { wanted_by: Some(wanted_by.to_owned()), ..record(holder, version) }
}

/// Expects an update, and returns its record.
fn update(elector: &mut Elector, millis: u64, around: Surroundings) -> (Request, Record) {
    let request = request(elector, millis, around);
    match request.call.clone() {
        Call::Update(record) => (request, record),
        call => panic!("{call:?} at {millis}"),
    }
}

/// An elector that has seen another copy renew its Lease at second 2, by a look half a second after
/// the one before.
fn follower() -> Elector {
    let mut elector = elector(1, true);
    finds(&mut elector, 0, Some(record("b", 7)));
    finds(&mut elector, 1_490, Some(record("b", 7)));
    finds(&mut elector, 2_000, Some(record("b", 8)));
    elector
}

/// An elector that holds the Lease since second 5.1, which another copy wishes for since then.
fn holder() -> Elector {
    let mut elector = elector_with_lease();
    updates(&mut elector, 5_100, 9);
    elector.nudge();
    finds(&mut elector, 5_200, Some(wanted("a", "b", 10)));
    elector
}

#[test]
fn a_wish_is_written_just_after_a_renewal_and_changes_nothing_else() {
    let mut elector = follower();
    let (request, sent) = update(&mut elector, 2_020, WISHES);
    assert_eq!(sent, Record { wanted_by: Some("a".to_owned()), ..record("b", 8) });
    assert!(elector.has_asked());
    elector.answer(&request, Answer::Found(Record { version: "9".to_owned(), ..sent }), at(2_500));
    assert!(!elector.has_asked() && elector.held_from().is_none());
    // The wish is no sign of life of its holder, so the Lease runs out as it would without.
    let until = elector.unchanged_since().unwrap().after(DURATION);
    assert_eq!(until.0.as_millis(), 17_010);

    // It is too late, no renewal was seen, and something else may have changed.
    for step in [follower().step(at(3_600), WISHES), {
        let mut elector = self::elector(1, true);
        finds(&mut elector, 0, Some(record("b", 7)));
        elector.step(at(20), WISHES)
    }] {
        let is_wish = step.is_wish_of("a");
        assert!(!is_wish, "{step:?}");
    }
    let mut elector = follower();
    elector.nudge();
    assert!(matches!(self::request(&mut elector, 2_020, WISHES).call, Call::Get));
}

#[test]
fn no_wish_is_written_over_another_one_or_into_another_number_of_buckets() {
    let settled = |buckets| Record { layout: Some(Layout::Settled(buckets)), ..record("b", 9) };
    let announced = Record { layout: Some(Layout::Announced(1)), ..record("b", 9) };
    // the record, whether a wish is written
    let table = [
        (settled(1), true),
        (settled(2), false),
        (announced, false),
        (wanted("b", "c", 9), false),
        (wanted("b", "a", 9), false),
    ];
    for (record, expected) in table {
        let mut elector = follower();
        finds(&mut elector, 2_510, Some(record.clone()));
        let step = elector.step(at(2_530), WISHES);
        assert_eq!(step.is_wish_of("a"), expected, "{record:?}");
    }
}

#[test]
fn a_lease_is_given_when_no_write_is_on_its_way_and_its_renewals_end() {
    let mut elector = holder();
    assert!(wait(&mut elector, 5_210, AROUND) > 4_000, "it is not to be given");
    assert!(!elector.is_giving());
    // Writes are stopped first, and the look at them comes after that.
    assert_eq!(wait(&mut elector, 5_220, GIVES), 5);
    assert!(elector.is_giving() && elector.held_from().is_some());
    assert_eq!(wait(&mut elector, 5_225, BUSY), 5);
    let (request, given) = update(&mut elector, 5_230, AROUND);
    assert_eq!(given, Record { holder: String::new(), ..wanted("a", "b", 10) });
    assert_eq!(held_since(&elector), None, "it may have arrived from now on");
    // Without an answer, it is read back and written again.
    elector.answer(&request, Answer::Unknown(None), at(6_230));
    assert_eq!(held_since(&elector), None);
    finds(&mut elector, 6_500, Some(wanted("a", "b", 10)));
    let (request, _) = update(&mut elector, 6_520, AROUND);
    elector.answer(
        &request,
        Answer::Found(Record { version: "11".to_owned(), ..given }),
        at(6_530),
    );
    assert!(!elector.is_giving());
    // It takes part still, and lets the other copy go first.
    assert_eq!(wait(&mut elector, 6_540, WATCHED), 2_000);
}

#[test]
fn a_lease_whose_writes_take_too_long_is_kept_and_not_given_for_two_durations() {
    let mut elector = holder();
    assert_eq!(wait(&mut elector, 5_220, GIVES), 5);
    assert_eq!(wait(&mut elector, 12_710, BUSY), 5);
    let (request, kept) = update(&mut elector, 12_720, BUSY);
    assert_eq!((&*kept.holder, kept.wanted_by.as_ref()), ("a", None));
    assert!(!elector.is_giving() && held_since(&elector) == Some(5_100));
    elector.answer(&request, Answer::Found(wanted("a", "b", 11)), at(12_730));
    assert!(wait(&mut elector, 12_740, GIVES) > 100 && !elector.is_giving());
    // the second of a renewal, whether it is given after that
    for (second, is_given) in [(18, false), (24, false), (30, false), (36, false), (43, true)] {
        updates(&mut elector, second * 1_000, 12);
        elector.nudge();
        finds(&mut elector, second * 1_000 + 50, Some(wanted("a", "b", 13)));
        let wait = wait(&mut elector, second * 1_000 + 60, GIVES);
        assert_eq!((wait == 5, elector.is_giving()), (is_given, is_given), "{second}");
    }
}

#[test]
fn a_renewal_and_a_takeover_end_a_wish() {
    let mut elector = holder();
    assert_eq!(updates(&mut elector, 10_200, 11).wanted_by, None);
    let mut elector = self::elector(1, true);
    finds(&mut elector, 0, Some(wanted("", "c", 7)));
    assert_eq!(wait(&mut elector, 10, WATCHED), 2_000);
    assert_eq!(updates(&mut elector, 2_010, 8).wanted_by, None);
    // At the end of the process, the next copy is to begin at once, whichever it is.
    let mut elector = holder();
    elector.release();
    let (_, released) = update(&mut elector, 5_300, AROUND);
    assert_eq!((&*released.holder, released.wanted_by), ("", None));
}

#[test]
fn the_copy_that_a_lease_is_given_to_goes_first() {
    // the Leases held, the record, the wait in milliseconds
    let table = [
        (0, wanted("", "a", 7), 0),
        (3, wanted("", "a", 7), 0),
        (0, wanted("", "c", 7), 2_000),
        (2, wanted("", "c", 7), 2_575),
        (8, wanted("", "c", 7), 2_800),
        (8, record("", 7), 800),
    ];
    for (held, there, expected) in table {
        let elector = elector(8, true);
        let courtesy = elector.courtesy(&there, Surroundings { held, ..AROUND });
        assert_eq!(courtesy.as_millis(), expected, "{held} {there:?}");
    }
    // The wish of a Lease that has run out is none of a copy that was given it.
    let courtesy = elector(1, true).courtesy(&wanted("b", "c", 7), AROUND);
    assert_eq!(courtesy, Duration::ZERO);
}

#[test]
fn a_holder_looks_at_a_change_by_others_before_its_next_renewal() {
    let mut elector = elector_with_lease();
    assert!(wait(&mut elector, 30, AROUND) > 4_000);
    elector.nudge();
    assert!(matches!(request(&mut elector, 40, AROUND).call, Call::Get));
    // A look that fails holds up no renewal.
    let mut elector = elector_with_lease();
    elector.nudge();
    let look = request(&mut elector, 4_000, AROUND);
    elector.answer(&look, Answer::Unknown(None), at(5_000));
    assert!(matches!(request(&mut elector, 5_200, AROUND).call, Call::Update(_)));
}
