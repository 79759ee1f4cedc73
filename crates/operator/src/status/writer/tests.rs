use llm_autoscaler_api::{
    DecisionStatus, MetricStatus, RecommendationBill, RecommendationStatus, SchemaDifference,
    TargetStatus,
    bill::BillStatus,
    conditions::{self, ConditionType, ConditionUpdate, Reason},
};

use llm_autoscaler_core::{
    ReplicaReason,
    bill::{BilledReplica, Ledger as BillLedger},
};

use super::*;
use crate::kube_api::{
    reads::Reads,
    stand_in::{Answer, Received, StandIn, until},
};

fn status(desired: i32, reason: Reason, current: &str) -> LLMAutoscalerStatus {
    let mut conditions = Vec::new();
    let now = chrono::DateTime::UNIX_EPOCH;
    conditions::set(
        &mut conditions,
        ConditionUpdate::yes(ConditionType::AbleToScale, reason, "m"),
        Some(1),
        now,
    );
    let decision = DecisionStatus {
        raw: 1,
        stabilized: 1,
        limited: 1,
        limited_by: "x".into(),
        applied: 1,
        reason: None,
    };
    let metrics = vec![MetricStatus { current: Some(current.into()), ..MetricStatus::default() }];
    let target = TargetStatus { decision: Some(decision), metrics, ..TargetStatus::default() };
    LLMAutoscalerStatus {
        desired_replicas: Some(desired),
        conditions,
        targets: vec![Arc::new(target)],
        ..Default::default()
    }
}

#[test]
fn a_status_is_due_by_what_has_changed() {
    let at = |seconds| Monotonic(Duration::from_secs(seconds));
    let base = status(1, Reason::ReadyForNewScale, "5");
    let ledger =
        |has_failed| Ledger { written_at: Some(at(100)), has_failed, ..Ledger::new(&base) };
    let after = |seconds| Due::In(Duration::from_secs(seconds));
    let urgent = || status(2, Reason::ReadyForNewScale, "5");
    let reason = || status(1, Reason::ScaleDownStabilized, "5");
    let value = || status(1, Reason::ReadyForNewScale, "6");
    // status, whether the last write failed, second, the time at which it is due
    let table = [
        (base.clone(), false, 200, Due::No),
        // Sizes that swing with every sample are not written with every sample.
        (urgent(), false, 100, after(1)),
        (urgent(), false, 101, after(0)),
        (urgent(), true, 101, after(4)),
        (reason(), false, 104, Due::No),
        (reason(), false, 105, after(0)),
        (value(), false, 114, Due::No),
        (value(), false, 115, after(0)),
    ];
    for (row, (status, has_failed, second, expected)) in table.into_iter().enumerate() {
        assert_eq!(ledger(has_failed).due(&status, at(second)), expected, "row {row}");
    }
    let first = Ledger { written_at: None, ..ledger(false) };
    assert_eq!(first.due(&urgent(), at(0)), after(0));
}

/// Returns a status with a bill from second 0 to this one, of this many replicas.
fn billed(until: i64, replicas: usize) -> LLMAutoscalerStatus {
    let at = |second| chrono::DateTime::from_timestamp(second, 0).unwrap();
    let one = |key: usize| BilledReplica {
        key: key.to_string(),
        start: at(0),
        deadline: None,
        gpus: 8,
        reason: ReplicaReason::Needed,
    };
    let replicas: Vec<_> = (0..replicas).map(one).collect();
    let mut ledger = BillLedger::default();
    ledger.bill(&replicas, &[], at(0));
    ledger.bill(&replicas, &[], at(until));
    let mut status = status(1, Reason::ReadyForNewScale, "5");
    Arc::make_mut(&mut status.targets[0]).bill = BillStatus::new(&ledger);
    status
}

