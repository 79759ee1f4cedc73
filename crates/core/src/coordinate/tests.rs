mod properties;

use super::*;
use crate::units::Milli;

#[allow(clippy::unnecessary_wraps)] // As in `SharedLimits`.
fn ratio(min: i64, max: i64) -> Option<Ratio> {
    Some(Ratio { between: [0, 1], min: Some(Milli(min)), max: Some(Milli(max)) })
}

fn limits(ratio: Option<Ratio>, max_replicas: i64) -> SharedLimits {
    SharedLimits { ratio, max_replicas, max_gpus: None }
}

/// Returns a role of 1 to 20 replicas with one GPU each and without limits of rate.
fn role(current: i32, demand: i32) -> RoleDemand {
    RoleDemand {
        current,
        demand,
        floor: 1,
        ceiling: 20,
        max: 20,
        existing: current,
        lagging: 0,
        gpus: 1,
        fixed: false,
    }
}

/// Returns the coordinated sizes and their adjustments.
fn sizes(limits: &SharedLimits, roles: &[RoleDemand]) -> (Vec<i32>, Vec<Option<Adjustment>>) {
    coordinate(limits, roles).into_iter().map(|size| (size.replicas, size.adjustment)).unzip()
}

const FREE: [Option<Adjustment>; 2] = [None, None];

#[test]
fn roles_get_their_demand_within_the_ratio_and_the_limits() {
    let (by_ratio, by_limit) = (Some(Adjustment::Ratio), Some(Adjustment::SharedLimit));
    let by_room = Some(Adjustment::WaitingForRoom);
    // min, max, limit; current, demand of both; sizes and adjustments
    let table = [
        ((500, 2000, 40), [(2, 3), (2, 3)], [3, 3], FREE),
        // The smaller role follows the larger, up and down.
        ((500, 2000, 40), [(2, 8), (2, 2)], [8, 4], [None, by_ratio]),
        ((500, 2000, 40), [(8, 1), (8, 8)], [4, 8], [by_ratio, None]),
        ((500, 2000, 40), [(1, 1), (2, 3)], [2, 3], [by_ratio, None]),
        // The ratio is 1.
        ((1000, 1000, 40), [(2, 5), (2, 3)], [5, 5], [None, by_ratio]),
        // No whole numbers meet this ratio, so the sizes are as near as possible.
        ((1414, 1414, 40), [(1, 2), (1, 1)], [3, 2], [by_ratio, by_ratio]),
        // Where the smaller role is at its maximum, the larger is limited or shrinks.
        ((250, 2000, 60), [(2, 20), (20, 20)], [20, 20], FREE),
        ((2000, 4000, 60), [(8, 8), (4, 20)], [20, 10], [by_ratio, by_ratio]),
        ((2000, 4000, 60), [(20, 20), (15, 15)], [20, 10], [None, by_ratio]),
        // The limit: guaranteed replicas first, then one at a time.
        ((100, 9000, 10), [(2, 8), (2, 8)], [5, 5], [by_limit, by_limit]),
        ((100, 9000, 10), [(8, 10), (2, 10)], [8, 2], [by_limit, by_limit]),
        ((100, 9000, 10), [(2, 4), (2, 12)], [3, 7], [by_limit, by_limit]),
        // The limit and the ratio: the smaller role gets what the larger needs of it, and no more.
        ((500, 2000, 10), [(1, 10), (1, 1)], [6, 3], [by_limit, by_ratio]),
        ((2001, 9000, 5), [(4, 1), (1, 3)], [3, 1], [by_ratio, by_limit]),
        // Load shifts, and the demand exceeds the limit: a role with a small demand reserves
        // nothing for a demand that cannot be met.
        ((500, 2000, 12), [(4, 20), (8, 1)], [4, 4], [by_limit, by_ratio]),
        ((500, 2000, 12), [(4, 20), (4, 1)], [8, 4], [by_limit, by_ratio]),
        // The ratio is violated and there is no room: the larger role shrinks.
        ((500, 2000, 10), [(8, 10), (2, 10)], [6, 2], [by_limit, by_limit]),
        // The limit is violated: the role with the largest granted fraction shrinks.
        ((100, 9000, 6), [(5, 5), (5, 10)], [2, 4], [by_limit, by_limit]),
        // Room comes when the replicas of the other role are gone.
        ((100, 9000, 10), [(8, 4), (2, 6)], [4, 2], [None, by_room]),
        ((100, 9000, 10), [(7, 4), (2, 6)], [4, 3], [None, by_room]),
    ];
    for ((min, max, limit), demands, expected, adjustments) in table {
        let roles = demands.map(|(current, demand)| role(current, demand));
        let found = sizes(&limits(ratio(min, max), limit), &roles);
        assert_eq!(
            found,
            (expected.to_vec(), adjustments.to_vec()),
            "{min} to {max}, {limit}: {demands:?}"
        );
    }
}

