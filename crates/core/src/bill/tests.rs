//! Bills as tables and as properties.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::tests::support::at;
use ReplicaReason::{Draining, HeldByDoubt, Needed, Starting};

fn ms(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap()
}

fn replica(key: &str, start: i64, reason: ReplicaReason) -> BilledReplica {
    BilledReplica { key: key.to_owned(), start: at(start), deadline: None, gpus: 2, reason }
}

fn ended(key: &str, start: i64, end: i64) -> EndedReplica {
    EndedReplica { key: key.to_owned(), start: at(start), end: at(end), gpus: 2 }
}

/// Returns the seconds of replicas by reason, and checks that their GPUs take twice as long.
fn seconds(amounts: &Amounts) -> Vec<(ReplicaReason, u64)> {
    let of = |(reason, amount): (&ReplicaReason, &Amount)| {
        assert_eq!(amount.gpu_ms, 2 * amount.replica_ms, "{reason:?}");
        assert_eq!(amount.replica_ms % 1000, 0, "{reason:?}");
        (*reason, amount.replica_ms / 1000)
    };
    amounts.iter().map(of).collect()
}

/// A step: its replicas, those that have gone, its second, and its amounts.
type Row = (Vec<BilledReplica>, Vec<EndedReplica>, i64, &'static [(ReplicaReason, u64)]);

fn check(ledger: &mut Ledger, table: impl IntoIterator<Item = Row>) {
    for (row, (replicas, ended, now, expected)) in table.into_iter().enumerate() {
        let amounts = ledger.bill(&replicas, &ended, at(now));
        assert_eq!(seconds(&amounts), expected, "row {row}");
    }
}

#[test]
fn replicas_are_billed_by_the_reason_of_the_earlier_step() {
    let [a, b] = ["a", "b"].map(|key| replica(key, 0, Needed));
    let draining = |key| replica(key, 0, Draining);
    let mut ledger = Ledger::default();
    check(
        &mut ledger,
        [
            // What was there before the first step is not billed.
            (vec![a.clone(), b.clone()], vec![], 100, &[][..]),
            (vec![a.clone(), draining("b")], vec![], 110, &[(Needed, 20)]),
            // `c` has come 4 s before the step, and `b` has gone after 3 s.
            (
                vec![a.clone(), replica("c", 116, Needed)],
                vec![ended("b", 0, 113)],
                120,
                &[(Needed, 10), (Starting, 4), (Draining, 3)],
            ),
            // An end that is told again changes nothing, one between two steps is billed, and one
            // that is not told is taken to be in the middle.
            (
                vec![a.clone()],
                vec![ended("b", 0, 113), ended("d", 121, 126)],
                130,
                &[(Needed, 15), (Starting, 5)],
            ),
            // It is not gone later than by its deadline.
            (vec![BilledReplica { deadline: Some(at(134)), ..draining("a") }], vec![], 130, &[]),
            (vec![], vec![], 140, &[(Draining, 2)]),
            // A clock that was set back bills nothing.
            (vec![a.clone()], vec![], 50, &[]),
        ],
    );
}

#[test]
fn a_group_that_is_created_anew_is_another_replica() {
    let mut ledger = Ledger::default();
    check(
        &mut ledger,
        [
            (vec![replica("group 0", 0, Needed)], vec![], 100, &[][..]),
            (
                vec![replica("group 0", 107, Needed)],
                vec![ended("group 0", 0, 105)],
                110,
                &[(Needed, 5), (Starting, 3)],
            ),
            // A pod of the group was replaced, and the others stay.
            (
                vec![replica("group 0", 108, Needed)],
                vec![ended("group 0", 107, 113)],
                120,
                &[(Needed, 10)],
            ),
            // A replica that the watch has shown after the time of the step stays the same one.
            (vec![replica("late", 121, Needed)], vec![ended("group 0", 108, 120)], 120, &[]),
            (vec![replica("late", 121, Needed)], vec![], 130, &[(Needed, 10)]),
        ],
    );
}

#[test]
fn a_restart_bills_the_gap_by_the_record() {
    let begin = || {
        let mut ledger = Ledger::default();
        let draining = BilledReplica { deadline: Some(at(130)), ..replica("c", 2, Draining) };
        let replicas = [replica("a", 0, Needed), replica("b", 1, HeldByDoubt), draining];
        ledger.bill(&replicas, &[], at(100));
        Ledger::restored(&ledger.record().unwrap())
    };
    let [a, b] = [("a", 0), ("b", 1)].map(|(key, at)| replica(key, at, Needed));
    let ending =
        |deadline| BilledReplica { deadline: Some(at(deadline)), ..replica("c", 2, Needed) };
    let table: [Row; 6] = [
        // Another one has come in the place of `b`.
        (
            vec![a.clone(), ending(130), replica("d", 180, Needed)],
            vec![],
            200,
            &[(Needed, 100), (Starting, 20), (Draining, 100), (HeldByDoubt, 80)],
        ),
        (
            vec![a.clone(), b.clone(), ending(130)],
            vec![],
            200,
            &[(Needed, 100), (Draining, 100), (HeldByDoubt, 100)],
        ),
        // The one that was on its way out has gone: at a known time, or before its deadline.
        (
            vec![a.clone(), b.clone()],
            vec![ended("c", 2, 120)],
            200,
            &[(Needed, 100), (Draining, 20), (HeldByDoubt, 100)],
        ),
        (vec![a.clone(), b], vec![], 200, &[(Needed, 100), (Draining, 15), (HeldByDoubt, 100)]),
        // One has come, and another has come and gone.
        (
            vec![a.clone(), replica("d", 150, Needed)],
            vec![ended("b", 1, 110), ended("c", 2, 120), ended("e", 150, 160)],
            200,
            &[(Needed, 100), (Starting, 60), (Draining, 10), (HeldByDoubt, 20)],
        ),
        (vec![], vec![], 120, &[(Needed, 10), (Draining, 10), (HeldByDoubt, 10)]),
    ];
    for row in table {
        check(&mut begin(), [row]);
    }
}

#[test]
fn a_day_forgets_its_hours_one_by_one() {
    let at = |second: i64| ms(1000 * second);
    let hour = 3600;
    let one = [replica("a", 0, Needed)];
    let mut ledger = Ledger::default();
    ledger.bill(&one, &[], at(0));
    for now in 1..=30 {
        ledger.bill(&one, &[], at(now * hour));
    }
    let day = ledger.record().unwrap().day();
    // The hour that has just begun is the first of the 24.
    assert_eq!(seconds(&day.amounts), [(Needed, 23 * 3600)]);
    assert_eq!((day.covered_ms, day.peak), (23 * 3_600_000, Counts { replicas: 1, gpus: 2 }));
    // A gap of years is billed as the day that it ends with.
    ledger.bill(&one, &[], at(100_000 * hour + 60));
    let day = ledger.record().unwrap().day();
    assert_eq!(seconds(&day.amounts), [(Needed, 23 * 3600 + 60)]);
    assert_eq!(ledger.record().unwrap().hours.len(), 24);
}

/// A day of a ledger and that of its status took twice the memory of one.
#[test]
fn records_share_the_hours_that_have_passed() {
    let hour = 3600;
    let mut ledger = Ledger::default();
    let replicas = [replica("a", 0, Needed)];
    for second in [0, hour, 2 * hour + 60] {
        ledger.bill(&replicas, &[], at(second));
    }
    let earlier = ledger.record().unwrap();
    let kept = earlier.clone();
    ledger.bill(&replicas, &[], at(2 * hour + 120));
    let later = ledger.record().unwrap();
    let is_shared: Vec<bool> =
        earlier.hours.iter().zip(&later.hours).map(|(a, b)| Arc::ptr_eq(a, b)).collect();
    assert_eq!(is_shared, [true, true, false]);
    assert_eq!(earlier, kept, "an hour that goes on leaves an earlier record as it was");
    let covered = [&earlier, &later].map(|record| record.hours[2].covered_ms);
    assert_eq!(covered[1] - covered[0], 60_000);
}

#[test]
fn the_peak_is_that_of_replicas_that_are_not_on_their_way_out() {
    let mut ledger = Ledger::default();
    let replicas = |reasons: &[ReplicaReason]| -> Vec<BilledReplica> {
        let keys = reasons.iter().enumerate();
        keys.map(|(key, reason)| replica(&key.to_string(), 0, *reason)).collect()
    };
    ledger.bill(&replicas(&[Needed]), &[], at(0));
    ledger.bill(&replicas(&[Needed, Starting, Draining, Draining]), &[], at(10));
    ledger.bill(&replicas(&[Needed]), &[], at(20));
    let peak = || Counts { replicas: 2, gpus: 4 };
    assert_eq!(ledger.record().unwrap().day().peak, peak());
    // The peak of an hour is forgotten with it, and the next hour begins with what was there.
    ledger.bill(&replicas(&[Needed]), &[], at(24 * 3600));
    assert_eq!(ledger.record().unwrap().day().peak, Counts { replicas: 1, gpus: 2 });
}

/// A replica by its start, the time for which it exists, and its GPUs; in milliseconds.
type Life = (i64, i64, u32);

/// The end of each run.
const END: i64 = 40 * 3_600_000;

fn lives() -> impl Strategy<Value = Vec<Life>> {
    prop::collection::vec((0..END, 1..END / 4, 0_u32..9), 0..12)
}

/// Bills steps at these times, with a restart before those that are marked, and returns the ledger
/// and the sum of its amounts.
fn run(lives: &[Life], steps: &[(i64, bool)], reason: ReplicaReason) -> (Ledger, Amounts) {
    let (mut ledger, mut sums, mut latest) = (Ledger::default(), Amounts::new(), 0);
    for (now, is_restart) in steps {
        if *is_restart && let Some(record) = ledger.record() {
            ledger = Ledger::restored(&record);
        }
        let known = || lives.iter().enumerate().filter(|(_, (start, ..))| start <= now);
        let exists = |(_, (start, lasts, _)): &(usize, &Life)| start + lasts > *now;
        let key = |key: usize| key.to_string();
        let replicas: Vec<_> = known()
            .filter(exists)
            .map(|(place, (start, _, gpus))| BilledReplica {
                key: key(place),
                start: ms(*start),
                deadline: None,
                gpus: *gpus,
                reason,
            })
            .collect();
        let gone: Vec<_> = known()
            .filter(|life| !exists(life))
            .map(|(place, (start, lasts, gpus))| EndedReplica {
                key: key(place),
                start: ms(*start),
                end: ms(start + lasts),
                gpus: *gpus,
            })
            .collect();
        add(&mut sums, &ledger.bill(&replicas, &gone, ms(*now)));
        latest = latest.max(*now);
    }
    (ledger, sums)
}

fn total(amounts: &Amounts) -> Amount {
    let mut total = Amount::default();
    for amount in amounts.values() {
        total.add(*amount);
    }
    total
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_sum_of_the_reasons_is_the_time_of_the_replicas(
        lives in lives(),
        steps in prop::collection::btree_map(0..END, any::<bool>(), 2..40),
    ) {
        let steps: Vec<_> = steps.into_iter().collect();
        let (_, sums) = run(&lives, &steps, Needed);
        let (first, last) = (steps[0].0, steps[steps.len() - 1].0);
        let time = |(start, lasts, _): &Life| (start + lasts).min(last) - (*start).max(first);
        let time: i64 = lives.iter().map(|life| time(life).max(0)).sum();
        prop_assert_eq!(total(&sums).replica_ms, time as u64);
    }

    #[test]
    fn more_steps_and_restarts_change_no_sum(
        lives in lives(),
        ends in (0..END / 2, END / 2..END),
        further in prop::collection::btree_map(0..END, any::<bool>(), 0..30),
    ) {
        // All replicas are there from the beginning, so none is starting.
        let lives: Vec<_> = lives.iter().map(|(_, lasts, _)| (0, *lasts, 3)).collect();
        let (first, last) = ends;
        let few = [(first, false), (last, false)];
        let between = further.into_iter().filter(|(at, _)| first < *at && *at < last);
        let many: Vec<_> = [few[0]].into_iter().chain(between).chain([few[1]]).collect();
        let ((few, few_sums), (many, sums)) = (run(&lives, &few, Needed), run(&lives, &many, Needed));
        prop_assert_eq!(few_sums, sums);
        let [few, many] = [few, many].map(|ledger| ledger.record().unwrap().day());
        prop_assert_eq!((few.amounts, few.covered_ms), (many.amounts, many.covered_ms));
    }

    #[test]
    fn a_record_that_is_extended_or_merged_keeps_its_sums(
        lives in lives(),
        steps in prop::collection::btree_map(0..END, any::<bool>(), 2..20),
        later in 0..END / 40,
        width in 1_i64..24,
    ) {
        let steps: Vec<_> = steps.into_iter().collect();
        let (mut ledger, _) = run(&lives, &steps, Needed);
        let record = ledger.record().unwrap();
        prop_assert_eq!(record.merged(width).day(), record.day());
        let now = record.until + TimeDelta::milliseconds(later);
        let there = lives.iter().enumerate().filter(|(_, (start, lasts, _))| {
            (*start..start + lasts).contains(&record.until.timestamp_millis())
        });
        let replicas: Vec<_> = there
            .map(|(place, (start, _, gpus))| BilledReplica {
                key: place.to_string(),
                start: ms(*start),
                deadline: None,
                gpus: *gpus,
                reason: Needed,
            })
            .collect();
        ledger.bill(&replicas, &[], now);
        prop_assert_eq!(record.extended(now).day(), ledger.record().unwrap().day());
    }
}