#[test]
fn a_bill_that_only_goes_on_is_written_twice_an_hour() {
    let at = |seconds| Monotonic(Duration::from_secs(seconds));
    let ledger =
        || super::Ledger { written_at: Some(at(100)), ..super::Ledger::new(&billed(60, 2)) };
    // status, second, whether it is written
    let table = [
        (billed(60 + 1799, 2), 1899, Due::No),
        (billed(60 + 1800, 2), 1900, Due::In(Duration::ZERO)),
        // A replica that has gone is written soon, since a restart could not tell when it went.
        (billed(70, 1), 104, Due::No),
        (billed(70, 1), 105, Due::In(Duration::ZERO)),
    ];
    for (row, (status, second, expected)) in table.into_iter().enumerate() {
        assert_eq!(ledger().due(&status, at(second)), expected, "row {row}");
    }
}

#[test]
fn a_recommendation_that_is_renewed_is_written() {
    let at = |seconds| Monotonic(Duration::from_secs(seconds));
    let recommended = |covered_seconds| {
        let mut status = status(1, Reason::ReadyForNewScale, "5");
        let bill = RecommendationBill { covered_seconds, ..RecommendationBill::default() };
        Arc::make_mut(&mut status.targets[0]).recommendation =
            Some(Box::new(RecommendationStatus { replicas: 1, bill, ..Default::default() }));
        status
    };
    let ledger = super::Ledger { written_at: Some(at(100)), ..super::Ledger::new(&recommended(0)) };
    assert_eq!(ledger.due(&recommended(0), at(400)), Due::No);
    assert_eq!(ledger.due(&recommended(300), at(400)), Due::In(Duration::ZERO));
}

/// Samples come every 100 ms, and each changes a size or a condition.
#[test]
fn a_status_that_flaps_with_each_sample_is_written_once_a_second() {
    let sizes = [1, 2].map(|desired| status(desired, Reason::ReadyForNewScale, "5"));
    let stuck = {
        let mut stuck = sizes[0].clone();
        let update = ConditionUpdate::yes(ConditionType::ReplicasStuck, Reason::NotReady, "m");
        conditions::set(&mut stuck.conditions, update, Some(1), chrono::DateTime::UNIX_EPOCH);
        stuck
    };
    let conditions = [sizes[0].clone(), stuck];
    for flapping in [sizes, conditions] {
        let mut ledger = Ledger::new(&LLMAutoscalerStatus::default());
        let mut writes = 0;
        for sample in 0..600_u32 {
            let now = Monotonic(Duration::from_millis(100) * sample);
            let status = &flapping[sample as usize % 2];
            if ledger.due(status, now) == Due::In(Duration::ZERO) {
                (ledger.written, ledger.written_at) = (Written::new(status), Some(now));
                writes += 1;
            }
        }
        assert!((50..=60).contains(&writes), "{writes} writes in a minute");
    }
}

fn client(api: &StandIn) -> StatusClient {
    let (telemetry, clock) = (Telemetry::default(), Clock::start());
    let supervisor = Supervisor::impatient();
    let (client, limiter) = (api.client.clone(), WriteLimiter::new(Reads::default()));
    let (writes, leases) = (Writes::new(clock, telemetry.clone()), Leases::solo());
    let schema = InstalledSchema::of_tests(client.clone(), SchemaDifference::default());
    StatusClient { client, clock, telemetry, limiter, writes, leases, schema, supervisor }
}

fn object(namespace: &str, name: &str) -> LLMAutoscaler {
    let target = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": name});
    let object = json!({
        "apiVersion": "llmautoscaler.io/v1alpha1", "kind": "LLMAutoscaler",
        "metadata": {"name": name, "namespace": namespace, "uid": name},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, "engine": "VLLM", "metrics": []},
    });
    serde_json::from_value(object).unwrap()
}

/// Sizes of b waited for the statuses of a, which a webhook of a made slow: 43 s instead of 2.
#[tokio::test]
async fn writes_of_statuses_that_hang_delay_no_step_and_no_other_namespace() {
    let api = StandIn::start(|request: &Received| {
        if request.path.contains("/namespaces/a/") {
            return Answer::Never;
        }
        Answer::Json(200, request.body.clone())
    })
    .await;
    let client = Arc::new(client(&api));
    let mut writers = Vec::new();
    for number in 0..60 {
        let object = object("a", &number.to_string());
        let mut writer = StatusWriter::new(&client, &object);
        // This is no future: a step cannot wait for it.
        writer.write(&object, status(1, Reason::ReadyForNewScale, "5"));
        writers.push(writer);
    }
    let of = |namespace: &'static str| {
        api.received(|request| request.path.contains(&format!("/namespaces/{namespace}/"))).len()
    };
    until("the lane of the namespace to be full", || of("a") == 4).await;
    let object = object("b", "b");
    let mut writer = StatusWriter::new(&client, &object);
    writer.write(&object, status(1, Reason::ReadyForNewScale, "5"));
    until("the status of the other namespace", || of("b") == 1).await;
    assert_eq!(of("a"), 4);
}

