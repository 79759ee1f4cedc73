//! Which replicas a scale-down takes out of service before it is written, and when it may be written.
//!
//! A replica that is on its way out is a replica still: its requests are load and it counts as capacity, so that what is
//! proposed does not depend on how far it has come. The total is the same wherever the requests are.

use chrono::{DateTime, TimeDelta, Utc};

/// Whom a smaller size removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Those whose ordinal is not below the new size.
    HighestOrdinals,
    /// The same, and nobody above one that is not ready; so there is only one out of service at a time.
    HighestInTurn,
    /// Whoever is marked; so those with the fewest requests are chosen.
    Marked,
}

impl Removal {
    /// How far a scale-down goes by one write, when all who go by it are drained.
    pub fn at_once(self, current: i32, wanted: i32) -> i32 {
        match self {
            Self::HighestInTurn => wanted.max(current.saturating_sub(1)),
            Self::HighestOrdinals | Self::Marked => wanted,
        }
    }
}

/// A replica that could be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number among the replicas, from 0; of no matter to [`Removal::Marked`].
    pub ordinal: i32,
    /// How many requests it has, running and waiting; `None` where that is not known.
    pub requests: Option<u64>,
    /// Whether it serves, but for being on its way out.
    pub ready: bool,
    /// How far it is on its way out.
    pub draining: Option<Draining>,
}

/// How far a replica is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Whether it is known to have no request any more.
    pub is_empty: bool,
    /// Whether the size without it has been written, so that it is about to be removed.
    pub is_written: bool,
}

/// What is to be done about a scale-down. Replicas are places in the list of candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainStep {
    /// Who is to be out of service, in the order in which they go.
    pub victims: Vec<usize>,
    /// Those of them that are not yet.
    pub begin: Vec<usize>,
    /// Who is out of service and is to be no longer.
    pub cancel: Vec<usize>,
    /// What is to be written.
    pub verdict: Verdict,
}

/// What is to be written of a scale-down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: fewer are not wanted.
    Idle,
    /// Nothing yet.
    Wait {
        /// When the last of the deadlines passes.
        until: DateTime<Utc>,
    },
    /// A size.
    Write {
        /// This one.
        to: i32,
        /// Who goes by it, so many of the first victims.
        leaving: usize,
        /// Those of them whose deadline has passed before they were empty.
        late: Vec<usize>,
    },
}

/// What is to be done where `wanted` replicas are to be there, and `current` were asked for last.
///
/// Everybody who is to go begins at the same time. The size is written when all of them are empty; or when one's deadline has
/// passed, for it and for those before it: nobody is waited for longer because of who began later.
pub fn drain(
    removal: Removal,
    (current, wanted): (i32, i32),
    deadline: TimeDelta,
    candidates: &[Candidate],
    now: DateTime<Utc>,
) -> DrainStep {
    let wanted =
        if removal == Removal::HighestInTurn { next(current, wanted, candidates) } else { wanted };
    let victims = victims(removal, current, wanted, candidates);
    let is_victim = |index: &usize| victims.contains(index);
    let draining = |index: &usize| candidates[*index].draining;
    let begin = victims.iter().copied().filter(|index| draining(index).is_none()).collect();
    let all = 0..candidates.len();
    let cancel = all.filter(|index| draining(index).is_some() && !is_victim(index)).collect();
    let verdict = if wanted < current {
        verdict(removal, (current, wanted), deadline, candidates, &victims, now)
    } else {
        Verdict::Idle
    };
    DrainStep { victims, begin, cancel, verdict }
}

/// The size to go for where one goes after the other: the next begins when the one before is gone.
fn next(current: i32, wanted: i32, candidates: &[Candidate]) -> i32 {
    let is_going = |candidate: &Candidate| {
        candidate.ordinal >= current
            || candidate.draining.is_some_and(|draining| draining.is_written)
    };
    match () {
        () if wanted >= current => wanted,
        () if candidates.iter().any(is_going) => current,
        () => Removal::HighestInTurn.at_once(current, wanted),
    }
}

/// Who goes, in the order in which they do. Where fewer are not wanted, only those whose removal has been written.
fn victims(removal: Removal, current: i32, wanted: i32, candidates: &[Candidate]) -> Vec<usize> {
    let shrinks = wanted < current;
    let is_written =
        |index: &usize| candidates[*index].draining.is_some_and(|draining| draining.is_written);
    let all = 0..candidates.len();
    match removal {
        Removal::HighestOrdinals | Removal::HighestInTurn => {
            let goes = |index: &usize| {
                let Candidate { ordinal, draining, .. } = candidates[*index];
                ordinal >= wanted && (shrinks || draining.is_some())
            };
            let mut victims: Vec<usize> = all.filter(goes).collect();
            victims.sort_by_key(|index| std::cmp::Reverse(candidates[*index].ordinal));
            victims
        }
        Removal::Marked => {
            let surplus = candidates.len().saturating_sub(usize::try_from(wanted).unwrap_or(0));
            let mut victims: Vec<usize> =
                all.filter(|index| shrinks || is_written(index)).collect();
            // Who has begun goes on: its load falls while the others' rises, and that must not make it someone else's turn.
            victims.sort_by_key(|index| {
                let Candidate { requests, ready, draining, .. } = candidates[*index];
                let since = draining.map_or(DateTime::<Utc>::MAX_UTC, |draining| draining.since);
                (!is_written(index), since, ready, requests.unwrap_or(u64::MAX), *index)
            });
            victims.truncate(surplus);
            victims
        }
    }
}

