use std::time::Duration;

use chrono::TimeDelta;

use super::*;
use crate::{
    policy::ToZero,
    profile::Profile,
    tests::support::{at, policy_with_windows},
};

/// The time of both clocks.
fn now(second: i64) -> Now {
    Now { wall: at(second), monotonic: Monotonic(Duration::from_secs(second.unsigned_abs())) }
}

/// Records these steps: second, size of the target, recommended size.
fn shadow_of(steps: &[(i64, i32, i32)]) -> Shadow {
    let mut shadow = Shadow::new(steps[0].1);
    for (second, actual, replicas) in steps {
        shadow.record(*actual, *replicas, now(*second));
    }
    shadow
}

/// The bill in seconds: observed, of the target, of the shadow.
fn bill(shadow: &Shadow) -> [i64; 3] {
    let ShadowBill { milliseconds, actual, recommended } = shadow.bill();
    [milliseconds, actual, recommended].map(|each| each / 1000)
}

#[test]
fn each_time_is_billed_by_the_sizes_at_its_beginning() {
    let table = [
        (&[(0, 4, 4)][..], [0, 0, 0]),
        (&[(0, 4, 4), (10, 4, 2)], [10, 40, 40]),
        (&[(0, 4, 4), (10, 4, 2), (30, 6, 3)], [30, 120, 80]),
        (&[(0, 4, 0), (10, 0, 0), (30, 1, 1)], [30, 40, 0]),
    ];
    for (steps, expected) in table {
        assert_eq!(bill(&shadow_of(steps)), expected, "{steps:?}");
    }
}

#[test]
fn a_step_more_in_between_changes_no_bill() {
    let few = shadow_of(&[(0, 4, 2), (30, 5, 3), (50, 5, 3)]);
    let many = shadow_of(&[(0, 4, 2), (7, 4, 2), (19, 4, 2), (30, 5, 3), (31, 5, 3), (50, 5, 3)]);
    assert_eq!(few.bill(), many.bill());
}

#[test]
fn unknown_time_is_not_billed() {
    let mut shadow = shadow_of(&[(0, 4, 2), (10, 4, 2)]);
    shadow.interrupt();
    shadow.record(9, 9, now(500));
    assert_eq!(bill(&shadow), [10, 40, 20]);
    shadow.record(9, 9, now(501));
    assert_eq!(bill(&shadow), [11, 49, 29]);
    let mut later =
        Shadow::restored(shadow.replicas(), shadow.hours().to_vec(), shadow.differences().to_vec());
    later.record(9, 9, now(900));
    assert_eq!((bill(&later), later.replicas()), ([11, 49, 29], 9));
}

#[test]
fn a_day_is_kept_by_the_hour() {
    let mut shadow = Shadow::new(2);
    for minute in 0..60 * 30 {
        shadow.record(2, 1, now(minute * 60));
    }
    assert_eq!(shadow.hours().len(), 24);
    let hours: Vec<i64> = shadow.hours().iter().map(|hour| hour.hour).collect();
    assert!(hours.windows(2).all(|pair| pair[0] == pair[1] + 1), "{hours:?}");
    let whole = ShadowBill { milliseconds: 3_600_000, actual: 7_200_000, recommended: 3_600_000 };
    assert!(shadow.hours()[1..].iter().all(|hour| hour.bill == whole), "{:?}", shadow.hours());
    // The wall clock is set back by five hours: the latest hour goes on.
    let back = Now { wall: at(60 * 60 * 25), ..now(60 * 60 * 30) };
    shadow.record(2, 1, back);
    assert_eq!(shadow.hours().len(), 24);
    assert_eq!(shadow.hours()[0].hour, hours[0]);
}

#[test]
fn a_difference_has_one_direction_and_its_largest_numbers() {
    let steps = [
        (0, 4, 4),
        (10, 4, 5),
        (20, 4, 8),
        (30, 6, 8),
        (40, 8, 8),
        (50, 9, 8),
        (60, 7, 8),
        (70, 7, 7),
    ];
    let shadow = shadow_of(&steps);
    let found: Vec<_> = shadow
        .differences()
        .iter()
        .map(|each| {
            let until = each.until.map(|until| (until - at(0)).num_seconds());
            ((each.since - at(0)).num_seconds(), until, each.actual, each.recommended)
        })
        .collect();
    assert_eq!(found, [(60, Some(70), 7, 8), (50, Some(60), 9, 8), (10, Some(40), 4, 8)]);

    let swings: Vec<_> = (0..100).map(|second| (second, 4, 4 + (second % 2) as i32)).collect();
    let shadow = shadow_of(&swings);
    assert_eq!(shadow.differences().len(), 10);
    assert_eq!(shadow.differences()[0].since, at(99));
    assert_eq!(shadow.differences()[0].until, None);
}

#[test]
fn a_target_that_was_switched_off_is_followed_to_zero_and_back() {
    let never = policy_with_windows(Profile::Default, 0, 0);
    let to_zero = Some(ToZero { after: TimeDelta::seconds(60) });
    let at_times = Policy { min_replicas: 0, to_zero, ..never.clone() };
    // the way to zero, size of the shadow, of the target; size that the decision starts from
    let table = [
        (&never, 5, 8, 5),
        (&never, 5, 0, 0),
        (&never, 0, 8, 8),
        (&at_times, 5, 0, 5),
        (&at_times, 0, 8, 0),
    ];
    for (policy, replicas, actual, expected) in table {
        let shadow = Shadow::new(replicas);
        assert_eq!(shadow.size(policy, actual), expected, "{replicas} {actual}");
    }
}
