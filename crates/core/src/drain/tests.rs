use super::*;
use crate::tests::support::at;

const DEADLINE: TimeDelta = TimeDelta::seconds(120);

fn serving(ordinal: i32, requests: u64) -> Candidate {
    Candidate { ordinal, requests: Some(requests), ready: true, draining: None }
}

fn leaving(ordinal: i32, since: i64, is_empty: bool) -> Candidate {
    let draining = Draining { since: at(since), is_empty, is_written: false };
    Candidate { draining: Some(draining), ..serving(ordinal, u64::from(!is_empty)) }
}

fn written(ordinal: i32) -> Candidate {
    let draining = Draining { since: at(0), is_empty: true, is_written: true };
    Candidate { draining: Some(draining), ..serving(ordinal, 0) }
}

fn step(
    removal: Removal,
    (current, desired): (i32, i32),
    candidates: &[Candidate],
    now: i64,
) -> DrainStep {
    drain(removal, Resize { current, desired }, DEADLINE, candidates, at(now))
}

fn write(to: i32, leaving: usize, late: &[usize]) -> Verdict {
    Verdict::Write { to, leaving, late: late.to_vec() }
}

fn wait(second: i64) -> Verdict {
    Verdict::Wait { until: at(second) }
}

/// Current and desired size, candidates, second, and the expected step.
type Row = ((i32, i32), Vec<Candidate>, i64, DrainStep);

/// Checks the steps under [`Removal::HighestOrdinals`].
fn check(table: Vec<Row>) {
    for (sizes, candidates, second, expected) in table {
        let found = step(Removal::HighestOrdinals, sizes, &candidates, second);
        assert_eq!(found, expected, "{sizes:?} {candidates:?} {second}");
    }
}

fn expected(victims: &[usize], begin: &[usize], cancel: &[usize], verdict: Verdict) -> DrainStep {
    let [victims, begin, cancel] = [victims, begin, cancel].map(<[usize]>::to_vec);
    DrainStep { victims, begin, cancel, verdict }
}

#[test]
fn the_highest_ordinals_go_once_they_are_empty() {
    let (busy, idle) = (serving(0, 9), serving(1, 0));
    // sizes, candidates, second; step
    check(vec![
        // The drain begins, and waits.
        ((3, 2), vec![busy, idle, serving(2, 4)], 0, expected(&[2], &[2], &[], wait(120))),
        ((3, 2), vec![busy, idle, leaving(2, 0, false)], 30, expected(&[2], &[], &[], wait(120))),
        // The victim is empty, or its deadline has passed.
        ((3, 2), vec![busy, leaving(2, 0, true)], 30, expected(&[1], &[], &[], write(2, 1, &[]))),
        (
            (3, 2),
            vec![busy, leaving(2, 0, false)],
            120,
            expected(&[1], &[], &[], write(2, 1, &[1])),
        ),
        // The replica to remove has no pod, so nothing is awaited.
        ((3, 2), vec![busy, serving(1, 9)], 0, expected(&[], &[], &[], write(2, 0, &[]))),
        // After the write, a victim stays out of service until it is removed.
        ((2, 2), vec![serving(1, 9), written(2)], 30, expected(&[1], &[], &[], Verdict::Idle)),
        ((2, 3), vec![serving(1, 9), written(2)], 30, expected(&[], &[], &[1], Verdict::Idle)),
    ]);
}

#[test]
fn victims_return_to_service_when_the_load_returns() {
    let draining = vec![serving(0, 9), leaving(2, 0, true)];
    let both = vec![leaving(2, 0, false), leaving(3, 0, false)];
    check(vec![
        ((3, 3), draining.clone(), 30, expected(&[], &[], &[1], Verdict::Idle)),
        ((3, 5), draining, 30, expected(&[], &[], &[1], Verdict::Idle)),
        ((4, 3), both, 30, expected(&[1], &[], &[0], wait(120))),
    ]);
}

#[test]
fn a_victim_waits_for_the_ones_before_it_and_not_for_later_ones() {
    let early = |is_empty| leaving(3, 0, is_empty);
    let late = leaving(2, 60, false);
    check(vec![
        // A smaller size is desired during the drain: the earlier victim is not delayed.
        ((4, 2), vec![serving(2, 1), early(true)], 60, expected(&[1, 0], &[0], &[], wait(180))),
        ((4, 2), vec![late, early(true)], 120, expected(&[1, 0], &[], &[], wait(180))),
        ((4, 2), vec![late, early(false)], 120, expected(&[1, 0], &[], &[], write(3, 1, &[1]))),
        // An empty replica below one that is not empty has to wait.
        (
            (4, 2),
            vec![leaving(2, 0, true), early(false)],
            30,
            expected(&[1, 0], &[], &[], wait(120)),
        ),
    ]);
}