#[test]
fn without_a_ratio_only_the_limits_apply() {
    let roles = [role(1, 9), role(1, 3), role(1, 3)];
    assert_eq!(sizes(&limits(None, 40), &roles).0, [9, 3, 3]);
    assert_eq!(sizes(&limits(None, 10), &roles).0, [6, 2, 2]);
    // The first role has eight GPUs per replica.
    let large = [RoleDemand { gpus: 8, ..roles[0] }, roles[1], roles[2]];
    let gpus = |max| SharedLimits { max_gpus: Some(max), ..limits(None, 40) };
    assert_eq!(sizes(&gpus(40), &large).0, [4, 3, 3]);
    // Roles wait for free GPUs too.
    let leaving = [RoleDemand { gpus: 8, ..role(4, 2) }, role(1, 9)];
    let expected = (vec![2, 2], vec![None, Some(Adjustment::WaitingForRoom)]);
    assert_eq!(sizes(&gpus(34), &leaving), expected);
}

#[test]
fn a_role_below_its_floor_is_given_room() {
    let below = RoleDemand { floor: 3, ceiling: 3, ..role(1, 3) };
    assert_eq!(sizes(&limits(None, 9), &[below, role(8, 8)]).0, [1, 6]);
    assert_eq!(sizes(&limits(None, 9), &[below, role(6, 8)]).0, [3, 6]);
}

#[test]
fn numbers_may_be_extreme() {
    let endless =
        |current, demand| RoleDemand { ceiling: i32::MAX, max: i32::MAX, ..role(current, demand) };
    let of =
        |(min, max), roles: [RoleDemand; 2]| sizes(&limits(ratio(min, max), i64::MAX), &roles).0;
    assert_eq!(of((i64::MAX, i64::MAX), [endless(1, 1), endless(1, 9)]), [i32::MAX, 1]);
    assert_eq!(of((1, i64::MAX), [endless(1, 1), endless(1, i32::MAX)]), [2_147_484, i32::MAX]);
    assert_eq!(of((1, 1), [endless(2, 2), endless(1, 1)]), [2, 2000]);
}

/// A ratio that few whole numbers meet, beside a role that grows by many replicas; its time is
/// measured by `cargo bench --bench coordinate`.
#[test]
fn a_role_grows_far_beside_a_narrow_ratio() {
    let many =
        |current, demand| RoleDemand { ceiling: 100_000, max: 100_000, ..role(current, demand) };
    let roles = [many(617, 1200), many(1000, 1945), many(1, 100_000)];
    assert_eq!(sizes(&limits(ratio(617, 617), 100_000), &roles).0, [617, 1000, 98_383]);
}

