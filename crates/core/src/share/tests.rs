use proptest::prelude::*;

use super::*;
use crate::Milli;

#[allow(clippy::unnecessary_wraps)] // As it stands in `Terms`.
fn ratio(min: i64, max: i64) -> Option<Ratio> {
    Some(Ratio { between: [0, 1], min: Some(Milli(min)), max: Some(Milli(max)) })
}

fn terms(ratio: Option<Ratio>, max_replicas: i64) -> Terms {
    Terms { ratio, max_replicas, max_gpus: None }
}

/// A role of 1 to 20 replicas of one GPU each, without limits of rate.
fn part(current: i32, wanted: i32) -> Part {
    Part {
        current,
        wanted,
        lowest: 1,
        highest: 20,
        most: 20,
        exist: current,
        lagging: 0,
        gpus: 1,
        by_hand: false,
    }
}

fn sizes(terms: &Terms, parts: &[Part]) -> (Vec<i32>, Vec<Option<Tie>>) {
    share(terms, parts).into_iter().map(|share| (share.replicas, share.tie)).unzip()
}

const FREE: [Option<Tie>; 2] = [None, None];

#[test]
fn roles_get_what_they_want_within_range_and_ceiling() {
    let (by_ratio, by_ceiling, by_room) = (Some(Tie::Ratio), Some(Tie::Ceiling), Some(Tie::Room));
    // min, max, ceiling; current, wanted of both; sizes and why
    let table = [
        ((500, 2000, 40), [(2, 3), (2, 3)], [3, 3], FREE),
        // The smaller follows the larger, up and down.
        ((500, 2000, 40), [(2, 8), (2, 2)], [8, 4], [None, by_ratio]),
        ((500, 2000, 40), [(8, 1), (8, 8)], [4, 8], [by_ratio, None]),
        ((500, 2000, 40), [(1, 1), (2, 3)], [2, 3], [by_ratio, None]),
        // One to one.
        ((1000, 1000, 40), [(2, 5), (2, 3)], [5, 5], [None, by_ratio]),
        // A range that no whole numbers meet: as near as they can.
        ((1414, 1414, 40), [(1, 2), (1, 1)], [3, 2], [by_ratio, by_ratio]),
        // Where the smaller is at its end, the larger goes no further; what is there beyond that is too much.
        ((250, 2000, 60), [(2, 20), (20, 20)], [20, 20], FREE),
        ((2000, 4000, 60), [(8, 8), (4, 20)], [20, 10], [by_ratio, by_ratio]),
        ((2000, 4000, 60), [(20, 20), (15, 15)], [20, 10], [None, by_ratio]),
        // The ceiling: what there is, then in turn.
        ((100, 9000, 10), [(2, 8), (2, 8)], [5, 5], [by_ceiling, by_ceiling]),
        ((100, 9000, 10), [(8, 10), (2, 10)], [8, 2], [by_ceiling, by_ceiling]),
        ((100, 9000, 10), [(2, 4), (2, 12)], [3, 7], [by_ceiling, by_ceiling]),
        // The ceiling within the range: the smaller gets what the larger needs of it, and no more.
        ((500, 2000, 10), [(1, 10), (1, 1)], [6, 3], [by_ceiling, by_ratio]),
        ((2001, 9000, 5), [(4, 1), (1, 3)], [3, 1], [by_ratio, by_ceiling]),
        // Load shifts, and more is wanted than there is: who wants fewer keeps nothing for a wish that cannot be granted.
        ((500, 2000, 12), [(4, 20), (8, 1)], [4, 4], [by_ceiling, by_ratio]),
        ((500, 2000, 12), [(4, 20), (4, 1)], [8, 4], [by_ceiling, by_ratio]),
        // The range is broken and there is no room: the larger gives.
        ((500, 2000, 10), [(8, 10), (2, 10)], [6, 2], [by_ceiling, by_ceiling]),
        // The ceiling is broken: those that have most of what they want give.
        ((100, 9000, 6), [(5, 5), (5, 10)], [2, 4], [by_ceiling, by_ceiling]),
        // Room comes when the other has gone.
        ((100, 9000, 10), [(8, 4), (2, 6)], [4, 2], [None, by_room]),
        ((100, 9000, 10), [(7, 4), (2, 6)], [4, 3], [None, by_room]),
    ];
    for ((min, max, ceiling), parts, expected, why) in table {
        let of = parts.map(|(current, wanted)| part(current, wanted));
        let found = sizes(&terms(ratio(min, max), ceiling), &of);
        assert_eq!(
            found,
            (expected.to_vec(), why.to_vec()),
            "{min} to {max}, {ceiling}: {parts:?}"
        );
    }
}

