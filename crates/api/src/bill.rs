//! The bill of a target in the status, and the names of its reasons.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use llm_autoscaler_core::{
    ReplicaReason,
    bill::{BillRecord, DayBill, Ledger},
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{lenient::lenient, time};

/// The longest time in seconds that a quiet autoscaler's bill is not written for.
pub const WRITTEN_EVERY_SECONDS: i64 = 30 * 60;

/// The time of a target's replicas by the reason of their existence, in the current hour of UTC and
/// the 23 hours before it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BillStatus {
    /// When the bill of the target began.
    pub since: Time,
    /// The time until which everything is billed.
    pub until: Time,
    /// How much of the 24 hours is billed, in seconds.
    pub covered_seconds: i64,
    /// The highest number of replicas that existed at one time and were not on their way out.
    pub peak_replicas: i64,
    /// The highest number of GPUs of such replicas.
    #[serde(rename = "peakGPUs")]
    pub peak_gpus: i64,
    /// The time by reason. The sum of the reasons is the time of all replicas.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["reason".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<BillEntryStatus>,
    /// The record that the operator goes on with after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    #[schemars(schema_with = "record_schema")]
    pub record: Option<StoredBill>,
}

/// The time of replicas with one reason.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BillEntryStatus {
    /// The reason, such as Needed, Starting, Draining or Floor; docs/bill.md lists all of them.
    pub reason: String,
    /// The time of the replicas, in seconds.
    pub replica_seconds: i64,
    /// The time of their GPUs, in seconds.
    pub gpu_seconds: i64,
}

/// The version of the format. A record of a later version is not understood, and counts as none.
const BILL_VERSION: u32 = 1;

/// A record as the status keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBill {
    version: u32,
    /// The record.
    #[serde(flatten)]
    pub record: BillRecord,
}

impl BillStatus {
    /// Returns the status of a bill; `None` before its first step.
    pub fn new(ledger: &Ledger) -> Option<Self> {
        ledger.record().map(Self::of_record)
    }

    fn of_record(record: BillRecord) -> Self {
        let DayBill { amounts, covered_ms, peak } = record.day();
        let seconds = |ms: u64| i64::try_from((ms + 500) / 1000).unwrap_or(i64::MAX);
        let entry = |(reason, amount): (&ReplicaReason, &llm_autoscaler_core::bill::Amount)| {
            BillEntryStatus {
                reason: reason_name(*reason).to_owned(),
                replica_seconds: seconds(amount.replica_ms),
                gpu_seconds: seconds(amount.gpu_ms),
            }
        };
        Self {
            since: time::to_kubernetes(record.since),
            until: time::to_kubernetes(record.until),
            covered_seconds: seconds(covered_ms),
            peak_replicas: peak.replicas.into(),
            peak_gpus: i64::try_from(peak.gpus).unwrap_or(i64::MAX),
            reasons: amounts.iter().map(entry).collect(),
            record: Some(StoredBill { version: BILL_VERSION, record }),
        }
    }

    /// Returns whether this is the status of a bill, which has not gone on since.
    pub fn is_current(&self, ledger: &Ledger) -> bool {
        self.record().is_some_and(|record| Some(record.until) == ledger.until())
    }

    /// Returns the record, if there is one that is understood.
    pub fn record(&self) -> Option<&BillRecord> {
        let stored = self.record.as_ref().filter(|stored| stored.version <= BILL_VERSION);
        stored.map(|stored| &stored.record)
    }

    /// Merges the hours of the record into entries of this number of hours.
    pub(crate) fn merge(&mut self, hours: i64) {
        if let Some(stored) = &mut self.record {
            stored.record = stored.record.merged(hours);
        }
    }
}

/// Returns the name of a reason in the status and in outputs.
pub fn reason_name(reason: ReplicaReason) -> &'static str {
    match reason {
        ReplicaReason::Needed => "Needed",
        ReplicaReason::Starting => "Starting",
        ReplicaReason::Draining => "Draining",
        ReplicaReason::HeldByWindow => "HeldByWindow",
        ReplicaReason::HeldByDoubt => "HeldByDoubt",
        ReplicaReason::Floor => "Floor",
        ReplicaReason::Ratio => "Ratio",
        ReplicaReason::Manual => "Manual",
        ReplicaReason::AboveCeiling => "AboveCeiling",
        ReplicaReason::Asleep => "Asleep",
        ReplicaReason::Stuck => "Stuck",
    }
}

