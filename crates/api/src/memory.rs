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
mod tests {
    use llm_autoscaler_core::{
        BilledHour, Difference, Profile, Recommendation, ReplicaReason, Settings, ShadowBill,
        Tolerances, bill::BilledReplica, slo::Learned,
    };
    use serde_json::json;

    use super::*;
    use crate::{status::PastDecision, time};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn policy() -> Policy {
        Policy {
            min_replicas: 1,
            max_replicas: 100,
            metrics: Vec::new(),
            tolerance: Tolerances { down: 0.1, up: 0.1 },
            behavior: None,
            to_zero: None,
            fallback: None,
            profile: Profile::Default,
            settings: Settings::HPA,
        }
    }

    /// A model with as many numbers as there are, all of them long.
    fn learned() -> LearnedRecord {
        let numbers = |count| vec![-1.234_567e-5; count];
        let learned = Learned {
            fit: numbers(18),
            lengths: numbers(5),
            margins: numbers(2),
            starts: numbers(16),
            kv_capacity: Some(1_234_567.0),
            sequences: Some(256.0),
        };
        LearnedRecord { engine: "TensorRTLLM".to_owned(), learned }
    }

    /// A bill of a day in which each reason took a part of each hour.
    fn full_bill() -> Ledger {
        let mut ledger = Ledger::default();
        for step in 0..24 * 11 {
            let reason = ReplicaReason::ALL[step % 11];
            let replica = |key: u32| BilledReplica {
                key: key.to_string(),
                start: at(0),
                deadline: None,
                gpus: 8,
                reason,
            };
            let replicas: Vec<_> = (0..100).map(replica).collect();
            ledger.bill(&replicas, &[], at(step as i64 * 3600 / 11));
        }
        ledger
    }

    /// A target with the longest memory that there is.
    fn full(uid: &str) -> TargetStatus {
        encoded(uid, full_bill(), None)
    }

    /// The same of a target that is only watched.
    fn full_recommendation(uid: &str) -> TargetStatus {
        let difference =
            Difference { since: at(0), until: Some(at(9)), actual: 100_000, recommended: 99_999 };
        let most = 100_000 * 3_600_000;
        let bill = ShadowBill { milliseconds: 3_600_000, actual: most, recommended: most };
        let hours = (0..24).map(|hour| BilledHour { hour: 490_000 - hour, bill }).collect();
        let shadow = Shadow::restored(100_000, hours, vec![difference; 10]);
        encoded(uid, Ledger::default(), Some(RecommendationStatus::of(&shadow)))
    }

    fn encoded(
        uid: &str,
        bill: Ledger,
        recommendation: Option<RecommendationStatus>,
    ) -> TargetStatus {
        let mut memory = RoleMemory { bill, ..RoleMemory::default() };
        for second in 0..200 {
            let replicas = if second % 2 == 0 { 100 - second as i32 / 2 } else { second as i32 };
            memory.history.record_recommendation(&policy(), replicas, at(second));
            memory.history.record_scale(&policy(), replicas, replicas + 3, at(second));
        }
        for second in 0..9 {
            memory.startup_times.learn(chrono::TimeDelta::seconds(second));
        }
        let decision = PastDecision {
            time: time::to_kubernetes(at(0)),
            from: 1,
            to: 2,
            limited_by: "DesiredWithinRange".to_owned(),
            reason: Some("pods metric vllm:num_requests_waiting above target".repeat(3)),
        };
        let mut target = TargetStatus {
            uid: Some(uid.to_owned()),
            decisions: vec![decision; 10],
            recommendation: recommendation.map(Box::new),
            ..TargetStatus::default()
        };
        let change = ChangeRecord {
            by: "a-deployment-tool-with-quite-a-long-name".to_owned(),
            from: 100,
            to: 2,
            times: vec![at(2), at(1), at(0)],
        };
        let uid = |pod| format!("{pod:08}-0000-4000-8000-000000000000");
        let wedged: Vec<_> = (0..30).map(uid).collect();
        encode(&mut target, &memory, None, &vec![change; 8], &wedged, Some(learned()));
        target
    }

