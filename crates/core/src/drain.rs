//! Draining: the order in which a scale-down takes replicas out of service, and the time at which
//! the smaller size may be written.
//!
//! A draining replica still counts as a replica: its requests are load and it is capacity. So the
//! metrics' proposals do not depend on the progress of the drain.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};

use crate::units::Resize;

/// The rule by which the target's controller picks the replicas that a smaller size removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The controller removes the replicas with ordinals from the new size up.
    HighestOrdinals,
    /// The controller removes the highest ordinals, one at a time: the next replica goes only when
    /// all below it are ready (`podManagementPolicy: OrderedReady` of a StatefulSet).
    OrderedReady,
    /// The controller removes the replicas that are marked, for example by a deletion cost, so the
    /// ones with the fewest requests are marked.
    Marked,
}

impl Removal {
    /// Returns the size that one write of a scale-down reaches once its victims are drained: under
    /// `OrderedReady` one below the current size, else the desired size.
    pub fn size_after_one_write(self, Resize { current, desired }: Resize) -> i32 {
        match self {
            Self::OrderedReady => desired.max(current.saturating_sub(1)),
            Self::HighestOrdinals | Self::Marked => desired,
        }
    }
}

/// A replica that a scale-down could remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The replica's ordinal, from 0; [`Removal::Marked`] ignores it.
    pub ordinal: i32,
    /// The number of its requests, running and waiting; `None` if unknown.
    pub requests: Option<u64>,
    /// True if the replica is ready to serve, apart from being drained.
    pub ready: bool,
    /// The progress of its drain; `None` while it is in service.
    pub draining: Option<Draining>,
}

/// The progress of one replica's drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// The time at which it was taken out of service.
    pub since: DateTime<Utc>,
    /// True if it is known to have no requests left.
    pub is_empty: bool,
    /// True if the size without it has been written, so that its removal is due.
    pub is_written: bool,
}

/// A step of a drain. Replicas are indices into the list of candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainStep {
    /// The replicas to keep out of service, in the order in which they are removed.
    pub victims: Vec<usize>,
    /// The victims that are still in service.
    pub begin: Vec<usize>,
    /// The replicas that are draining and are no longer victims: they return to service.
    pub cancel: Vec<usize>,
    /// The size to write, if any.
    pub verdict: Verdict,
}

/// The size to write in a step of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is to be written: the target does not shrink.
    Idle,
    /// Nothing is to be written yet: victims still have requests.
    Wait {
        /// The last of the victims' deadlines.
        until: DateTime<Utc>,
    },
    /// A smaller size is to be written.
    Write {
        /// The size.
        to: i32,
        /// The number of victims that it removes: the first ones in their order.
        leaving: usize,
        /// The leaving victims that were not empty at their deadline.
        late: Vec<usize>,
    },
}

impl Candidate {
    /// Returns whether the size without the replica has been written.
    fn is_written(&self) -> bool {
        self.draining.is_some_and(|draining| draining.is_written)
    }

    /// Returns whether the deadline has passed while the replica still had requests.
    fn is_late(&self, deadline: TimeDelta, now: DateTime<Utc>) -> bool {
        self.draining.is_some_and(|draining| {
            !draining.is_empty && !draining.is_written && now - draining.since >= deadline
        })
    }

    /// Returns whether nothing more is awaited from the replica before its removal.
    fn is_done(&self, deadline: TimeDelta, now: DateTime<Utc>) -> bool {
        self.draining.is_some_and(|draining| draining.is_empty || draining.is_written)
            || self.is_late(deadline, now)
    }
}