#[test]
fn under_ordered_ready_a_drain_begins_when_the_replica_before_is_gone() {
    let of = |sizes, candidates: &[Candidate]| step(Removal::OrderedReady, sizes, candidates, 30);
    let serving = |ordinal| serving(ordinal, 9);
    // sizes, candidates; victims, verdict
    let table = [
        ((3, 1), vec![serving(0), serving(1), serving(2)], vec![2], wait(150)),
        ((3, 1), vec![serving(0), serving(1), leaving(2, 0, false)], vec![2], wait(120)),
        ((3, 1), vec![serving(0), serving(1), leaving(2, 0, true)], vec![2], write(2, 1, &[])),
        // The written removal is awaited, even if its record was lost.
        ((2, 1), vec![serving(0), serving(1), written(2)], vec![2], Verdict::Idle),
        ((2, 1), vec![serving(0), serving(1), leaving(2, 0, true)], vec![2], Verdict::Idle),
        ((2, 1), vec![serving(0), serving(1)], vec![1], wait(150)),
        // A replica without a pod is not awaited.
        ((4, 2), vec![serving(0), serving(1), serving(2)], vec![], write(3, 0, &[])),
        ((2, 3), vec![serving(0), serving(1)], vec![], Verdict::Idle),
    ];
    for (sizes, candidates, victims, verdict) in table {
        let found = of(sizes, &candidates);
        assert_eq!((found.victims, found.verdict), (victims, verdict), "{sizes:?} {candidates:?}");
    }
}

#[test]
fn the_replicas_with_the_fewest_requests_are_marked() {
    let unknown = Candidate { requests: None, ..serving(0, 0) };
    let loading = Candidate { ready: false, ..serving(0, 0) };
    // sizes, candidates; victims, begin, cancel
    let table = [
        ((3, 2), vec![serving(0, 9), serving(0, 1), serving(0, 4)], vec![1], vec![1], vec![]),
        ((3, 1), vec![serving(0, 9), serving(0, 1), serving(0, 4)], vec![1, 2], vec![1, 2], vec![]),
        ((3, 2), vec![unknown, serving(0, 9), serving(0, 9)], vec![1], vec![1], vec![]),
        ((3, 2), vec![serving(0, 0), loading, serving(0, 0)], vec![1], vec![1], vec![]),
        // A drain that has begun goes on, whatever the load of the others.
        ((3, 2), vec![serving(0, 0), leaving(0, 0, false)], vec![], vec![], vec![1]),
        ((2, 1), vec![serving(0, 0), leaving(0, 0, false)], vec![1], vec![], vec![]),
        // The removal of one is written; the desired size removes another.
        ((2, 1), vec![serving(0, 0), serving(0, 3), written(0)], vec![2, 0], vec![0], vec![]),
        ((2, 2), vec![serving(0, 0), serving(0, 3), written(0)], vec![2], vec![], vec![]),
        // A surplus, as during a rollout, starts no drain.
        ((2, 2), vec![serving(0, 0), serving(0, 3), leaving(0, 0, false)], vec![], vec![], vec![2]),
    ];
    for (sizes, candidates, victims, begin, cancel) in table {
        let found = step(Removal::Marked, sizes, &candidates, 10);
        assert_eq!(
            (found.victims, found.begin, found.cancel),
            (victims, begin, cancel),
            "{sizes:?} {candidates:?}"
        );
    }
}

#[test]
fn marked_replicas_are_removed_at_their_deadline_or_when_empty() {
    let both = [leaving(0, 60, false), leaving(0, 0, false), serving(0, 9)];
    let found = |now| step(Removal::Marked, (3, 1), &both, now).verdict;
    assert_eq!(found(100), Verdict::Wait { until: at(180) });
    assert_eq!(found(120), write(2, 1, &[1]));
    assert_eq!(found(180), write(1, 2, &[1, 0]));
    let after = [serving(0, 9), leaving(0, 60, true), written(0)];
    assert_eq!(step(Removal::Marked, (2, 1), &after, 100).verdict, write(1, 2, &[]));
}
