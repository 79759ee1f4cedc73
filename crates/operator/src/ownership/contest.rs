//! Contests: another writer changes the operator's sizes again and again, and the operator writes
//! more and more seldom.
//!
//! Pure: the caller passes the changes and the time. An owner that restores its own number does so
//! within moments, for ever; a write every 15 s would then start and end replicas every 15 s.

use chrono::{DateTime, TimeDelta, Utc};

use crate::ownership::{authors, size_change::SizeChange};

/// A writer contests the operator's sizes by changing them this often within [`CONTESTED_WITHIN`].
const CONTESTED_COUNT: u32 = 3;
/// The time in which changes are counted, and the shortest time between two reports of a contest.
const CONTESTED_WITHIN: TimeDelta = TimeDelta::minutes(10);
/// The time between the write that was undone last and the next one, when a contest begins. It
/// doubles with each further change.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);
/// The longest time between two writes. Growth under overload is tried at least this often.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(5);
/// The time after which a write has stood, and the contest has ended. It is longer than
/// [`LONGEST_WAIT`], because a writer that comes every five minutes contests too.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(6);
/// The time after the latest write, which was undone, at which a contest has ended because no other
/// size was needed. A scale-down that drains may take long until it is written.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::minutes(30);

/// A write of the operator that has not been changed by another writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnWrite {
    /// The time of the write.
    pub at: DateTime<Utc>,
    /// The size before; `None` where it is not known.
    pub before: Option<i32>,
}

/// A contest, as the status reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contest {
    /// The latest change of a size that the operator had written.
    pub change: SizeChange,
    /// The time of the operator's latest write.
    pub written_at: DateTime<Utc>,
    /// The state of the latest write.
    pub state: ContestState,
}

/// The state of the operator's latest write in a contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContestState {
    /// It has been undone, and the next write waits until this time.
    WaitsUntil(DateTime<Utc>),
    /// It has been undone, and the next one may be made.
    MayWrite,
    /// It has not been undone so far.
    Stands,
}

/// The changes of sizes that the operator had written.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContestTracker {
    /// Those of the last minutes.
    latest: Vec<(DateTime<Utc>, Option<String>)>,
    ongoing: Option<Box<Ongoing>>,
    reported_at: Option<DateTime<Utc>>,
}

/// A contest.
#[derive(Clone, Debug)]
struct Ongoing {
    /// The number of changes by the writer, at least [`CONTESTED_COUNT`].
    count: u32,
    change: SizeChange,
    written_at: DateTime<Utc>,
}

impl ContestTracker {
    /// Records a change of a size that the operator had written. Returns whether a contest is to be
    /// reported. Several sizes that a person sets by hand contest nothing, unless each restores the
    /// size before.
    pub(crate) fn record(
        &mut self,
        change: &SizeChange,
        undone: OwnWrite,
        now: DateTime<Utc>,
    ) -> bool {
        let is_recent = |at: DateTime<Utc>| now - at < CONTESTED_WITHIN;
        if change.by.as_deref().is_some_and(authors::is_by_hand) && undone.before != Some(change.to)
        {
            return false;
        }
        self.latest.retain(|(at, _)| is_recent(*at));
        self.latest.push((now, change.by.clone()));
        let recent = self.latest.iter().filter(|(_, by)| *by == change.by).count();
        let recent = u32::try_from(recent).unwrap_or(u32::MAX);
        self.ongoing = self.ongoing.take().filter(|contest| contest.lasts(true, now));
        let is_same = |contest: &&Ongoing| contest.change.by == change.by;
        let ongoing = self.ongoing.as_deref().filter(is_same);
        let count = ongoing.map_or(recent, |contest| contest.count.saturating_add(1));
        if count >= CONTESTED_COUNT {
            let change = change.clone();
            self.ongoing = Some(Box::new(Ongoing { count, change, written_at: undone.at }));
        }
        let is_due = recent >= CONTESTED_COUNT && !self.reported_at.is_some_and(is_recent);
        if is_due {
            self.reported_at = Some(now);
        }
        is_due
    }

    /// Records that the operator has written a size; `stood` where the write before was not undone.
    pub(crate) fn record_write(&mut self, stood: bool, now: DateTime<Utc>) {
        self.ongoing = self.ongoing.take().filter(|contest| contest.lasts(stood, now));
        if let Some(contest) = &mut self.ongoing {
            contest.written_at = now;
        }
    }

    /// Returns the contest that goes on; `stands` where the latest write has not been undone.
    pub(crate) fn contest(&self, stands: bool, now: DateTime<Utc>) -> Option<Contest> {
        let contest = self.ongoing.as_deref().filter(|contest| contest.lasts(stands, now))?;
        let Ongoing { count, change, written_at } = contest;
        let until = *written_at + wait(*count);
        let state = if stands {
            ContestState::Stands
        // A clock that was set back must not lengthen the wait.
        } else if (*written_at..until).contains(&now) {
            ContestState::WaitsUntil(until)
        } else {
            ContestState::MayWrite
        };
        Some(Contest { change: change.clone(), written_at: *written_at, state })
    }
}

impl Ongoing {
    /// Returns whether the contest has not ended; `stands` where the latest write was not undone.
    fn lasts(&self, stands: bool, now: DateTime<Utc>) -> bool {
        now - self.written_at < if stands { SETTLED_AFTER } else { FORGOTTEN_AFTER }
    }
}

impl Contest {
    /// Returns the contest where no write waits, as with the HPA.
    pub(crate) fn without_wait(self) -> Self {
        let state = match self.state {
            ContestState::WaitsUntil(_) | ContestState::MayWrite => ContestState::MayWrite,
            ContestState::Stands => ContestState::Stands,
        };
        Self { state, ..self }
    }

    /// Returns the time until which nothing is written; `None` where a size may be written now.
    pub(crate) fn waits_until(&self) -> Option<DateTime<Utc>> {
        match self.state {
            ContestState::WaitsUntil(until) => Some(until),
            ContestState::MayWrite | ContestState::Stands => None,
        }
    }
}

/// Returns the time between a write that was undone and the next one, after so many changes.
fn wait(count: u32) -> TimeDelta {
    let doublings = count.saturating_sub(CONTESTED_COUNT).min(10);
    (FIRST_WAIT * 2_i32.saturating_pow(doublings)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests;