#[test]
fn without_a_range_there_are_the_ceilings_only() {
    let parts = [part(1, 9), part(1, 3), part(1, 3)];
    assert_eq!(sizes(&terms(None, 40), &parts).0, [9, 3, 3]);
    assert_eq!(sizes(&terms(None, 10), &parts).0, [6, 2, 2]);
    // GPUs: eight for one replica of the first role.
    let large = [Part { gpus: 8, ..parts[0] }, parts[1], parts[2]];
    let gpus = |most| Terms { max_gpus: Some(most), ..terms(None, 40) };
    assert_eq!(sizes(&gpus(40), &large).0, [4, 3, 3]);
    // The wait for room is for GPUs too.
    let leaves = [Part { gpus: 8, ..part(4, 2) }, part(1, 9)];
    assert_eq!(sizes(&gpus(34), &leaves), (vec![2, 2], vec![None, Some(Tie::Room)]));
}

#[test]
fn who_has_not_even_its_fewest_is_given_room() {
    let below = Part { lowest: 3, highest: 3, ..part(1, 3) };
    assert_eq!(sizes(&terms(None, 9), &[below, part(8, 8)]).0, [1, 6]);
    assert_eq!(sizes(&terms(None, 9), &[below, part(6, 8)]).0, [3, 6]);
}

#[test]
fn numbers_may_be_extreme() {
    let endless =
        |current, wanted| Part { highest: i32::MAX, most: i32::MAX, ..part(current, wanted) };
    let of = |(min, max), parts: [Part; 2]| sizes(&terms(ratio(min, max), i64::MAX), &parts).0;
    assert_eq!(of((i64::MAX, i64::MAX), [endless(1, 1), endless(1, 9)]), [i32::MAX, 1]);
    assert_eq!(of((1, i64::MAX), [endless(1, 1), endless(1, i32::MAX)]), [2_147_484, i32::MAX]);
    assert_eq!(of((1, 1), [endless(2, 2), endless(1, 1)]), [2, 2000]);
}

#[test]
fn a_decision_is_soon_made() {
    // A range that few whole numbers meet, beside a role that grows by many steps.
    let many = |current, wanted| Part { highest: 100_000, most: 100_000, ..part(current, wanted) };
    let parts = [many(617, 1200), many(1000, 1945), many(1, 100_000)];
    let begun = std::time::Instant::now();
    assert_eq!(sizes(&terms(ratio(617, 617), 100_000), &parts).0, [617, 1000, 98_383]);
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
}

#[test]
fn who_lags_is_waited_for() {
    let terms = terms(ratio(500, 2000), 40);
    let lagging = |current, wanted, lagging| Part { lagging, ..part(current, wanted) };
    // the first, the second; sizes and why
    let table = [
        // Two of four are not there: the first goes to four.
        ((part(3, 8), lagging(4, 4, 2)), [4, 4], [Some(Tie::Lagging), None]),
        // None is: it stays.
        ((part(3, 8), lagging(2, 2, 2)), [3, 2], [Some(Tie::Lagging), None]),
        // It shrinks as it likes.
        ((part(3, 2), lagging(4, 4, 4)), [2, 4], FREE),
        // Who lags is not asked for more by the other, and asks for more by itself.
        ((part(3, 20), lagging(2, 2, 0)), [20, 10], [None, Some(Tie::Ratio)]),
        ((part(3, 20), lagging(2, 2, 1)), [3, 2], [Some(Tie::Lagging), None]),
        ((part(3, 8), lagging(2, 6, 1)), [3, 6], [Some(Tie::Lagging), None]),
    ];
    for ((first, second), expected, why) in table {
        let found = sizes(&terms, &[first, second]);
        assert_eq!(found, (expected.to_vec(), why.to_vec()), "{first:?} {second:?}");
    }
}