/// Returns the value of the label `reason` of the operator's metrics.
pub fn reason_label(reason: ReplicaReason) -> &'static str {
    match reason {
        ReplicaReason::Needed => "needed",
        ReplicaReason::Starting => "starting",
        ReplicaReason::Draining => "draining",
        ReplicaReason::HeldByWindow => "held_by_window",
        ReplicaReason::HeldByDoubt => "held_by_doubt",
        ReplicaReason::Floor => "floor",
        ReplicaReason::Ratio => "ratio",
        ReplicaReason::Manual => "manual",
        ReplicaReason::AboveCeiling => "above_ceiling",
        ReplicaReason::Asleep => "asleep",
        ReplicaReason::Stuck => "stuck",
    }
}

/// Returns the schema of the record. It is the core's own and opaque to users.
fn record_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "The record that the operator goes on with after a restart.",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use llm_autoscaler_core::bill::BilledReplica;
    use serde_json::json;

    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_767_225_600_000 + ms).unwrap()
    }

    fn ledger() -> Ledger {
        let replica = |key: &str, deadline, reason| BilledReplica {
            key: key.to_owned(),
            start: at(0),
            deadline,
            gpus: 8,
            reason,
        };
        let replicas = [
            replica("a", None, ReplicaReason::Needed),
            replica("b", Some(at(90_000)), ReplicaReason::Draining),
        ];
        let mut ledger = Ledger::default();
        ledger.bill(&replicas, &[], at(250));
        ledger.bill(&replicas, &[], at(60_750));
        ledger
    }

    #[test]
    fn a_bill_is_shown_in_seconds_and_kept_in_milliseconds() {
        let ledger = ledger();
        let json = serde_json::to_value(BillStatus::new(&ledger).unwrap()).unwrap();
        let expected = json!({
            "since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:01:00Z",
            "coveredSeconds": 61, "peakReplicas": 1, "peakGPUs": 8,
            "reasons": [
                {"reason": "Needed", "replicaSeconds": 61, "gpuSeconds": 484},
                {"reason": "Draining", "replicaSeconds": 61, "gpuSeconds": 484},
            ],
            "record": {
                "version": 1, "since": 1_767_225_600_250_i64, "until": 1_767_225_660_750_i64,
                "open": {"needed": [1, 8], "draining": [1, 8]},
                "ending": ["2026-01-01T00:01:30Z"],
                "hours": {
                    "start": [490_896], "hours": [1], "covered": [60_500], "peak": [[1, 8]],
                    "replicas": {"needed": [60_500], "draining": [60_500]},
                    "gpus": {"needed": [484_000], "draining": [484_000]},
                },
            },
        });
        assert_eq!(json, expected);
        let read: BillStatus = serde_json::from_value(json).unwrap();
        assert_eq!(read.record().cloned(), ledger.record());
    }

    #[test]
    fn a_status_is_that_of_its_bill_until_the_bill_goes_on() {
        let mut ledger = ledger();
        let status = BillStatus::new(&ledger).unwrap();
        assert!(status.is_current(&ledger));
        assert!(!status.is_current(&Ledger::default()));
        ledger.bill(&[], &[], at(60_751));
        assert!(!status.is_current(&ledger));
    }

    #[test]
    fn a_record_that_is_not_understood_is_none() {
        let stored = BillStatus::new(&ledger()).unwrap();
        let read = |change: fn(&mut serde_json::Value)| {
            let mut json = serde_json::to_value(&stored).unwrap();
            change(&mut json["record"]);
            serde_json::from_value::<BillStatus>(json).unwrap().record().cloned()
        };
        assert!(read(|_| {}).is_some());
        assert_eq!(read(|record| record["version"] = json!(2)), None);
        assert_eq!(read(|record| record["open"] = json!({"later": [1, 0]})), None);
        assert_eq!(read(|record| *record = json!("damaged")), None);
        // Columns of different lengths, and numbers that make no sense, are no reason to panic.
        let odd = read(|record| {
            record["hours"] = json!({
                "start": [i64::MAX, i64::MIN, 490_896], "hours": [-4, 1_000_000],
                "replicas": {"needed": [u64::MAX]}, "gpus": {"needed": [1, 2, 3, 4]},
            });
            record["open"] = json!({"needed": [u32::MAX, u64::MAX], "floor": [u32::MAX, 1]});
        });
        let odd = odd.unwrap();
        let extended = odd.extended(at(0) + TimeDelta::hours(3));
        assert_eq!(extended.day().amounts.len(), 2);
        let mut ledger = Ledger::restored(&odd);
        ledger.bill(&[], &[], at(70_000));
        assert!(odd.merged(4).day().covered_ms < 1);
    }

    #[test]
    fn a_label_is_the_name_in_snake_case() {
        for reason in ReplicaReason::ALL {
            let mut snake = String::new();
            for letter in reason_name(reason).chars() {
                if letter.is_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.extend(letter.to_lowercase());
            }
            assert_eq!(snake, reason_label(reason));
        }
    }
}
