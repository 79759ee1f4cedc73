//! The bill in memory, from step to step.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use litemap::LiteMap;

use super::{
    Amounts, Counts, Span,
    day::Day,
    recall::{Recalled, Remembered},
    record::BillRecord,
};
use crate::replica_reason::ReplicaReason;

/// The most ends of replicas on their way out that a record has.
const ENDING: usize = 64;

/// A replica that exists at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BilledReplica {
    /// Its identity: another replica never has it at the same time.
    pub key: String,
    /// The creation of its first pod.
    pub start: DateTime<Utc>,
    /// The time by which it is gone, where it is being deleted.
    pub deadline: Option<DateTime<Utc>>,
    /// The number of its GPUs.
    pub gpus: u32,
    /// The reason of its existence from this step on.
    pub reason: ReplicaReason,
}

/// A replica that has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedReplica {
    /// Its identity.
    pub key: String,
    /// The creation of its first pod.
    pub start: DateTime<Utc>,
    /// The time at which it was gone.
    pub end: DateTime<Utc>,
    /// The number of its GPUs.
    pub gpus: u32,
}

/// A replica that is billed from the latest step on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) start: DateTime<Utc>,
    pub(super) reason: ReplicaReason,
    pub(super) gpus: u64,
    pub(super) deadline: Option<DateTime<Utc>>,
}

/// The bill of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The times that it covers, from and until; `None` before the first step.
    covers: Option<(DateTime<Utc>, DateTime<Utc>)>,
    day: Day,
    /// The replicas by their identity.
    open: LiteMap<String, Open>,
    /// The replicas of a record, until the first step after a restart.
    remembered: Option<Remembered>,
}

impl Ledger {
    /// Returns the ledger after a restart.
    ///
    /// The first step bills the time since the record: the replicas of the record under their
    /// reasons there, replicas that were created since as [`ReplicaReason::Starting`], from their
    /// creation. Replicas that have gone since are billed up to their ends, as far as the caller
    /// knows these. The unknown end of a replica that was not being deleted is taken to be the
    /// creation of the one that came in its place, if one has come: rollouts, evictions and lost
    /// nodes replace replicas. Any other unknown end lies between the record and the step, or the
    /// deadline of the deletion if that is earlier, and is taken to be the middle of that.
    pub fn restored(record: &BillRecord) -> Self {
        Self {
            covers: Some((record.since.min(record.until), record.until)),
            day: Day::new(record.hours.clone()),
            open: LiteMap::new(),
            remembered: Some(Remembered::new(record)),
        }
    }

    /// Bills the time since the latest step, and returns its amounts. `replicas` are those that
    /// exist at `now`. `ended` are those that have gone; further ones, and those that are known
    /// already, change nothing.
    ///
    /// The first step of all begins the bill, and bills nothing.
    pub fn bill(
        &mut self,
        replicas: &[BilledReplica],
        ended: &[EndedReplica],
        now: DateTime<Utc>,
    ) -> Amounts {
        let now = now.trunc_subsecs(3);
        let (since, until) = self.covers.unwrap_or((now, now));
        // A clock that was set back bills nothing until it has caught up.
        let until = until.min(now);
        let known = |ended: &&EndedReplica| until < ended.end && ended.end <= now;
        let ended: BTreeMap<&str, &EndedReplica> =
            ended.iter().filter(known).map(|ended| (&*ended.key, ended)).collect();
        let mut spans = Vec::new();
        if let Some(remembered) = self.remembered.take() {
            let Recalled { open, gone } = remembered.recall(replicas, &ended, (until, now));
            self.open = open.into_iter().collect();
            spans.extend(gone);
        }
        let before = self.existing();
        self.bill_open(replicas, &ended, (until, now), &mut spans);
        self.day.cover(until, now, before);
        let mut amounts = Amounts::new();
        for span in spans.iter().filter(|span| span.from < span.to) {
            self.day.add(span);
            let amount = span.amount(span.to - span.from);
            amounts.entry(span.reason).or_default().add(amount);
        }
        self.open = replicas.iter().map(|replica| (replica.key.clone(), replica.open())).collect();
        self.day.record_peak(now, self.existing());
        self.day.forget_before(now);
        self.covers = Some((since, now));
        amounts
    }