#[test]
fn what_is_in_doubt_or_limited_stays() {
    let held = |current| Part { lowest: current, ..part(current, current) };
    // Neither for the ceiling nor for the range.
    assert_eq!(sizes(&terms(None, 5), &[held(4), part(4, 4)]).0, [4, 1]);
    assert_eq!(sizes(&terms(ratio(500, 2000), 10), &[held(8), part(2, 10)]).0, [8, 2]);
    // What grows slowly only takes time, so the other waits, and does not shrink.
    let slow = Part { highest: 3, ..part(2, 2) };
    assert_eq!(sizes(&terms(ratio(500, 2000), 40), &[part(8, 10), slow]).0, [8, 3]);
    assert_eq!(sizes(&terms(ratio(500, 2000), 40), &[part(4, 10), slow]).0, [6, 3]);
    // A size that somebody has set takes nothing from others, and leaves them no room.
    let by_hand = Part { by_hand: true, lowest: 12, highest: 12, ..part(12, 12) };
    assert_eq!(sizes(&terms(None, 10), &[by_hand, part(4, 9)]).0, [12, 4]);
    assert_eq!(sizes(&terms(None, 10), &[by_hand, part(4, 2)]).0, [12, 2]);
    // A role that was switched off by hand is none.
    let off = Part { lowest: 0, highest: 0, ..part(0, 0) };
    assert_eq!(sizes(&terms(ratio(500, 2000), 40), &[part(8, 10), off]).0, [10, 0]);
}

#[test]
fn writes_have_an_order() {
    let strict = terms(ratio(1000, 1000), 40);
    let wide = terms(ratio(500, 2000), 40);
    // terms, sizes, goal, what can be written now; who is next
    let table = [
        // The one by which the range is kept goes first.
        (&wide, [4, 2], [8, 4], [Some(8), Some(4)], Some(1)),
        (&wide, [4, 4], [8, 4], [Some(8), None], Some(0)),
        (&wide, [8, 4], [4, 2], [Some(4), Some(2)], Some(0)),
        // Who is drained waits for the other where the range would suffer.
        (&wide, [8, 4], [2, 2], [Some(2), None], Some(0)),
        (&wide, [6, 6], [2, 2], [Some(2), None], None),
        (&wide, [6, 6], [2, 2], [Some(4), None], Some(0)),
        (&strict, [6, 6], [2, 2], [Some(2), None], None),
        (&strict, [6, 6], [2, 2], [Some(2), Some(5)], None),
        (&strict, [6, 6], [2, 2], [Some(2), Some(2)], Some(0)),
        (&strict, [2, 6], [2, 2], [None, Some(2)], Some(1)),
        (&strict, [2, 2], [2, 2], [None, None], None),
    ];
    for (terms, sizes, goal, now, expected) in table {
        let next = next_write(terms, &sizes, &goal, &now);
        assert_eq!(next, expected, "{:?} {sizes:?} {goal:?} {now:?}", terms.ratio);
    }
}

prop_compose! {
    fn any_part()(
        bounds in (1_i32..4, 0_i32..30),
        share in (0.0..1.0, 0.0..1.0),
        gpus in 0_i64..9,
    ) -> Part {
        let (least, most) = (bounds.0, bounds.0 + bounds.1);
        let within = |share: f64| least + (share * f64::from(most - least)) as i32;
        let (current, wanted) = (within(share.0), within(share.1));
        Part { current, wanted, lowest: least, highest: most, most, exist: current, lagging: 0, gpus, by_hand: false }
    }
}

prop_compose! {
    fn any_terms()(
        range in prop::option::of((0_i64..4000, 0_i64..4000)),
        max_replicas in 3_i64..80,
        max_gpus in prop::option::of(10_i64..200),
    ) -> Terms {
        let of = |(min, more): (i64, i64)| Ratio { between: [0, 1], min: Some(Milli(min)), max: Some(Milli((min + more).max(1))) };
        Terms { ratio: range.map(of), max_replicas, max_gpus }
    }
}

fn total(sizes: &[i32]) -> i64 {
    sizes.iter().map(|size| i64::from(*size)).sum()
}

fn gpus(parts: &[Part], sizes: &[i32]) -> i64 {
    parts.iter().zip(sizes).map(|(part, size)| part.gpus * i64::from(*size)).sum()
}

fn fits(terms: &Terms, parts: &[Part], sizes: &[i32]) -> bool {
    total(sizes) <= terms.max_replicas
        && terms.max_gpus.is_none_or(|most| gpus(parts, sizes) <= most)
}

