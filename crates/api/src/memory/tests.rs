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

fn encoded(uid: &str, bill: Ledger, recommendation: Option<RecommendationStatus>) -> TargetStatus {
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

#[test]
fn a_model_takes_less_than_800_bytes_and_one_that_is_not_understood_is_none() {
    let learned = learned();
    let json = serde_json::to_value(&learned).unwrap();
    assert!(json.to_string().len() < 800, "{json}");
    assert_eq!(serde_json::from_value::<LearnedRecord>(json.clone()).unwrap(), learned);
    let read = |learned: serde_json::Value| {
        let history = json!({
            "replicas": 3, "recommendations": [], "scaleUps": [], "scaleDowns": [],
            "learned": learned,
        });
        let target: TargetStatus = serde_json::from_value(json!({
            "name": "a", "currentReplicas": 3, "readyReplicas": 3, "desiredReplicas": 3,
            "history": history,
        }))
        .unwrap();
        let history = target.history.unwrap();
        assert_eq!(history.record.replicas, Some(3));
        history.learned
    };
    assert_eq!(read(json), Some(Box::new(learned)));
    assert_eq!(read(json!({"engine": "VLLM", "fit": "of 2031"})), None);
}
