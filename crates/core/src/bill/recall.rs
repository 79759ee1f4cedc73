//! The replicas of a record, found again after a restart. A record has only their number by
//! reason, because a status has no room for a thousand identities.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chrono::{DateTime, Utc};
use litemap::LiteMap;

use super::{
    Counts, Span,
    ledger::{BilledReplica, EndedReplica, Open, unseen_end},
    record::BillRecord,
};
use crate::replica_reason::ReplicaReason;

/// The reasons in the order in which replicas go: those on their way out first, and those that the
/// metrics ask for last.
const LEAVING: [ReplicaReason; 11] = [
    ReplicaReason::Draining,
    ReplicaReason::AboveCeiling,
    ReplicaReason::Stuck,
    ReplicaReason::Starting,
    ReplicaReason::HeldByWindow,
    ReplicaReason::HeldByDoubt,
    ReplicaReason::Manual,
    ReplicaReason::Ratio,
    ReplicaReason::Floor,
    ReplicaReason::Asleep,
    ReplicaReason::Needed,
];

/// The most replicas that are found again. No target has more.
const REPLICAS: u32 = 100_000;

/// The replicas of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Remembered {
    open: LiteMap<ReplicaReason, Counts>,
    ending: Vec<DateTime<Utc>>,
}

/// The replicas of a record as they are found at the first step.
#[derive(Debug, Default)]
pub(super) struct Recalled {
    /// Those that still exist.
    pub(super) open: BTreeMap<String, Open>,
    /// The time of those that have gone.
    pub(super) gone: Vec<Span>,
}

impl Remembered {
    pub(super) fn new(record: &BillRecord) -> Self {
        let mut room = REPLICAS;
        let mut open = record.open.clone();
        for (_, counts) in &mut open {
            counts.replicas = counts.replicas.min(room);
            room -= counts.replicas;
        }
        Self { open, ending: record.ending.clone() }
    }

    pub(super) fn parts(&self) -> (LiteMap<ReplicaReason, Counts>, Vec<DateTime<Utc>>) {
        (self.open.clone(), self.ending.clone())
    }

    /// Finds the replicas again. Those that were created after the record are none of them.
    pub(super) fn recall(
        &self,
        replicas: &[BilledReplica],
        ended: &BTreeMap<&str, &EndedReplica>,
        (until, now): (DateTime<Utc>, DateTime<Utc>),
    ) -> Recalled {
        let mut recalled = Recalled::default();
        let mut leaving = self.leaving();
        let mut staying: Vec<_> = replicas.iter().filter(|it| it.start <= until).collect();
        staying.sort_by_key(|replica| std::cmp::Reverse(replica.start));
        let keys: BTreeSet<&str> = staying.iter().map(|replica| &*replica.key).collect();
        // Those that are being deleted still are among those that were.
        staying.retain(|replica| {
            let is_ending = replica.deadline.is_some();
            let open = leaving.pop_front_if(|open| is_ending && open.deadline.is_some());
            let Some(open) = open else { return true };
            recalled.open.insert(replica.key.clone(), Open { start: replica.start, ..open });
            false
        });
        let old = ended.values().filter(|it| it.start <= until && !keys.contains(&*it.key));
        for ended in old {
            let Some(open) = leaving.pop_front() else { break };
            // A key without a replica is one that has gone, up to its end.
            recalled.open.insert(ended.key.clone(), Open { start: ended.start, ..open });
        }
        let mut come: Vec<_> =
            replicas.iter().map(|it| it.start).filter(|at| *at > until).collect();
        come.sort_unstable();
        let mut come = come.into_iter();
        while leaving.len() > staying.len() {
            let Some(open) = leaving.pop_front() else { break };
            let replaced = if open.deadline.is_none() { come.next() } else { None };
            let end = replaced.unwrap_or_else(|| unseen_end(until, open.deadline, now));
            recalled.gone.push(open.span(until, end.min(now)));
        }
        // The youngest replicas are the first to go.
        let beyond = staying.len() - leaving.len();
        for (replica, open) in staying.into_iter().skip(beyond).zip(leaving) {
            recalled.open.insert(replica.key.clone(), Open { start: replica.start, ..open });
        }
        recalled
    }

    /// Returns the replicas in the order in which they go.
    fn leaving(&self) -> VecDeque<Open> {
        let mut deadlines = self.ending.iter().copied();
        let by_reason = LEAVING.iter().filter_map(|reason| Some((reason, self.open.get(reason)?)));
        let each = by_reason.flat_map(|(reason, counts)| {
            let gpus = counts.gpus / u64::from(counts.replicas.max(1));
            std::iter::repeat_n((*reason, gpus), counts.replicas as usize)
        });
        let start = DateTime::UNIX_EPOCH;
        each.map(|(reason, gpus)| Open { start, reason, gpus, deadline: deadlines.next() })
            .collect()
    }
}
