//! The memory of an autoscaler, as its status keeps it: one versioned format, within one budget of
//! bytes.
//!
//! A restart, or another copy of the operator, goes on with what is decoded here. Everything is
//! bound to the UID of the object that is scaled, so an object that is created again under the same
//! name begins without a past.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use llm_autoscaler_core::{
    History, HistoryRecord, Policy, RECORD_ENTRIES, ReplicaCounts, Resize, RoleMemory, Shadow,
    StartupTimes,
    bill::{BillRecord, Ledger},
};

use crate::bill::BillStatus;
use crate::status::{
    ChangeRecord, LearnedRecord, MEMORY_VERSION, ManualChangeStatus, RecommendationStatus,
    StoredHistory, TargetStatus,
};

/// The bytes that the memory of one autoscaler may take in its status, as JSON, all targets
/// together.
pub const MEMORY_BUDGET: usize = 16 << 10;

/// The number of pods with wedged engines that are remembered. Further ones are found again after a
/// restart.
const WEDGED_PODS: usize = 20;

/// The numbers of hours that are merged in a bill for the budget's sake, one after the other.
const MERGED_HOURS: [i64; 5] = [2, 4, 8, 12, 24];

/// The fewest entries of a history that are kept for the budget's sake.
const FEWEST_ENTRIES: usize = 4;

/// The memory of one object, as a status has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// The history; `None` where there is none, or none that is understood.
    pub history: Option<HistoryRecord>,
    /// How long its replicas took to start.
    pub startup_times: StartupTimes,
    /// The size that recommendations have led to; `None` if decisions were carried out.
    pub shadow: Option<Shadow>,
    /// A change of size by something else, if it was respected.
    pub manual_change: Option<ManualChangeStatus>,
    /// The latest changes of size by other writers, latest first.
    pub changes: Vec<ChangeRecord>,
    /// The UIDs of the pods with wedged engines.
    pub wedged: Vec<String>,
    /// What has been learned of the engine.
    pub learned: Option<LearnedRecord>,
    /// The bill.
    pub bill: Option<BillRecord>,
}

impl Remembered {
    /// Returns what the targets of a status remember of the object with this UID; `None` where they
    /// do not know it.
    pub fn decode(targets: &[Arc<TargetStatus>], uid: &str) -> Option<Self> {
        let target = targets.iter().find(|target| target.uid.as_deref() == Some(uid))?;
        Some(Self::of(target))
    }

    /// Returns what a target of a status remembers of its object.
    pub fn of(target: &TargetStatus) -> Self {
        let history = target.history.as_ref().filter(|stored| stored.version <= MEMORY_VERSION);
        Self {
            history: history.map(|stored| stored.record.clone()),
            startup_times: StartupTimes::from_seconds(&target.start_up_seconds),
            shadow: target.recommendation.as_deref().map(RecommendationStatus::shadow),
            manual_change: target.manual_change.clone(),
            changes: history.map(|stored| stored.changes.clone()).unwrap_or_default(),
            wedged: history.map(|stored| stored.wedged.clone()).unwrap_or_default(),
            learned: history.and_then(|stored| stored.learned.as_deref().cloned()),
            bill: target.bill.as_ref().and_then(BillStatus::record).cloned(),
        }
    }

    /// Returns the size as it was last recorded.
    pub fn replicas(&self) -> Option<i32> {
        self.history.as_ref().and_then(|history| history.replicas)
    }

    /// Returns the memory to go on with, when `requested` replicas are requested and `counts`
    /// exist. With `drains`, replicas that are out of service were on their way out. Where
    /// decisions were recommended only, the history is that of the shadow, whatever the target has.
    pub fn restore(
        &self,
        policy: &Policy,
        requested: i32,
        counts: ReplicaCounts,
        drains: bool,
        now: DateTime<Utc>,
    ) -> RoleMemory {
        let counts = ReplicaCounts { closed: if drains { counts.closed } else { 0 }, ..counts };
        let resize = Resize { current: requested, desired: counts.staying(requested) };
        let resume = |record: &HistoryRecord| match &self.shadow {
            None => History::resume(record, policy, resize, now),
            Some(shadow) => {
                let record = HistoryRecord { replicas: None, ..record.clone() };
                History::restore(&record, policy, shadow.replicas(), now)
            }
        };
        RoleMemory {
            history: self.history.as_ref().map_or_else(History::default, resume),
            startup_times: self.startup_times.clone(),
            bill: self.bill.as_ref().map(Ledger::restored).unwrap_or_default(),
            shadow: self.shadow.clone(),
            ..RoleMemory::default()
        }
    }
}