fn off(terms: &Terms, sizes: &[i32]) -> f64 {
    terms.ratio.map_or(0.0, |ratio| ratio.off(sizes))
}

/// Sizes when nobody wants anything else any more.
fn settled(terms: &Terms, parts: &mut [Part]) -> Vec<i32> {
    for _ in 0..50 {
        for (part, size) in sizes(terms, parts).0.into_iter().enumerate() {
            (parts[part].current, parts[part].exist) = (size, size);
        }
    }
    parts.iter().map(|part| part.current).collect()
}

/// All sizes from `least` to `most`.
fn between(least: &[i32], most: &[i32]) -> Vec<Vec<i32>> {
    least.iter().zip(most).fold(vec![Vec::new()], |all, (least, most)| {
        all.iter()
            .flat_map(|sizes| (*least..=*most).map(|size| [&sizes[..], &[size]].concat()))
            .collect()
    })
}

prop_compose! {
    /// Few enough that all sizes can be tried.
    fn small_part()(bounds in (1_i32..3, 0_i32..9), share in (0.0..1.0, 0.0..1.0), gpus in 0_i64..5) -> Part {
        let (least, most) = (bounds.0, bounds.0 + bounds.1);
        let within = |share: f64| least + (share * f64::from(most - least + 1)) as i32;
        let (current, wanted) = (within(share.0), within(share.1));
        Part { current, wanted, lowest: least, highest: most, most, exist: current, lagging: 0, gpus, by_hand: false }
    }
}

prop_compose! {
    /// A range that is wide enough for whole numbers, between any two of three.
    fn wide_terms()(
        places in prop::sample::select(vec![[0, 1], [1, 0], [2, 0]]),
        min in 100_i64..3000,
        more in 3000_i64..6000,
        max_replicas in 3_i64..30,
        max_gpus in prop::option::of(10_i64..60),
    ) -> Terms {
        let ratio = Ratio { between: places, min: Some(Milli(min)), max: Some(Milli(min + more)) };
        Terms { ratio: Some(ratio), max_replicas, max_gpus }
    }
}