#[tokio::test]
async fn a_status_that_has_become_old_while_another_was_written_is_left_out() {
    let api = StandIn::start(|request| Answer::Json(200, request.body.clone())).await;
    let client = Arc::new(client(&api));
    let object = object("a", "a");
    let mut writer = StatusWriter::new(&client, &object);
    writer.write(&object, status(1, Reason::ReadyForNewScale, "5"));
    until("the first", || api.received(|_| true).len() == 1).await;
    for desired in 2..20 {
        writer.write(&object, status(desired, Reason::ReadyForNewScale, "5"));
    }
    let last = || api.received(|_| true).last().map(|last| last.body.clone());
    let is_last = || last().is_some_and(|body| body["status"]["desiredReplicas"] == 19);
    until("the last", is_last).await;
    assert_eq!(api.received(|_| true).len(), 2);
}

/// Another copy of the operator, or a user, has changed the object since this one has seen it.
#[tokio::test]
async fn a_status_names_the_version_that_is_known_and_waits_for_the_next_one_if_it_is_outdated() {
    let api = StandIn::start(|request: &Received| {
        if request.body["metadata"]["resourceVersion"] != "7" {
            return Answer::refusal(409);
        }
        let mut object = request.body.clone();
        (object["metadata"]["resourceVersion"], object["spec"]) = (json!("8"), json!(null));
        Answer::Json(200, object)
    })
    .await;
    let mut object = object("a", "a");
    let versioned = |object: &mut LLMAutoscaler, version: &str| {
        object.metadata.resource_version = Some(version.to_owned());
    };
    versioned(&mut object, "5");
    let mut writer = StatusWriter::new(&Arc::new(client(&api)), &object);
    writer.write(&object, status(1, Reason::ReadyForNewScale, "5"));
    let sent = || {
        let sent = api.received(|_| true);
        let versions = sent.iter().map(|sent| sent.body["metadata"]["resourceVersion"].clone());
        versions.collect::<Vec<_>>()
    };
    until("the first attempt", || sent() == ["5"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sent(), ["5"], "nothing is tried before the watch shows the change");
    versioned(&mut object, "7");
    writer.observe_version(&object);
    until("the second attempt", || sent() == ["5", "7"]).await;
    // The watch is behind.
    versioned(&mut object, "6");
    writer.observe_version(&object);
    assert_eq!(writer.writes.version.latest().as_deref(), Some("7"));
}

/// The API server refuses a status with a field that the CRD lacks.
#[tokio::test]
async fn a_field_that_the_crd_lacks_is_left_out_of_a_status() {
    let api = StandIn::start(|request| Answer::Json(200, request.body.clone())).await;
    let missing = vec!["status.targets[].metrics[].current".to_owned()];
    let schema = InstalledSchema::of_tests(
        api.client.clone(),
        SchemaDifference { missing, unknown: Vec::new() },
    );
    let client = Arc::new(StatusClient { schema, ..client(&api) });
    write_once(&client, &object("a", "a"), status(1, Reason::ReadyForNewScale, "5")).await;
    let sent = api.received(|_| true);
    let metric = &sent[0].body["status"]["targets"][0]["metrics"][0];
    assert!(metric.is_object() && metric["current"].is_null(), "{metric}");
    assert_eq!(sent[0].body["status"]["desiredReplicas"], 1);
}

#[tokio::test]
async fn a_status_with_a_field_that_is_refused_makes_the_operator_look_at_the_crd() {
    let api = StandIn::start(|request: &Received| {
        if request.path.contains("/status") {
            let message = ".status.summary: field not declared in schema";
            let body =
                json!({"kind": "Status", "status": "Failure", "code": 500, "message": message});
            return Answer::Json(500, body);
        }
        Answer::Json(200, json!({"paths": {}}))
    })
    .await;
    let looks = || api.received(|request| request.path == "/openapi/v3").len();
    let client = Arc::new(client(&api));
    let watch = tokio::time::timeout(Duration::from_secs(8), client.schema.clone().watch());
    let refused = async {
        until("the first look", || looks() == 1).await;
        let written = status(1, Reason::ReadyForNewScale, "5");
        assert!(!write_once(&client, &object("a", "a"), written).await);
        until("the second look", || looks() == 2).await;
    };
    // The usual time between two looks is longer.
    tokio::select! {
        _ = watch => panic!("there was no second look"),
        () = refused => {}
    }
}

#[tokio::test]
async fn a_copy_without_the_lease_writes_no_status() {
    let api = StandIn::start(|request| Answer::Json(200, request.body.clone())).await;
    let leases = Leases::by_hand(1);
    let client = Arc::new(StatusClient { leases: leases.clone(), ..client(&api) });
    write_once(&client, &object("a", "a"), LLMAutoscalerStatus::default()).await;
    assert!(api.received(|_| true).is_empty());
    leases.give(0);
    write_once(&client, &object("a", "a"), LLMAutoscalerStatus::default()).await;
    assert_eq!(api.received(|_| true).len(), 1);
}

/// Each of ten thousand autoscalers used to keep a task, and the status as it was written.
#[tokio::test]
async fn a_status_that_is_written_leaves_no_task_and_no_copy_behind() {
    let api = StandIn::start(|request: &Received| {
        let mut answer = request.body.clone();
        answer["spec"] = serde_json::to_value(object("a", "a").spec).unwrap();
        Answer::Json(200, answer)
    })
    .await;
    let client = Arc::new(client(&api));
    let object = object("a", "a");
    let mut writer = StatusWriter::new(&client, &object);
    assert!(writer.task.is_none(), "nothing is to be written");
    for desired in [1, 2] {
        writer.write(&object, status(desired, Reason::ReadyForNewScale, "5"));
        let task = writer.task.clone().unwrap();
        until("the end of the task", || task.is_finished()).await;
        assert!(lock(&writer.writes.ledger).wanted.is_none());
        assert_eq!(api.received(|_| true).len(), desired as usize);
    }
    writer.write(&object, status(2, Reason::ReadyForNewScale, "5"));
    assert!(writer.task.is_none(), "it is written already, and a handle would keep a task");
}

/// A write that fails is left to a later step.
#[tokio::test]
async fn a_status_that_is_refused_is_written_by_a_later_step() {
    let api = StandIn::start(|request: &Received| match request.body["status"]["desiredReplicas"]
        .as_i64()
    {
        Some(1) => Answer::refusal(500),
        _ => Answer::Json(200, request.body.clone()),
    })
    .await;
    let object = object("a", "a");
    let mut writer = StatusWriter::new(&Arc::new(client(&api)), &object);
    let count =
        |desired: i64| api.received(|sent| sent.body["status"]["desiredReplicas"] == desired).len();
    writer.write(&object, status(1, Reason::ReadyForNewScale, "5"));
    let task = writer.task.clone().unwrap();
    until("the end of the task", || task.is_finished()).await;
    assert!(lock(&writer.writes.ledger).has_failed && count(1) > 0);
    writer.write(&object, status(2, Reason::ReadyForNewScale, "5"));
    until("the later one", || count(2) == 1).await;
}

#[test]
fn sizes_are_urgent_and_values_are_not() {
    let base = status(1, Reason::ReadyForNewScale, "5");
    let table = [
        (status(1, Reason::ReadyForNewScale, "5"), [false, false, false]),
        (status(2, Reason::ReadyForNewScale, "5"), [true, false, false]),
        (status(1, Reason::ScaleDownStabilized, "5"), [false, true, true]),
        (status(1, Reason::ReadyForNewScale, "6"), [false, false, true]),
    ];
    for (other, expected) in table {
        let differs = [
            urgent(&base) != urgent(&other),
            reasons(&base) != reasons(&other),
            values(&base) != values(&other),
        ];
        assert_eq!(differs, expected, "{other:?}");
    }
}