/// Writes the memory of one object into its target's status. A bill that the status has already is
/// written anew only if it has gone on.
pub fn encode(
    target: &mut TargetStatus,
    memory: &RoleMemory,
    manual: Option<ManualChangeStatus>,
    changes: &[ChangeRecord],
    wedged: &[String],
    learned: Option<LearnedRecord>,
) {
    target.start_up_seconds = memory.startup_times.seconds();
    target.manual_change = manual;
    if !target.bill.as_ref().is_some_and(|bill| bill.is_current(&memory.bill)) {
        target.bill = BillStatus::new(&memory.bill);
    }
    target.history = Some(StoredHistory {
        version: MEMORY_VERSION,
        changes: changes.to_vec(),
        wedged: wedged[..wedged.len().min(WEDGED_PODS)].to_vec(),
        learned: learned.map(Box::new),
        record: memory.history.snapshot(),
    });
}

/// Makes the memory of all targets fit the budget, in bytes of JSON. The hours of bills are merged
/// until they take a quarter of it, which changes no sum. Then past decisions are dropped, because
/// no decision depends on them: the oldest one of the target that has the most; then the
/// differences and hours of recommendations, changes by other writers and wedged engines, in the
/// same order. Then histories are merged further, down to four entries each, which lengthens their
/// windows and never shortens them. Last, what was learned of engines is dropped, and is learned
/// again after a restart.
pub fn fit(targets: &mut [Arc<TargetStatus>], budget: usize) {
    for hours in MERGED_HOURS {
        if size(targets) <= budget || bill_size(targets) <= budget / 4 {
            break;
        }
        owned(targets).filter_map(|it| it.bill.as_mut()).for_each(|bill| bill.merge(hours));
    }
    if drop_last(targets, budget, |target| Some(&mut target.decisions))
        || drop_last(targets, budget, |target| {
            Some(&mut target.recommendation.as_mut()?.differences)
        })
        || drop_last(targets, budget, |target| {
            Some(&mut target.recommendation.as_mut()?.bill.hours)
        })
        || drop_last(targets, budget, |target| Some(&mut target.history.as_mut()?.changes))
        || drop_last(targets, budget, |target| Some(&mut target.history.as_mut()?.wedged))
    {
        return;
    }
    let mut entries = RECORD_ENTRIES;
    while size(targets) > budget && entries > FEWEST_ENTRIES {
        entries /= 2;
        for stored in owned(targets).filter_map(|target| target.history.as_mut()) {
            stored.record = stored.record.merged(entries);
        }
    }
    while size(targets) > budget {
        let mut stored = owned(targets).filter_map(|target| target.history.as_mut());
        let Some(stored) = stored.find(|stored| stored.learned.is_some()) else { return };
        stored.learned = None;
    }
}

/// Returns targets to be changed, each of them no other status's.
fn owned(targets: &mut [Arc<TargetStatus>]) -> impl Iterator<Item = &mut TargetStatus> {
    targets.iter_mut().map(Arc::make_mut)
}

/// Drops the last entry of the longest list, one after the other. Returns true once the memory fits
/// the budget, and false if all lists are empty before.
fn drop_last<T>(
    targets: &mut [Arc<TargetStatus>],
    budget: usize,
    list: impl Fn(&mut TargetStatus) -> Option<&mut Vec<T>>,
) -> bool {
    while size(targets) > budget {
        let longest = owned(targets).filter_map(&list).max_by_key(|entries| entries.len());
        if longest.and_then(Vec::pop).is_none() {
            return false;
        }
    }
    true
}

/// Returns the bytes that the records of all bills take as JSON.
fn bill_size(targets: &[Arc<TargetStatus>]) -> usize {
    let records = targets.iter().filter_map(|target| target.bill.as_ref()?.record.as_ref());
    records.map(|record| serde_json::to_vec(record).map_or(0, |json| json.len())).sum()
}

/// Returns the bytes that the memory of all targets takes as JSON.
pub fn size(targets: &[Arc<TargetStatus>]) -> usize {
    let bytes = |target: &Arc<TargetStatus>| {
        let TargetStatus { history, start_up_seconds, manual_change, decisions, .. } = &**target;
        let remembered =
            (history, start_up_seconds, manual_change, decisions, &target.recommendation);
        serde_json::to_vec(&remembered).map_or(0, |json| json.len())
    };
    targets.iter().map(bytes).sum::<usize>() + bill_size(targets)
}

#[cfg(test)]
mod tests;