proptest! {
    /// Compared with all sizes that there could be: nobody could have more of what it wants, and nobody has what nobody needs.
    #[test]
    fn there_is_nothing_better(terms in wide_terms(), parts in prop::collection::vec(small_part(), 3)) {
        let mut parts = parts;
        let sizes = settled(&terms, &mut parts);
        let of_wishes = |sizes: &[i32]| sizes.iter().zip(&parts).map(|(size, part)| part.wanted.min(*size)).sum::<i32>();
        let most: Vec<i32> = parts.iter().map(|part| part.most).collect();
        if fits(&terms, &parts, &sizes) {
            for other in between(&sizes, &most).iter().filter(|other| fits(&terms, &parts, other)) {
                let is_better = of_wishes(other) > of_wishes(&sizes) && off(&terms, other) <= off(&terms, &sizes);
                prop_assert!(!is_better, "{sizes:?} {other:?}");
            }
        }
        for role in (0..3).filter(|role| sizes[*role] > parts[*role].wanted) {
            let mut fewer = sizes.clone();
            fewer[role] -= 1;
            prop_assert!(off(&terms, &fewer) > off(&terms, &sizes), "{sizes:?} {fewer:?}");
        }
    }

    /// Wishes change all the time, scale-downs are written in parts, and replicas come and go late: there are never more than the
    /// ceiling, and those that come from what is asked for will not be more either.
    #[test]
    fn a_ceiling_holds_over_time(
        terms in any_terms(),
        parts in prop::collection::vec(any_part(), 3),
        course in prop::collection::vec((prop::collection::vec(0.0..1.0, 3), 0_u8..64), 1..60),
    ) {
        let mut parts: Vec<Part> = parts.iter().map(|part| Part { current: part.lowest, ..*part }).collect();
        let least: Vec<i32> = parts.iter().map(|part| part.lowest).collect();
        let terms = Terms {
            max_replicas: terms.max_replicas.max(total(&least)),
            max_gpus: terms.max_gpus.map(|most| most.max(gpus(&parts, &least))),
            ..terms
        };
        // Those that are there, and those that are about to end.
        let mut replicas: Vec<(i32, i32)> = parts.iter().map(|part| (part.current, 0)).collect();
        for (wishes, happens) in course {
            for ((part, share), (alive, ending)) in parts.iter_mut().zip(wishes).zip(&replicas) {
                part.wanted = part.lowest + (share * f64::from(part.most - part.lowest)) as i32;
                part.exist = part.current.max(*alive) + ending;
            }
            for (role, size) in sizes(&terms, &parts).0.into_iter().enumerate() {
                let (part, (alive, ending)) = (&mut parts[role], &mut replicas[role]);
                let is_partial = happens & 1 << role != 0 && size < part.current;
                part.current = if is_partial { part.current.midpoint(size) } else { size };
                // The controller follows, or is late.
                if happens & 8 << role != 0 {
                    let going = (*alive - part.current).max(0);
                    (*alive, *ending) = (part.current, going + *ending / 2);
                }
            }
            let all: Vec<i32> = parts.iter().zip(&replicas).map(|(part, (alive, ending))| part.current.max(*alive) + ending).collect();
            prop_assert!(fits(&terms, &parts, &all), "{all:?}");
        }
    }

    #[test]
    fn a_ceiling_holds_or_nothing_grows(
        terms in any_terms(),
        parts in prop::collection::vec(any_part(), 2..4),
        extra in prop::collection::vec(0_i32..4, 4),
    ) {
        // Some are on their way out.
        let parts: Vec<Part> = parts.iter().zip(extra).map(|(part, more)| Part { exist: part.current + more, ..*part }).collect();
        let (sizes, _) = sizes(&terms, &parts);
        let taken: Vec<i32> = parts.iter().zip(&sizes).map(|(part, size)| part.exist + (size - part.current).max(0)).collect();
        if parts.iter().zip(&sizes).any(|(part, size)| *size > part.current) {
            prop_assert!(total(&taken) <= terms.max_replicas);
            prop_assert!(terms.max_gpus.is_none_or(|most| gpus(&parts, &taken) <= most));
        }
    }

    #[test]
    fn nobody_leaves_its_own_bounds(terms in any_terms(), parts in prop::collection::vec(any_part(), 2..4)) {
        for (part, size) in parts.iter().zip(sizes(&terms, &parts).0) {
            prop_assert!((part.lowest..=part.highest).contains(&size), "{part:?} {size}");
        }
    }

    #[test]
    fn nobody_loses_a_replica_to_another_while_nothing_is_broken(
        terms in any_terms(),
        parts in prop::collection::vec(any_part(), 2..4),
    ) {
        let current: Vec<i32> = parts.iter().map(|part| part.current).collect();
        if fits(&terms, &parts, &current) && off(&terms, &current) <= 0.0 {
            for (part, size) in parts.iter().zip(sizes(&terms, &parts).0) {
                prop_assert!(size >= part.current.min(part.wanted), "{part:?} {size}");
            }
        }
    }

    /// Sizes settle: with the same wishes, what was agreed upon stays.
    #[test]
    fn what_is_agreed_upon_stays(terms in any_terms(), parts in prop::collection::vec(any_part(), 2..4)) {
        let mut parts = parts;
        let mut before = Vec::new();
        for _ in 0..50 {
            let (sizes, _) = sizes(&terms, &parts);
            for (part, size) in parts.iter_mut().zip(&sizes) {
                (part.current, part.exist) = (*size, *size);
            }
            if sizes == before {
                return Ok(());
            }
            before = sizes;
        }
        prop_assert!(false, "still moving after 50 steps: {parts:?}");
    }

    /// Whatever is ready in whatever order, everything is written once everybody is ready.
    #[test]
    fn nothing_waits_for_ever(terms in any_terms(), parts in prop::collection::vec(any_part(), 2..4), late in 0_usize..4) {
        let goal = sizes(&terms, &parts).0;
        let mut sizes: Vec<i32> = parts.iter().map(|part| part.current).collect();
        let all: Vec<Option<i32>> = goal.iter().map(|size| Some(*size)).collect();
        let mut now = all.clone();
        now[late % parts.len()] = None;
        for _ in 0..2 {
            while let Some(role) = next_write(&terms, &sizes, &goal, &now) {
                prop_assert!(now[role].is_some_and(|to| to != sizes[role]));
                sizes[role] = goal[role];
            }
            now.clone_from(&all);
        }
        prop_assert_eq!(sizes, goal);
    }
}
