//! The calls for one Lease, and the record in the Lease object.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use llm_autoscaler_api::{
    managers,
    time::{from_kubernetes_micros, to_kubernetes_micros},
};

use crate::{
    kube_api::{CallError, within},
    lease::{
        record::{Layout, Record},
        steps::{Answer, Call, Request},
    },
};

/// The annotation with the number of buckets.
const BUCKETS: &str = "llmautoscaler.io/buckets";
/// The annotation with the identity of a copy that wishes for the Lease.
const WANTED_BY: &str = "llmautoscaler.io/wanted-by";

/// Makes a call. Returns its answer, and its error if it failed otherwise than by a conflict.
pub(super) async fn make(
    api: &Api<Lease>,
    name: &str,
    request: &Request,
) -> (Answer, Option<CallError>) {
    let params =
        PostParams { field_manager: Some(managers::CHILDREN.to_owned()), ..PostParams::default() };
    let result = match &request.call {
        Call::Get => within(request.deadline, api.get(name)).await,
        Call::Create(record) => {
            within(request.deadline, api.create(&params, &lease(name, record))).await
        }
        Call::Update(record) => {
            within(request.deadline, api.replace(name, &params, &lease(name, record))).await
        }
    };
    match result {
        Ok(lease) => (Answer::Found(record(lease)), None),
        Err(error) => {
            let answer = failure(&request.call, &error);
            let is_usual = matches!(answer, Answer::Absent | Answer::Conflict);
            (answer, (!is_usual).then_some(error))
        }
    }
}

fn failure(call: &Call, error: &CallError) -> Answer {
    let asked = error.retry_after();
    match error.status() {
        // Where a Lease is created, the namespace is what is not found.
        Some(404) if !matches!(call, Call::Create(_)) => Answer::Absent,
        Some(409) => Answer::Conflict,
        Some(408) => Answer::Unknown(asked),
        _ if error.is_ambiguous() => Answer::Unknown(asked),
        _ => Answer::Refused(asked),
    }
}

/// Returns the record of a Lease.
fn record(lease: Lease) -> Record {
    let (metadata, spec) = (lease.metadata, lease.spec.unwrap_or_default());
    let mut annotations = metadata.annotations;
    let mut take = |key| annotations.as_mut().and_then(|annotations| annotations.remove(key));
    let (layout, wanted_by) = (take(BUCKETS), take(WANTED_BY));
    Record {
        version: metadata.resource_version.unwrap_or_default(),
        uid: metadata.uid.unwrap_or_default(),
        holder: spec.holder_identity.unwrap_or_default(),
        seconds: spec.lease_duration_seconds,
        transitions: spec.lease_transitions.unwrap_or_default(),
        acquired: spec.acquire_time.as_ref().map(from_kubernetes_micros),
        renewed: spec.renew_time.as_ref().map(from_kubernetes_micros),
        layout: layout.and_then(|layout| Layout::parse(&layout)),
        wanted_by: wanted_by.filter(|identity| !identity.is_empty()),
        labels: metadata.labels,
        annotations: annotations.filter(|annotations| !annotations.is_empty()),
    }
}

/// Returns the Lease of a record.
fn lease(name: &str, record: &Record) -> Lease {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut annotations = record.annotations.clone().unwrap_or_default();
    annotations.extend(record.layout.map(|layout| (BUCKETS.to_owned(), layout.to_string())));
    let wanted_by = record.wanted_by.clone();
    annotations.extend(wanted_by.map(|identity| (WANTED_BY.to_owned(), identity)));
    Lease {
        metadata: ObjectMeta {
            name: some(name),
            resource_version: some(&record.version),
            uid: some(&record.uid),
            labels: record.labels.clone(),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(record.holder.clone()),
            lease_duration_seconds: record.seconds,
            lease_transitions: Some(record.transitions),
            acquire_time: record.acquired.map(to_kubernetes_micros),
            renew_time: record.renewed.map(to_kubernetes_micros),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_is_written_as_it_was_read() {
        let read = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": "operator", "resourceVersion": "7", "uid": "u", "labels": {"team": "a"},
                "annotations": {
                    "llmautoscaler.io/buckets": "changing to 4",
                    "llmautoscaler.io/wanted-by": "b_2", "note": "b",
                },
            },
            "spec": {
                "holderIdentity": "a_1", "leaseDurationSeconds": 15, "leaseTransitions": 3,
                "acquireTime": "2026-11-28T10:00:00.000001Z",
                "renewTime": "2026-11-28T10:00:05.123456Z",
            },
        });
        let record = record(serde_json::from_value(read.clone()).unwrap());
        assert_eq!((record.layout, &*record.holder), (Some(Layout::Announced(4)), "a_1"));
        assert_eq!(record.wanted_by.as_deref(), Some("b_2"));
        assert_eq!(serde_json::to_value(lease("operator", &record)).unwrap(), read);
    }

    #[test]
    fn an_odd_lease_is_one_without_a_holder() {
        for spec in [json!({}), json!({"holderIdentity": null}), json!({"holderIdentity": ""})] {
            let lease = json!({"metadata": {"name": "operator"}, "spec": spec});
            let record = record(serde_json::from_value(lease).unwrap());
            assert_eq!(record, Record::default());
        }
    }

    #[test]
    fn only_an_answer_that_says_so_proves_that_a_write_was_not_carried_out() {
        let api = |code| {
            let mut status = kube::core::Status::failure("no", "Test");
            status.code = code;
            CallError::Api(kube::Error::Api(status.boxed()))
        };
        let (get, create) = (Call::Get, Call::Create(Record::default()));
        let update = Call::Update(Record::default());
        // the call, the error, the answer
        let table = [
            (&get, api(404), "Absent"),
            (&update, api(404), "Absent"),
            (&create, api(404), "Refused(None)"),
            (&create, api(409), "Conflict"),
            (&update, api(409), "Conflict"),
            (&update, api(403), "Refused(None)"),
            (&update, api(422), "Refused(None)"),
            (&update, api(429), "Refused(None)"),
            (&update, api(408), "Unknown(None)"),
            (&update, api(500), "Unknown(None)"),
            (&update, api(504), "Unknown(None)"),
            (&update, CallError::Timeout(std::time::Duration::ZERO), "Unknown(None)"),
        ];
        for (call, error, expected) in table {
            assert_eq!(format!("{:?}", failure(call, &error)), expected, "{call:?}: {error}");
        }
    }
}