    #[test]
    fn what_is_encoded_is_decoded_for_the_same_object_only() {
        let target = full("u");
        let targets = [Arc::new(target.clone())];
        let remembered = Remembered::decode(&targets, "u").unwrap();
        let StoredHistory { record: history, changes, wedged, .. } = target.history.unwrap();
        assert_eq!(remembered.learned, Some(learned()));
        assert_eq!(remembered.replicas(), history.replicas);
        assert_eq!(remembered.history, Some(history));
        assert_eq!((remembered.changes.len(), remembered.changes), (8, changes));
        assert_eq!((remembered.wedged.len(), remembered.wedged), (WEDGED_PODS, wedged));
        assert_eq!(remembered.startup_times.seconds(), target.start_up_seconds);
        let recommendation = target.recommendation.map(|recommendation| recommendation.shadow());
        assert_eq!(remembered.shadow, recommendation);
        assert_eq!(Remembered::decode(&targets, "v"), None);
    }

    #[test]
    fn a_history_of_recommendations_goes_on_from_the_recommended_size() {
        let restored = |shadow: Option<Shadow>| {
            let record = HistoryRecord { replicas: Some(9), ..HistoryRecord::default() };
            let remembered = Remembered { history: Some(record), shadow, ..Remembered::default() };
            let counts = ReplicaCounts { alive: 3, coming: 3, ..ReplicaCounts::default() };
            remembered.restore(&policy(), 3, counts, false, at(60)).history
        };
        let recommended = |history: &History| {
            history.recommendations().map(|all| all.iter().map(|each| each.replicas).collect())
        };
        // Something else has reduced the target from 9 to 3, which is no scale-down of the shadow.
        let shadow = restored(Some(Shadow::new(5)));
        assert_eq!(recommended(&shadow), Some(vec![5]));
        assert_eq!(shadow.scale_downs(), []);
        let own = restored(None);
        assert_eq!(recommended(&own), Some(vec![3]));
        assert_eq!(own.scale_downs().len(), 1);
    }

    #[test]
    fn a_record_without_a_version_is_read_and_one_of_a_later_version_is_not() {
        let read = |history: serde_json::Value| {
            let target = json!({
                "name": "a", "uid": "u", "currentReplicas": 3, "readyReplicas": 3,
                "desiredReplicas": 3, "history": history,
            });
            let target: TargetStatus = serde_json::from_value(target).unwrap();
            Remembered::decode(&[target.into()], "u").unwrap().history
        };
        let recommended = json!([{"replicas": 5, "at": "2026-01-01T00:00:00Z"}]);
        let record = |version: Option<u32>| {
            let mut record = json!({
                "replicas": 3, "recommendations": recommended, "scaleUps": [], "scaleDowns": [],
            });
            if let Some(version) = version {
                record["version"] = json!(version);
            }
            record
        };
        let expected = HistoryRecord {
            replicas: Some(3),
            recommendations: vec![Recommendation { replicas: 5, at: at(1_767_225_600) }],
            ..HistoryRecord::default()
        };
        assert_eq!(read(record(None)), Some(expected.clone()));
        assert_eq!(read(record(Some(1))), Some(expected));
        assert_eq!(read(record(Some(2))), None);
        assert_eq!(read(json!("damaged")), None);
    }

    #[test]
    fn the_memory_of_many_roles_fits_the_budget() {
        let kinds: [fn(&str) -> TargetStatus; 2] = [full, full_recommendation];
        for (roles, kind) in [1, 2, 8, 16].into_iter().flat_map(|it| kinds.map(|kind| (it, kind))) {
            let target = |role: usize| Arc::new(kind(&role.to_string()));
            let mut targets: Vec<_> = (0..roles).map(target).collect();
            let before = targets.clone();
            fit(&mut targets, MEMORY_BUDGET);
            assert!(size(&targets) <= MEMORY_BUDGET, "{roles} roles: {} bytes", size(&targets));
            if size(&before) <= MEMORY_BUDGET {
                assert!(targets == before, "nothing is lost where there is room");
            }
            let is_known = targets[0].history.as_ref().unwrap().learned.is_some();
            assert!(is_known || roles > 2, "{roles} roles forget what was learned");
            for target in &targets {
                let record = &target.history.as_ref().unwrap().record;
                assert!(!record.recommendations.is_empty(), "{roles} roles forget a window");
                let day = |targets: &[Arc<TargetStatus>]| {
                    targets[0].bill.as_ref().map(|bill| bill.record().unwrap().day())
                };
                assert_eq!(day(&targets), day(&before), "{roles} roles forget a part of a day");
            }
        }
    }
}