    /// Adds the spans of replicas that were there at the latest step, and of those that have come
    /// since.
    fn bill_open(
        &self,
        replicas: &[BilledReplica],
        ended: &BTreeMap<&str, &EndedReplica>,
        (until, now): (DateTime<Utc>, DateTime<Utc>),
        spans: &mut Vec<Span>,
    ) {
        // A group that was created anew since the latest step is another replica.
        let stays = |replica: &&BilledReplica| {
            let open = self.open.get(&replica.key);
            open.is_some_and(|open| replica.start <= until || replica.start == open.start)
        };
        let staying: BTreeMap<&str, &BilledReplica> =
            replicas.iter().filter(stays).map(|replica| (&*replica.key, replica)).collect();
        for (key, open) in &self.open {
            let to = match (staying.get(&**key), ended.get(&**key)) {
                (Some(_), _) => now,
                (None, Some(ended)) => ended.end,
                (None, None) => unseen_end(until, open.deadline, now),
            };
            spans.push(open.span(until, to));
        }
        let starting = |gpus: u32, from: DateTime<Utc>, to| Span {
            reason: ReplicaReason::Starting,
            counts: Counts { replicas: 1, gpus: gpus.into() },
            from: from.max(until),
            to,
        };
        let come = replicas.iter().filter(|replica| !staying.contains_key(&*replica.key));
        spans.extend(come.map(|replica| starting(replica.gpus, replica.start, now)));
        let passing = ended.values().filter(|ended| {
            !self.open.contains_key(&ended.key) && !staying.contains_key(&*ended.key)
        });
        spans.extend(passing.map(|ended| starting(ended.gpus, ended.start, ended.end)));
    }

    /// Returns the time until which everything is billed; `None` before the first step.
    pub fn until(&self) -> Option<DateTime<Utc>> {
        self.covers.map(|(_, until)| until)
    }

    /// Returns what a status keeps; `None` before the first step.
    pub fn record(&self) -> Option<BillRecord> {
        let (since, until) = self.covers?;
        let (open, ending) = match &self.remembered {
            Some(remembered) => remembered.parts(),
            None => self.parts(),
        };
        Some(BillRecord { since, until, open, ending, hours: self.day.hours().to_vec() })
    }

    /// Moves the time of the latest step with the wall clock, if that was set.
    pub(crate) fn shift(&mut self, set_by: TimeDelta) {
        if let Some((_, until)) = &mut self.covers {
            *until += set_by;
        }
    }

    /// Returns the replicas by reason, and the deadlines of those that are being deleted.
    fn parts(&self) -> (LiteMap<ReplicaReason, Counts>, Vec<DateTime<Utc>>) {
        let mut open: LiteMap<ReplicaReason, Counts> = LiteMap::new();
        for replica in self.open.values() {
            open.entry(replica.reason).or_default().add(replica.gpus);
        }
        let mut ending: Vec<_> = self.open.values().filter_map(|open| open.deadline).collect();
        ending.sort_unstable();
        ending.truncate(ENDING);
        (open, ending)
    }

    /// Returns the numbers of replicas that are not on their way out.
    fn existing(&self) -> Counts {
        let mut counts = Counts::default();
        let existing = self.open.values().filter(|open| open.reason != ReplicaReason::Draining);
        existing.for_each(|open| counts.add(open.gpus));
        counts
    }
}

impl BilledReplica {
    fn open(&self) -> Open {
        let Self { start, reason, deadline, .. } = *self;
        Open { start, reason, gpus: self.gpus.into(), deadline }
    }
}

impl Open {
    pub(super) fn span(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Span {
        let Self { reason, gpus, .. } = *self;
        Span { reason, counts: Counts { replicas: 1, gpus }, from, to }
    }
}

/// Returns the end of a replica that was there at `until` and is gone at `now`: the middle of the
/// time in which it may have gone.
pub(super) fn unseen_end(
    until: DateTime<Utc>,
    deadline: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> DateTime<Utc> {
    let latest = deadline.map_or(now, |deadline| deadline.clamp(until, now));
    until + (latest - until) / 2
}