#[test]
fn a_role_waits_for_the_other_if_that_lags() {
    let limits = limits(ratio(500, 2000), 40);
    let lagging = |current, demand, lagging| RoleDemand { lagging, ..role(current, demand) };
    let by_lag = Some(Adjustment::Lagging);
    // the first, the second; sizes and adjustments
    let table = [
        // Two of four have not started: the first goes to four.
        ((role(3, 8), lagging(4, 4, 2)), [4, 4], [by_lag, None]),
        // None has started: the first stays.
        ((role(3, 8), lagging(2, 2, 2)), [3, 2], [by_lag, None]),
        // The first scales down freely.
        ((role(3, 2), lagging(4, 4, 4)), [2, 4], FREE),
        // A role that lags is not raised for the other, and may grow by its own demand.
        ((role(3, 20), lagging(2, 2, 0)), [20, 10], [None, Some(Adjustment::Ratio)]),
        ((role(3, 20), lagging(2, 2, 1)), [3, 2], [by_lag, None]),
        ((role(3, 8), lagging(2, 6, 1)), [3, 6], [by_lag, None]),
    ];
    for ((first, second), expected, adjustments) in table {
        let found = sizes(&limits, &[first, second]);
        assert_eq!(found, (expected.to_vec(), adjustments.to_vec()), "{first:?} {second:?}");
    }
}

#[test]
fn a_size_in_doubt_or_limited_stays() {
    let held = |current| RoleDemand { floor: current, ..role(current, current) };
    // It shrinks neither for the limit nor for the ratio.
    assert_eq!(sizes(&limits(None, 5), &[held(4), role(4, 4)]).0, [4, 1]);
    assert_eq!(sizes(&limits(ratio(500, 2000), 10), &[held(8), role(2, 10)]).0, [8, 2]);
    // The other role of one that grows slowly waits, and does not shrink.
    let slow = RoleDemand { ceiling: 3, ..role(2, 2) };
    assert_eq!(sizes(&limits(ratio(500, 2000), 40), &[role(8, 10), slow]).0, [8, 3]);
    assert_eq!(sizes(&limits(ratio(500, 2000), 40), &[role(4, 10), slow]).0, [6, 3]);
    // A size that was set by hand takes nothing from other roles, and leaves them no room.
    let fixed = RoleDemand { fixed: true, floor: 12, ceiling: 12, ..role(12, 12) };
    assert_eq!(sizes(&limits(None, 10), &[fixed, role(4, 9)]).0, [12, 4]);
    assert_eq!(sizes(&limits(None, 10), &[fixed, role(4, 2)]).0, [12, 2]);
    // A role that was set to zero by hand does not limit the other.
    let off = RoleDemand { floor: 0, ceiling: 0, ..role(0, 0) };
    assert_eq!(sizes(&limits(ratio(500, 2000), 40), &[role(8, 10), off]).0, [10, 0]);
}

#[test]
fn writes_have_an_order() {
    let strict = limits(ratio(1000, 1000), 40);
    let wide = limits(ratio(500, 2000), 40);
    // limits, sizes, goal, writable sizes; next role
    let table = [
        // The write that keeps the ratio goes first.
        (&wide, [4, 2], [8, 4], [Some(8), Some(4)], Some(1)),
        (&wide, [4, 4], [8, 4], [Some(8), None], Some(0)),
        (&wide, [8, 4], [4, 2], [Some(4), Some(2)], Some(0)),
        // A write that violates the ratio waits until the other role has drained.
        (&wide, [8, 4], [2, 2], [Some(2), None], Some(0)),
        (&wide, [6, 6], [2, 2], [Some(2), None], None),
        (&wide, [6, 6], [2, 2], [Some(4), None], Some(0)),
        (&strict, [6, 6], [2, 2], [Some(2), None], None),
        (&strict, [6, 6], [2, 2], [Some(2), Some(5)], None),
        (&strict, [6, 6], [2, 2], [Some(2), Some(2)], Some(0)),
        (&strict, [2, 6], [2, 2], [None, Some(2)], Some(1)),
        (&strict, [2, 2], [2, 2], [None, None], None),
    ];
    for (limits, sizes, goal, writable, expected) in table {
        let next = next_write(limits, &sizes, &goal, &writable);
        assert_eq!(next, expected, "{:?} {sizes:?} {goal:?} {writable:?}", limits.ratio);
    }
}