/// Returns the step of a drain from `resize.current` to `resize.desired` replicas.
///
/// All victims begin at the same time. The size is written when all of them are empty. When the
/// deadline of one passes first, the size is written for it and for those before it in the order of
/// removal: a victim that began later never delays an earlier one.
///
/// ```
/// use chrono::{DateTime, TimeDelta};
/// use llm_autoscaler_core::{Candidate, Draining, Removal, Resize, Verdict, drain};
///
/// let now = DateTime::UNIX_EPOCH;
/// let resize = Resize { current: 2, desired: 1 };
/// let deadline = TimeDelta::seconds(120);
/// let serving =
///     |ordinal| Candidate { ordinal, requests: Some(3), ready: true, draining: None };
///
/// // The highest ordinal is taken out of service, and its requests are awaited.
/// let mut replicas = [serving(0), serving(1)];
/// let step = drain(Removal::HighestOrdinals, resize, deadline, &replicas, now);
/// assert_eq!(step.begin, [1]);
/// assert_eq!(step.verdict, Verdict::Wait { until: now + deadline });
///
/// // It is empty, so the smaller size can be written.
/// replicas[1].draining = Some(Draining { since: now, is_empty: true, is_written: false });
/// let step = drain(Removal::HighestOrdinals, resize, deadline, &replicas, now);
/// assert_eq!(step.verdict, Verdict::Write { to: 1, leaving: 1, late: vec![] });
/// ```
pub fn drain(
    removal: Removal,
    resize: Resize,
    deadline: TimeDelta,
    candidates: &[Candidate],
    now: DateTime<Utc>,
) -> DrainStep {
    let resize = match removal {
        Removal::OrderedReady => Resize { desired: next_in_order(resize, candidates), ..resize },
        Removal::HighestOrdinals | Removal::Marked => resize,
    };
    let victims = match removal {
        Removal::HighestOrdinals | Removal::OrderedReady => ordered_victims(resize, candidates),
        Removal::Marked => marked_victims(resize, candidates),
    };
    let is_draining = |index: &usize| candidates[*index].draining.is_some();
    let begin = victims.iter().copied().filter(|index| !is_draining(index)).collect();
    let cancel = (0..candidates.len())
        .filter(|index| is_draining(index) && !victims.contains(index))
        .collect();
    let verdict = if resize.is_scale_down() {
        verdict(removal, resize, deadline, candidates, &victims, now)
    } else {
        Verdict::Idle
    };
    DrainStep { victims, begin, cancel, verdict }
}

/// Returns the size to drain to under [`Removal::OrderedReady`]: the next replica begins when the
/// one before it is gone.
fn next_in_order(resize: Resize, candidates: &[Candidate]) -> i32 {
    if !resize.is_scale_down() {
        return resize.desired;
    }
    let is_leaving =
        |candidate: &Candidate| candidate.ordinal >= resize.current || candidate.is_written();
    if candidates.iter().any(is_leaving) {
        resize.current
    } else {
        Removal::OrderedReady.size_after_one_write(resize)
    }
}

/// Returns the replicas with the highest ordinals, highest first. If the target does not shrink,
/// these are only the ones that are draining above its size.
fn ordered_victims(resize: Resize, candidates: &[Candidate]) -> Vec<usize> {
    let mut victims: Vec<usize> = (0..candidates.len())
        .filter(|index| {
            let Candidate { ordinal, draining, .. } = candidates[*index];
            ordinal >= resize.desired && (resize.is_scale_down() || draining.is_some())
        })
        .collect();
    victims.sort_by_key(|index| Reverse(candidates[*index].ordinal));
    victims
}

/// Returns the replicas to mark: first the ones with a written removal, then the ones that are
/// draining, then the ones that are not ready, then the ones with the fewest requests. If the
/// target does not shrink, these are only the ones with a written removal.
///
/// A drain that has begun goes on: the load of its replica falls while that of the others rises,
/// and that must not hand the drain to another replica.
fn marked_victims(resize: Resize, candidates: &[Candidate]) -> Vec<usize> {
    let surplus = candidates.len().saturating_sub(usize::try_from(resize.desired).unwrap_or(0));
    let mut victims: Vec<usize> = (0..candidates.len())
        .filter(|index| resize.is_scale_down() || candidates[*index].is_written())
        .collect();
    victims.sort_by_key(|index| {
        let candidate = &candidates[*index];
        let since = candidate.draining.map_or(DateTime::<Utc>::MAX_UTC, |draining| draining.since);
        let requests = candidate.requests.unwrap_or(u64::MAX);
        (!candidate.is_written(), since, candidate.ready, requests, *index)
    });
    victims.truncate(surplus);
    victims
}

/// Returns the size to write while the target shrinks.
fn verdict(
    removal: Removal,
    resize: Resize,
    deadline: TimeDelta,
    candidates: &[Candidate],
    victims: &[usize],
    now: DateTime<Utc>,
) -> Verdict {
    let leaving =
        victims.iter().take_while(|index| candidates[**index].is_done(deadline, now)).count();
    let late: Vec<usize> = victims[..leaving]
        .iter()
        .copied()
        .filter(|index| candidates[*index].is_late(deadline, now))
        .collect();
    // The size without the victims that are done and with the ones that are not.
    let to = match (removal, victims.get(leaving)) {
        (_, None) => resize.desired,
        (Removal::HighestOrdinals | Removal::OrderedReady, Some(stays)) => {
            candidates[*stays].ordinal.saturating_add(1)
        }
        (Removal::Marked, Some(_)) => resize.desired + (victims.len() - leaving) as i32,
    };
    if leaving == victims.len() || !late.is_empty() && to < resize.current {
        return Verdict::Write { to, leaving, late };
    }
    let begun = victims
        .iter()
        .map(|index| candidates[*index].draining.map_or(now, |draining| draining.since));
    Verdict::Wait { until: begun.max().unwrap_or(now) + deadline }
}

#[cfg(test)]
mod tests;