fn verdict(
    removal: Removal,
    (current, wanted): (i32, i32),
    deadline: TimeDelta,
    candidates: &[Candidate],
    victims: &[usize],
    now: DateTime<Utc>,
) -> Verdict {
    let state = |index: &usize| candidates[*index].draining;
    let is_late = |index: &usize| {
        state(index).is_some_and(|draining| {
            !draining.is_empty && !draining.is_written && now - draining.since >= deadline
        })
    };
    let is_done = |index: &&usize| {
        state(index).is_some_and(|draining| draining.is_empty || draining.is_written)
            || is_late(index)
    };
    let leaving = victims.iter().take_while(is_done).count();
    let late: Vec<usize> = victims[..leaving].iter().copied().filter(is_late).collect();
    // Without those that are done, and with those that are not.
    let to = match (removal, victims.get(leaving)) {
        (_, None) => wanted,
        (Removal::HighestOrdinals | Removal::HighestInTurn, Some(stays)) => {
            candidates[*stays].ordinal.saturating_add(1)
        }
        (Removal::Marked, Some(_)) => wanted + (victims.len() - leaving) as i32,
    };
    if leaving == victims.len() || !late.is_empty() && to < current {
        return Verdict::Write { to, leaving, late };
    }
    let began = victims.iter().map(|index| state(index).map_or(now, |draining| draining.since));
    Verdict::Wait { until: began.max().unwrap_or(now) + deadline }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

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

    fn step(removal: Removal, sizes: (i32, i32), candidates: &[Candidate], now: i64) -> DrainStep {
        drain(removal, sizes, DEADLINE, candidates, at(now))
    }

    fn write(to: i32, leaving: usize, late: &[usize]) -> Verdict {
        Verdict::Write { to, leaving, late: late.to_vec() }
    }

    #[test]
    fn the_highest_go_once_they_are_empty() {
        use Removal::HighestOrdinals as Highest;
        let wait = |second: i64| Verdict::Wait { until: at(second) };
        // sizes, candidates, second; victims, begin, cancel, verdict
        let table = [
            // It begins, and waits.
            (
                (3, 2),
                vec![serving(0, 9), serving(1, 0), serving(2, 4)],
                0,
                vec![2],
                vec![2],
                vec![],
                wait(120),
            ),
            (
                (3, 2),
                vec![serving(0, 9), serving(1, 0), leaving(2, 0, false)],
                30,
                vec![2],
                vec![],
                vec![],
                wait(120),
            ),
            // Empty, or late.
            (
                (3, 2),
                vec![serving(0, 9), leaving(2, 0, true)],
                30,
                vec![1],
                vec![],
                vec![],
                write(2, 1, &[]),
            ),
            (
                (3, 2),
                vec![serving(0, 9), leaving(2, 0, false)],
                120,
                vec![1],
                vec![],
                vec![],
                write(2, 1, &[1]),
            ),
            // Nobody is there to be waited for.
            (
                (3, 2),
                vec![serving(0, 9), serving(1, 9)],
                0,
                vec![],
                vec![],
                vec![],
                write(2, 0, &[]),
            ),
            // Load returns: all of it, or some.
            (
                (3, 3),
                vec![serving(0, 9), leaving(2, 0, true)],
                30,
                vec![],
                vec![],
                vec![1],
                Verdict::Idle,
            ),
            (
                (3, 5),
                vec![serving(0, 9), leaving(2, 0, true)],
                30,
                vec![],
                vec![],
                vec![1],
                Verdict::Idle,
            ),
            (
                (4, 3),
                vec![leaving(2, 0, false), leaving(3, 0, false)],
                30,
                vec![1],
                vec![],
                vec![0],
                wait(120),
            ),
            // Even fewer are wanted on the way: who began first is not kept waiting.
            (
                (4, 2),
                vec![serving(2, 1), leaving(3, 0, true)],
                60,
                vec![1, 0],
                vec![0],
                vec![],
                wait(180),
            ),
            (
                (4, 2),
                vec![leaving(2, 60, false), leaving(3, 0, true)],
                120,
                vec![1, 0],
                vec![],
                vec![],
                wait(180),
            ),
            (
                (4, 2),
                vec![leaving(2, 60, false), leaving(3, 0, false)],
                120,
                vec![1, 0],
                vec![],
                vec![],
                write(3, 1, &[1]),
            ),
            // The order is theirs: one that is empty below one that is not has to wait.
            (
                (4, 2),
                vec![leaving(2, 0, true), leaving(3, 0, false)],
                30,
                vec![1, 0],
                vec![],
                vec![],
                wait(120),
            ),
            // Written, and not removed yet: it stays out of service.
            ((2, 2), vec![serving(1, 9), written(2)], 30, vec![1], vec![], vec![], Verdict::Idle),
            ((2, 3), vec![serving(1, 9), written(2)], 30, vec![], vec![], vec![1], Verdict::Idle),
        ];
        for (sizes, candidates, second, victims, begin, cancel, verdict) in table {
            let expected = DrainStep { victims, begin, cancel, verdict };
            assert_eq!(
                step(Highest, sizes, &candidates, second),
                expected,
                "{sizes:?} {candidates:?} {second}"
            );
        }
    }

    #[test]
    fn in_turn_one_begins_when_the_one_before_is_gone() {
        let of =
            |sizes, candidates: &[Candidate]| step(Removal::HighestInTurn, sizes, candidates, 30);
        let wait = |second: i64| Verdict::Wait { until: at(second) };
        let serving = |ordinal| serving(ordinal, 9);
        // sizes, candidates; who is to be out of service, verdict
        let table = [
            ((3, 1), vec![serving(0), serving(1), serving(2)], vec![2], wait(150)),
            ((3, 1), vec![serving(0), serving(1), leaving(2, 0, false)], vec![2], wait(120)),
            ((3, 1), vec![serving(0), serving(1), leaving(2, 0, true)], vec![2], write(2, 1, &[])),
            // Written, and not gone yet; also if nobody remembers that it was.
            ((2, 1), vec![serving(0), serving(1), written(2)], vec![2], Verdict::Idle),
            ((2, 1), vec![serving(0), serving(1), leaving(2, 0, true)], vec![2], Verdict::Idle),
            ((2, 1), vec![serving(0), serving(1)], vec![1], wait(150)),
            // One that is not there yet is not waited for.
            ((4, 2), vec![serving(0), serving(1), serving(2)], vec![], write(3, 0, &[])),
            ((2, 3), vec![serving(0), serving(1)], vec![], Verdict::Idle),
        ];
        for (sizes, candidates, victims, verdict) in table {
            let found = of(sizes, &candidates);
            assert_eq!(
                (found.victims, found.verdict),
                (victims, verdict),
                "{sizes:?} {candidates:?}"
            );
        }
    }

    #[test]
    fn those_with_the_fewest_requests_are_marked() {
        let unknown = Candidate { requests: None, ..serving(0, 0) };
        let loading = Candidate { ready: false, ..serving(0, 0) };
        // sizes, candidates; victims, begin, cancel
        let table = [
            ((3, 2), vec![serving(0, 9), serving(0, 1), serving(0, 4)], vec![1], vec![1], vec![]),
            (
                (3, 1),
                vec![serving(0, 9), serving(0, 1), serving(0, 4)],
                vec![1, 2],
                vec![1, 2],
                vec![],
            ),
            ((3, 2), vec![unknown, serving(0, 9), serving(0, 9)], vec![1], vec![1], vec![]),
            ((3, 2), vec![serving(0, 0), loading, serving(0, 0)], vec![1], vec![1], vec![]),
            // Who has begun goes on, whatever the others' load is.
            ((3, 2), vec![serving(0, 0), leaving(0, 0, false)], vec![], vec![], vec![1]),
            ((2, 1), vec![serving(0, 0), leaving(0, 0, false)], vec![1], vec![], vec![]),
            // One is written and not gone yet; another is wanted less.
            ((2, 1), vec![serving(0, 0), serving(0, 3), written(0)], vec![2, 0], vec![0], vec![]),
            ((2, 2), vec![serving(0, 0), serving(0, 3), written(0)], vec![2], vec![], vec![]),
            // More than are asked for, as in a rollout: nobody begins for that.
            (
                (2, 2),
                vec![serving(0, 0), serving(0, 3), leaving(0, 0, false)],
                vec![],
                vec![],
                vec![2],
            ),
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
    fn what_is_marked_is_written_like_the_rest() {
        let both = [leaving(0, 60, false), leaving(0, 0, false), serving(0, 9)];
        let found = |now| step(Removal::Marked, (3, 1), &both, now).verdict;
        assert_eq!(found(100), Verdict::Wait { until: at(180) });
        assert_eq!(found(120), write(2, 1, &[1]));
        assert_eq!(found(180), write(1, 2, &[1, 0]));
        let after = [serving(0, 9), leaving(0, 60, true), written(0)];
        assert_eq!(step(Removal::Marked, (2, 1), &after, 100).verdict, write(1, 2, &[]));
    }
}
